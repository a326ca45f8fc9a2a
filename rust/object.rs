// SPDX-License-Identifier: GPL-2.0

//! Maps as objects: what a descriptor, a program and a number refer to.

pub(crate) mod btf;
mod cgroups;
pub(crate) mod events;
pub(crate) mod held;
pub(crate) mod inner;
pub(crate) mod slots;

use self::btf::MapTypes;
use crate::abi::MapType;
use crate::map::spec::{PRESERVE_ELEMS, RDONLY_PROG};
use crate::map::{Map, MapSpec, Memory};
use crate::sys::anon::{FileObject, Mode};
use crate::sys::callchain::{self, Buffers};
use crate::sys::shared::{Kind, Object, Release, Shared};
use crate::sys::vma::{NewVma, Poller};
use core::fmt::Write;
use held::HeldBy;
use inner::Template;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};

/// A map with what user space does to it.
pub(crate) struct MapObject {
    map: Map,
    /// Commands that are writing to it and mappings that can, or [`FROZEN`].
    writers: Atomic<i64>,
    /// What user space has of it: descriptors, and whatever else keeps it for user space.
    users: Atomic<i64>,
    /// What its elements stand for, if user space names them by descriptors.
    held: Option<HeldBy>,
    /// It is or was in a map of maps.
    inner: Atomic<bool>,
    /// What user space says that its keys and values are.
    types: Option<MapTypes>,
    /// What a table of call chains needs of the kernel.
    _buffers: Option<Buffers>,
}

/// User space writes no more.
const FROZEN: i64 = -1;

impl Object for MapObject {
    const KIND: Kind = Kind::Map;
    /// The last reference may be a program's, and memory is given back where sleeping is allowed.
    const RELEASE: Release = Release::Worker;

    /// Programs that found it in a map of maps may still use it, without a reference.
    fn release(&self) -> Release {
        match self.inner.load(Relaxed) {
            true => Release::Grace,
            false => Self::RELEASE,
        }
    }
}

impl MapObject {
    /// Makes the map; one of maps takes such as are like `template`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `E2BIG`; `EINVAL` for a map of maps without a template.
    pub(crate) fn new(
        spec: &MapSpec,
        template: Option<Template>,
        types: Option<MapTypes>,
    ) -> Result<Shared<Self>> {
        let buffers = match spec.ty {
            MapType::StackTrace => Some(stack_buffers(spec)?),
            _ => None,
        };
        let map = Map::new(spec)?;
        let held = HeldBy::new(spec, template)?;
        Shared::new(MapObject {
            map,
            writers: Atomic::new(0),
            users: Atomic::new(0),
            held,
            inner: Atomic::new(false),
            types,
            _buffers: buffers,
        })
    }

    /// It is going to be in a map of maps, where programs find it.
    ///
    /// The caller has a reference and puts it there, so who drops the last one sees this.
    fn becomes_inner(&self) {
        self.inner.store(true, Relaxed);
    }

    /// The map itself, whose address is what programs pass.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// What its keys and values are, if user space said so.
    pub(crate) fn types(&self) -> Option<&MapTypes> {
        self.types.as_ref()
    }

    /// The flags that belong to the map, and not to how one descriptor of it was opened.
    pub(crate) fn flags(&self) -> u32 {
        self.map.spec().flags & !(MapFile::RDONLY | MapFile::WRONLY)
    }

    /// User space cannot write any more.
    pub(crate) fn frozen(&self) -> bool {
        self.writers.load(Acquire) == FROZEN
    }

    /// Begins a write by user space, which ends when the result is dropped.
    ///
    /// # Errors
    ///
    /// `EPERM` when the map is frozen.
    pub(crate) fn write(&self) -> Result<Writer<'_>> {
        let mut now = self.writers.load(Relaxed);
        loop {
            if now == FROZEN {
                return Err(EPERM);
            }
            let more = now.checked_add(1).ok_or(EBUSY)?;
            match self.writers.cmpxchg(now, more, Full) {
                Ok(_) => return Ok(Writer(self)),
                Err(other) => now = other,
            }
        }
    }

    /// Lets nobody in user space write any more.
    ///
    /// # Errors
    ///
    /// `EBUSY` while somebody does, or when it was done before.
    pub(crate) fn freeze(&self) -> Result {
        match self.writers.cmpxchg(0, FROZEN, Full) {
            Ok(_) => {
                self.map.freeze();
                Ok(())
            }
            Err(_) => Err(EBUSY),
        }
    }
}

/// A write by user space that goes on.
///
/// # Invariants
///
/// It is counted in `writers`, so the map does not become frozen.
pub(crate) struct Writer<'a>(&'a MapObject);

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Full);
    }
}

/// A reference to a map that user space has. Programs have others: when the last one of user space
/// goes, an array of programs is emptied, for the programs in it may use the array and so keep
/// themselves.
///
/// # Invariants
///
/// It is counted in `users`.
pub(crate) struct UserRef(Shared<MapObject>);

impl UserRef {
    /// One more.
    pub(crate) fn new(map: Shared<MapObject>) -> Self {
        map.users.fetch_add(1, Relaxed);
        // INVARIANT: counted just now.
        UserRef(map)
    }

    /// The map.
    pub(crate) fn map(&self) -> &Shared<MapObject> {
        &self.0
    }
}

impl Drop for UserRef {
    /// Only where sleeping is allowed.
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Full) != 1 {
            return;
        }
        if let (Some(progs), Some(words)) = (self.0.progs(), self.0.map.fd_array()) {
            progs.clear(words);
        }
    }
}

/// A part in the kernel's buffers for call chains, for a table of them.
///
/// # Errors
///
/// `EINVAL` for chains that are longer than the kernel's; `EOPNOTSUPP` when there are none.
fn stack_buffers(spec: &MapSpec) -> Result<Buffers> {
    if spec.value_size / 8 > callchain::max_depth().ok_or(callchain::unsupported())? {
        return Err(EINVAL);
    }
    Buffers::new()
}

/// What a map's descriptor holds.
pub(crate) struct MapFile {
    user: UserRef,
    /// No other file of a map has the same.
    number: u64,
}

/// The number of the file that is made next.
static FILES: Atomic<u64> = Atomic::new(1);

impl Drop for MapFile {
    /// What was put into an array of events by way of this file goes with it.
    fn drop(&mut self) {
        let object = self.object();
        if let (Some(events), Some(words)) = (object.events(), object.map.fd_array()) {
            if !object.map.spec().has(PRESERVE_ELEMS) {
                events.close(words, self.number);
            }
        }
    }
}

impl MapFile {
    /// `BPF_F_RDONLY`
    pub(crate) const RDONLY: u32 = 1 << 3;
    /// `BPF_F_WRONLY`
    pub(crate) const WRONLY: u32 = 1 << 4;

    pub(crate) fn new(map: Shared<MapObject>) -> Self {
        MapFile {
            user: UserRef::new(map),
            number: FILES.fetch_add(1, Relaxed),
        }
    }

    /// How flags say that a map is opened.
    ///
    /// # Errors
    ///
    /// `EINVAL` for neither reading nor writing.
    pub(crate) fn mode(flags: u32) -> Result<Mode> {
        match (flags & Self::RDONLY != 0, flags & Self::WRONLY != 0) {
            (true, true) => Err(EINVAL),
            (true, false) => Ok(Mode::ReadOnly),
            (false, true) => Ok(Mode::WriteOnly),
            (false, false) => Ok(Mode::ReadWrite),
        }
    }

    /// The map.
    pub(crate) fn object(&self) -> &Shared<MapObject> {
        self.user.map()
    }

    /// What tells it from all other files of maps.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl FileObject for MapFile {
    const NAME: &'static CStr = c"bpf-map";
    const MEMORY: bool = true;

    fn mmap(&self, vma: &NewVma<'_>) -> Result {
        let object = self.object();
        // User space could write the locks of values.
        if object.map.spec().lock.is_some() {
            return Err(ENOTSUPP);
        }
        let memory = object.map.memory().ok_or(ENOTSUPP)?;
        if !vma.is_shared() {
            return Err(EINVAL);
        }
        let writer = match vma.is_writable() {
            true => Some(object.write()?),
            false => None,
        };
        // Programs that read such a map may count on what is in it when it is frozen.
        if writer.is_some() && object.map.spec().has(RDONLY_PROG) {
            return Err(EACCES);
        }
        vma.start();
        match memory {
            Memory::Kernel => return Err(EINVAL),
            Memory::Values(values) => vma.insert_region(values)?,
            Memory::Ring(ring) => {
                // The consumer's position is all that user space may write.
                if writer.is_some() && (vma.offset() != 0 || vma.pages() != 1) {
                    return Err(EPERM);
                }
                vma.insert_ring(ring.ring())?;
            }
        }
        // From now on the mapping is a writer, until it goes.
        core::mem::forget(writer);
        Ok(())
    }

    fn map_opened(&self) {
        // There is a writable mapping of which this is a copy or part, so it is not frozen.
        self.object().writers.fetch_add(1, Full);
    }

    fn map_closed(&self) {
        self.object().writers.fetch_sub(1, Full);
    }

    fn poll(&self, poller: &Poller<'_>) -> u32 {
        let Some(Memory::Ring(ring)) = self.object().map.memory() else {
            return Poller::ERROR;
        };
        poller.wait_for(ring.ring());
        match ring.available() {
            0 => 0,
            _ => Poller::READABLE,
        }
    }

    fn fdinfo(&self, out: &mut dyn Write) {
        let map = self.object();
        let spec = map.map().spec();
        let _ = write!(
            out,
            "map_type:\t{}\nkey_size:\t{}\nvalue_size:\t{}\nmax_entries:\t{}\n\
             map_flags:\t{:#x}\nmap_extra:\t{:#x}\nmemlock:\t{}\nmap_id:\t{}\nfrozen:\t{}\n",
            spec.ty as u32,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            map.flags(),
            spec.extra,
            map.map().bytes(),
            map.id(),
            u32::from(map.frozen()),
        );
    }
}
