// SPDX-License-Identifier: GPL-2.0

//! Commands on maps: create them, and read and write their elements.

use super::{foreign_fd, object_name, Attr};
use crate::abi::MapType;
use crate::map::{MapSpec, F_CPU, F_LOCK};
use crate::object::btf::{BtfFile, MapTypes};
use crate::object::inner::Template;
use crate::object::{MapFile, MapObject};
use crate::sys::anon::{self, FileRef};
use crate::sys::context::{Nest, RunGuard};
use crate::sys::cred::{self, Cap};
use crate::sys::shared::Shared;
use crate::sys::user::{zeroed, User};
use kernel::prelude::*;

/// Fields of MAP_CREATE.
#[repr(C)]
#[derive(FromBytes)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    map_extra: u64,
    value_type_btf_obj_fd: i32,
    map_token_fd: i32,
    excl_prog_hash: u64,
    excl_prog_hash_size: u32,
    _pad: u32,
}

/// `BPF_F_TOKEN_FD`
const TOKEN_FD: u32 = 1 << 16;

/// MAP_CREATE
pub(super) fn create(attr: &Attr) -> Result<i32> {
    let a: CreateAttr = attr.view()?;
    // struct_ops maps, whose only field that is, do not exist here.
    if a.btf_vmlinux_value_type_id != 0 || (a.btf_key_type_id != 0 && a.btf_value_type_id == 0) {
        return Err(EINVAL);
    }
    let ty = MapType::new(a.map_type).ok_or(EINVAL)?;
    let mut spec = MapSpec {
        ty,
        key_size: a.key_size,
        value_size: a.value_size,
        max_entries: a.max_entries,
        flags: a.map_flags & !TOKEN_FD,
        numa_node: a.numa_node,
        extra: a.map_extra,
        name: a.map_name,
        lock: None,
    };
    spec.check(|| Cap::SysAdmin.held())?;
    if a.map_ifindex != 0 {
        return Err(EINVAL);
    }
    if a.map_flags & TOKEN_FD != 0 {
        return Err(foreign_fd(a.map_token_fd as u32));
    }
    if cred::unprivileged_disabled() && !Cap::Bpf.held() {
        return Err(EPERM);
    }
    if ty.needs_cap_bpf() && !Cap::Bpf.held() {
        return Err(EPERM);
    }
    let template = match ty.is_of_maps() {
        true => {
            let inner = FileRef::<MapFile>::get(a.inner_map_fd)?;
            Some(Template::new(inner.object())?)
        }
        false => None,
    };
    object_name(&a.map_name)?;
    let types = match a.btf_value_type_id {
        0 => None,
        value => {
            let file = FileRef::<BtfFile>::get(a.btf_fd)?;
            let capable = Cap::Bpf.held();
            let types = MapTypes::new(file.object(), a.btf_key_type_id, value, &spec, capable)?;
            spec.lock = types.lock;
            Some(types)
        }
    };
    let map = MapObject::new(&spec, template, types)?;
    // Maps for one program only are not there.
    if a.excl_prog_hash != 0 || a.excl_prog_hash_size != 0 {
        return Err(EINVAL);
    }
    let mode = MapFile::mode(a.map_flags)?;
    map.publish()?;
    anon::install(MapFile::new(map), mode)
}

/// Fields of the commands on elements.
#[repr(C)]
#[derive(FromBytes)]
struct ElemAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    /// `next_key` for GET_NEXT_KEY.
    value: u64,
    flags: u64,
}

/// Bytes of [`ElemAttr`], which is all that the commands on one element have.
const SHORT: usize = 32;

/// The commands on one element when user space passes no more than what they have, as it mostly
/// does: without the copy and the search that any command needs. `None` for everything else.
#[inline]
pub(super) fn run_short(number: u32, user: User, size: usize) -> Option<Result<i32>> {
    if size > SHORT {
        return None;
    }
    let (command, ends_before_value, ends_before_flags): (fn(&ElemAttr) -> Result<i32>, _, _) =
        match number {
            1 => (lookup_elem, false, false),
            2 => (update_elem, false, false),
            3 => (delete_elem, true, true),
            4 => (next_key_elem, false, true),
            _ => return None,
        };
    let mut bytes = [0; SHORT];
    let given = bytes.get_mut(..size)?;
    if let Err(e) = user.read(given) {
        return Some(Err(e));
    }
    let a = ElemAttr::read_from_bytes(&bytes).ok()?;
    if (ends_before_value && a.value != 0) || (ends_before_flags && a.flags != 0) {
        return Some(Err(EINVAL));
    }
    Some(command(&a))
}

/// How a buffer is had: charged to the caller, silent when there is no memory, for its size is the
/// user's choice.
const FLAGS: kernel::alloc::Flags = GFP_KERNEL_ACCOUNT;

/// A buffer for keys or values, of zeros.
pub(super) fn buffer(len: usize) -> Result<KVVec<u8>> {
    zeroed(len, FLAGS | __GFP_NOWARN)
}

/// Bytes for which no memory needs to be asked for.
const FEW: usize = 64;

/// Place for one key or value: on the stack when it is short. It starts as zeros.
struct Room {
    few: [u8; FEW],
    many: Option<KVVec<u8>>,
}

impl Room {
    #[inline(always)]
    fn new() -> Self {
        Room {
            few: [0; FEW],
            many: None,
        }
    }

    /// `len` bytes of zeros.
    #[inline(always)]
    fn bytes(&mut self, len: usize) -> Result<&mut [u8]> {
        match self.few.get_mut(..len) {
            Some(few) => Ok(few),
            None => Ok(self.many.insert(buffer(len)?)),
        }
    }

    /// The `len` bytes at `user`.
    #[inline(always)]
    fn read(&mut self, user: u64, len: usize) -> Result<&mut [u8]> {
        let bytes = self.bytes(len)?;
        User::new(user).read(bytes)?;
        Ok(bytes)
    }

    /// The key at `user`; a map without keys wants NULL.
    #[inline(always)]
    fn read_key(&mut self, user: u64, len: u32) -> Result<&mut [u8]> {
        if len == 0 && user != 0 {
            return Err(EINVAL);
        }
        self.read(user, len as usize)
    }
}

/// Runs `f` where programs run too: under RCU, on one CPU, which starts no program meanwhile.
pub(super) fn with_map<R>(object: &Shared<MapObject>, f: impl FnOnce(&crate::map::Map) -> R) -> R {
    let run = RunGuard::enter();
    let _nest = Nest::enter(&run);
    f(object.map())
}

/// MAP_LOOKUP_ELEM
pub(super) fn lookup(attr: &Attr) -> Result<i32> {
    lookup_elem(&attr.view()?)
}

fn lookup_elem(a: &ElemAttr) -> Result<i32> {
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    if !file.file().can_read() {
        return Err(EPERM);
    }
    let map = file.object().map();
    map.check_flags(a.flags, F_LOCK | F_CPU)?;
    let spec = map.spec();
    let (mut key, mut value) = (Room::new(), Room::new());
    let key = key.read_key(a.key, spec.key_size)?;
    let size = map.user_value_size(a.flags);
    let value = match map.lookup_reads_value() {
        true => value.read(a.value, size)?,
        false => value.bytes(size)?,
    };
    lookup_value(file.object(), key, value, a.flags)?;
    User::new(a.value).write(value)?;
    Ok(0)
}

/// Copies the value of `key` to `value`: a number, of what user space names by descriptors.
pub(super) fn lookup_value(
    object: &Shared<MapObject>,
    key: &[u8],
    value: &mut [u8],
    flags: u64,
) -> Result {
    let Some(held) = object.held() else {
        return with_map(object, |map| map.lookup(key, value, flags));
    };
    let number = held.number(object.map(), key)?;
    value
        .first_chunk_mut()
        .ok_or(EINVAL)
        .map(|to| *to = number.to_ne_bytes())
}

/// Sets the value of `key`, which may be a descriptor.
pub(super) fn update_value(
    file: &FileRef<MapFile>,
    key: &[u8],
    value: &[u8],
    flags: u64,
) -> Result {
    let object = file.object();
    match object.held() {
        Some(held) => held.update(object.map(), file.number(), key, value, flags),
        None => with_map(object, |map| map.update(key, value, flags)),
    }
}

/// Removes `key`.
pub(super) fn delete_value(object: &Shared<MapObject>, key: &[u8]) -> Result {
    match object.held() {
        Some(held) => held.delete(object.map(), key),
        None => with_map(object, |map| map.delete(key)),
    }
}

/// MAP_UPDATE_ELEM
pub(super) fn update(attr: &Attr) -> Result<i32> {
    update_elem(&attr.view()?)
}

fn update_elem(a: &ElemAttr) -> Result<i32> {
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_write() {
        return Err(EPERM);
    }
    let map = file.object().map();
    map.check_flags(a.flags, u64::MAX)?;
    let (mut key, mut value) = (Room::new(), Room::new());
    let key = key.read_key(a.key, map.spec().key_size)?;
    let value = value.read(a.value, map.user_value_size(a.flags))?;
    update_value(&file, key, value, a.flags)?;
    Ok(0)
}

/// MAP_DELETE_ELEM
pub(super) fn delete(attr: &Attr) -> Result<i32> {
    delete_elem(&attr.view()?)
}

fn delete_elem(a: &ElemAttr) -> Result<i32> {
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_write() {
        return Err(EPERM);
    }
    let mut key = Room::new();
    let key = key.read_key(a.key, file.object().map().spec().key_size)?;
    delete_value(file.object(), key)?;
    Ok(0)
}

/// MAP_GET_NEXT_KEY
pub(super) fn next_key(attr: &Attr) -> Result<i32> {
    next_key_elem(&attr.view()?)
}

fn next_key_elem(a: &ElemAttr) -> Result<i32> {
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    if !file.file().can_read() {
        return Err(EPERM);
    }
    let size = file.object().map().spec().key_size;
    let (mut key, mut next) = (Room::new(), Room::new());
    let key = match a.key {
        0 => None,
        user => Some(&*key.read_key(user, size)?),
    };
    let next = next.bytes(size as usize)?;
    // A large map that is empty takes a while to walk, so not where programs run; the map's locks
    // are enough.
    file.object().map().next_key(key, next)?;
    User::new(a.value).write(next)?;
    Ok(0)
}

/// What MAP_LOOKUP_AND_DELETE_ELEM checks before it looks at the descriptor.
pub(super) fn check_take(attr: &Attr) -> Result {
    let a: ElemAttr = attr.view()?;
    match a.flags & !F_LOCK {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

/// MAP_LOOKUP_AND_DELETE_ELEM
pub(super) fn take(attr: &Attr) -> Result<i32> {
    let a: ElemAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_read() || !file.file().can_write() {
        return Err(EPERM);
    }
    let map = file.object().map();
    map.check_flags(a.flags, F_LOCK)?;
    let (mut key, mut value) = (Room::new(), Room::new());
    let key = key.read_key(a.key, map.spec().key_size)?;
    let value = value.bytes(map.user_value_size(0))?;
    with_map(file.object(), |map| {
        map.lookup_and_delete(key, value, a.flags)
    })?;
    User::new(a.value).write(value)?;
    Ok(0)
}

/// MAP_FREEZE
pub(super) fn freeze(attr: &Attr) -> Result<i32> {
    let a: ElemAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    // Programs write such locks, whoever else does not.
    if file.object().map().spec().lock.is_some() {
        return Err(ENOTSUPP);
    }
    if !file.file().can_write() || file.object().frozen() {
        return Err(EPERM);
    }
    file.object().freeze()?;
    Ok(0)
}
