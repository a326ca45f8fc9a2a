// SPDX-License-Identifier: GPL-2.0

//! Links as objects: a program that is attached to something, for as long as the link lives.

use crate::abi::ProgType;
use crate::attach::kprobe::Kprobe;
use crate::attach::perf::{Info, Perf};
use crate::attach::tracepoint::Tracepoint;
use crate::prog::Prog;
use crate::sys::anon::FileObject;
use crate::sys::shared::{Kind, Object, Release, Shared};
use core::fmt::Write;
use kernel::prelude::*;

/// What a program is attached to; dropping it detaches.
pub(crate) enum Attachment {
    /// Kernel functions.
    Kprobe(Kprobe),
    /// The arguments of a tracepoint.
    Tracepoint(Tracepoint),
    /// A perf event.
    Perf(Perf),
}

impl Attachment {
    /// `enum bpf_link_type`
    pub(crate) fn number(&self) -> u32 {
        match self {
            Attachment::Tracepoint(_) => 1,
            Attachment::Perf(_) => 7,
            Attachment::Kprobe(_) => 8,
        }
    }

    /// What fdinfo calls it.
    fn name(&self) -> &'static str {
        match self {
            Attachment::Kprobe(kprobe) if kprobe.is_return() => "kretprobe_multi",
            Attachment::Kprobe(_) => "kprobe_multi",
            Attachment::Tracepoint(_) => "raw_tracepoint",
            Attachment::Perf(_) => "perf",
        }
    }

    /// What fdinfo says of it besides.
    fn fdinfo(&self, ty: ProgType, out: &mut dyn Write) {
        match self {
            Attachment::Tracepoint(tracepoint) => {
                let name = tracepoint.name().to_str().unwrap_or("?");
                let cookie = tracepoint.cookie();
                let _ = write!(out, "tp_name:\t{name}\ncookie:\t{cookie}\n");
            }
            Attachment::Perf(perf) => perf_fdinfo(perf, ty, out),
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
                    let cookie = kprobe.cookie(index);
                    let _ = writeln!(out, "{cookie}\t {}", place.unwrap_or("?"));
                }
            }
        }
    }
}

/// Numbers of `enum bpf_task_fd_type`.
pub(crate) mod fd_type {
    /// `BPF_FD_TYPE_KPROBE`
    pub(crate) const KPROBE: u32 = 2;
    /// `BPF_FD_TYPE_KRETPROBE`
    pub(crate) const KRETPROBE: u32 = 3;
    /// `BPF_FD_TYPE_UPROBE`
    pub(crate) const UPROBE: u32 = 4;
    /// `BPF_FD_TYPE_URETPROBE`
    pub(crate) const URETPROBE: u32 = 5;
}

/// What fdinfo says of a perf event that a program of type `ty` is attached to.
fn perf_fdinfo(perf: &Perf, ty: ProgType, out: &mut dyn Write) {
    let cookie = perf.cookie();
    if ty == ProgType::PerfEvent {
        let (kind, config) = perf.event();
        let _ = write!(
            out,
            "type:\t{kind}\nconfig:\t{config}\nevent_type:\tevent\ncookie:\t{cookie}\n"
        );
        return;
    }
    let Some(Info {
        name,
        offset,
        addr,
        missed,
        fd_type,
    }) = perf.info()
    else {
        return;
    };
    let name = name.and_then(|name| name.to_str().ok()).unwrap_or("(null)");
    let kind = match fd_type {
        fd_type::KPROBE => "kprobe",
        fd_type::KRETPROBE => "kretprobe",
        fd_type::UPROBE => "uprobe",
        fd_type::URETPROBE => "uretprobe",
        _ => "tracepoint",
    };
    let _ = match fd_type {
        fd_type::KPROBE | fd_type::KRETPROBE => write!(
            out,
            "name:\t{name}\noffset:\t{offset:#x}\nmissed:\t{missed}\naddr:\t{addr:#x}\n"
        ),
        fd_type::UPROBE | fd_type::URETPROBE => {
            write!(
                out,
                "name:\t{name}\noffset:\t{offset:#x}\nref_ctr_offset:\t{addr:#x}\n"
            )
        }
        _ => writeln!(out, "tp_name:\t{name}"),
    };
    let _ = write!(out, "event_type:\t{kind}\ncookie:\t{cookie}\n");
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
        link.attachment.fdinfo(link.prog.aux().ty, out);
    }
}
