// SPDX-License-Identifier: GPL-2.0

//! Links as objects: a program that is attached to something, for as long as the link lives.

use crate::attach::kprobe::Kprobe;
use crate::prog::Prog;
use crate::sys::anon::FileObject;
use crate::sys::shared::{Kind, Object, Release, Shared};
use core::fmt::Write;
use kernel::prelude::*;

/// What a program is attached to; dropping it detaches.
pub(crate) enum Attachment {
    /// Kernel functions.
    Kprobe(Kprobe),
}

impl Attachment {
    /// `enum bpf_link_type`
    pub(crate) fn number(&self) -> u32 {
        match self {
            Attachment::Kprobe(_) => 8,
        }
    }

    /// What fdinfo calls it.
    fn name(&self) -> &'static str {
        match self {
            Attachment::Kprobe(kprobe) if kprobe.is_return() => "kretprobe_multi",
            Attachment::Kprobe(_) => "kprobe_multi",
        }
    }

    /// What fdinfo says of it besides.
    fn fdinfo(&self, out: &mut dyn Write) {
        match self {
            Attachment::Kprobe(kprobe) => {
                let _ = write!(
                    out,
                    "kprobe_cnt:\t{}\nmissed:\t{}\ncookie\t func\n",
                    kprobe.count(),
                    kprobe.missed()
                );
                for index in 0..kprobe.count() {
                    let mut buf = [0; 512];
                    let place = core::str::from_utf8(kprobe.place(index, &mut buf));
                    let _ = writeln!(out, "0\t {}", place.unwrap_or("?"));
                }
            }
        }
    }
}

/// An attached program. The attachment goes before the program does.
pub(crate) struct Link {
    attachment: Attachment,
    prog: Shared<Prog>,
}

impl Object for Link {
    const KIND: Kind = Kind::Link;
    /// Closing the last descriptor detaches before it returns.
    const RELEASE: Release = Release::Now;
}

impl Link {
    /// A link for what was attached.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(attachment: Attachment, prog: Shared<Prog>) -> Result<Shared<Self>> {
        Shared::new(Link { attachment, prog })
    }

    /// What it is attached to.
    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// What is attached.
    pub(crate) fn prog(&self) -> &Shared<Prog> {
        &self.prog
    }
}

/// What a link's descriptor holds.
pub(crate) struct LinkFile(Shared<Link>);

impl LinkFile {
    pub(crate) fn new(link: Shared<Link>) -> Self {
        LinkFile(link)
    }

    /// The link.
    pub(crate) fn link(&self) -> &Shared<Link> {
        &self.0
    }
}

impl FileObject for LinkFile {
    const NAME: &'static CStr = c"bpf_link";

    fn fdinfo(&self, out: &mut dyn Write) {
        let link = &self.0;
        let _ = write!(
            out,
            "link_type:\t{}\nlink_id:\t{}\nprog_tag:\t",
            link.attachment.name(),
            link.id()
        );
        for byte in link.prog.aux().tag {
            let _ = write!(out, "{byte:02x}");
        }
        let _ = writeln!(out, "\nprog_id:\t{}", link.prog.id());
        link.attachment.fdinfo(out);
    }
}
