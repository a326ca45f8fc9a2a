// SPDX-License-Identifier: GPL-2.0

//! Commands on many elements of a map at once.

use super::map::{buffer, delete_value, lookup_value, update_value, with_map};
use super::Attr;
use crate::map::{Bulk, Step, F_ALL_CPUS, F_CPU, F_LOCK};
use crate::object::held::HeldBy;
use crate::object::{MapFile, MapObject};
use crate::sys::anon::FileRef;
use crate::sys::context;
use crate::sys::shared::Shared;
use crate::sys::user::User;
use kernel::prelude::*;

/// Fields of the BATCH commands.
#[repr(C)]
#[derive(FromBytes)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Byte of the attr where the number of elements goes.
const COUNT: u64 = 32;

/// Bytes of keys or values that are collected before they are copied to user space.
const CHUNK: usize = 32 << 10;

impl BatchAttr {
    fn key(&self, n: u32, size: usize) -> User {
        User::new(self.keys).add(u64::from(n).wrapping_mul(size as u64))
    }

    fn value(&self, n: u32, size: usize) -> User {
        User::new(self.values).add(u64::from(n).wrapping_mul(size as u64))
    }
}

fn answer_count(attr: &Attr, n: u32) -> Result {
    attr.answer(COUNT, &n.to_ne_bytes())
}

/// The outcome of a loop that did `n` elements: how many is said in any case.
fn finish(attr: &Attr, n: u32, done: Result) -> Result<i32> {
    answer_count(attr, n)?;
    done.map(|()| 0)
}

/// MAP_LOOKUP_BATCH
pub(super) fn lookup(attr: &Attr) -> Result<i32> {
    let a: BatchAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    if !file.file().can_read() {
        return Err(EPERM);
    }
    let object = file.object();
    match object.map().bulk() {
        Bulk::Buckets => buckets(attr, &a, object, false),
        Bulk::Keys => keys(attr, &a, object),
        Bulk::None => Err(ENOTSUPP),
    }
}

/// MAP_LOOKUP_AND_DELETE_BATCH
pub(super) fn take(attr: &Attr) -> Result<i32> {
    let a: BatchAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_read() || !file.file().can_write() {
        return Err(EPERM);
    }
    match file.object().map().bulk() {
        Bulk::Buckets => buckets(attr, &a, file.object(), true),
        Bulk::Keys | Bulk::None => Err(ENOTSUPP),
    }
}

/// Elements bucket by bucket.
fn buckets(attr: &Attr, a: &BatchAttr, object: &Shared<MapObject>, delete: bool) -> Result<i32> {
    let map = object.map();
    map.check_flags(a.elem_flags, if delete { F_LOCK } else { F_LOCK | F_CPU })?;
    if a.flags != 0 {
        return Err(EINVAL);
    }
    if a.count == 0 {
        return Ok(0);
    }
    answer_count(attr, 0)?;
    let mut cursor = [0; 4];
    if a.in_batch != 0 {
        User::new(a.in_batch).read(&mut cursor)?;
    }
    let mut cursor = u32::from_ne_bytes(cursor);
    if !map.has_cursor(cursor) {
        return Err(ENOENT);
    }
    let mut total = 0;
    let walked = walk(a, object, delete, &mut cursor, &mut total);
    if walked == Err(EFAULT) {
        return Err(EFAULT);
    }
    User::new(a.out_batch).write(&cursor.to_ne_bytes())?;
    finish(attr, total, walked)
}

/// The walk of [`buckets`]: `cursor` and `total` say how far it came, whatever its end.
fn walk(
    a: &BatchAttr,
    object: &Shared<MapObject>,
    delete: bool,
    cursor: &mut u32,
    total: &mut u32,
) -> Result {
    let map = object.map();
    let key_size = map.spec().key_size as usize;
    let value_size = map.user_value_size(a.elem_flags);
    // A bucket's worth at least, not much at once, and no more than is wanted.
    let largest = key_size.max(value_size).max(1);
    let room = CHUNK.checked_div(largest).unwrap_or(0).max(8);
    let mut room = room.min(a.count as usize);
    let mut keys = buffer(room.checked_mul(key_size).ok_or(ENOMEM)?)?;
    let mut values = buffer(room.checked_mul(value_size).ok_or(ENOMEM)?)?;
    loop {
        let left = a.count.saturating_sub(*total) as usize;
        let now = room.min(left);
        let (k, v) = (now.wrapping_mul(key_size), now.wrapping_mul(value_size));
        let (Some(k), Some(v)) = (keys.get_mut(..k), values.get_mut(..v)) else {
            return Err(ENOMEM);
        };
        // Only who could get nothing else gets a part of a bucket.
        let split = *total == 0 && now == left;
        let (n, step) = match (object.held(), map.map_hash()) {
            (Some(HeldBy::MapsByKey(maps)), Some(hash)) => {
                maps.batch(hash, cursor, k, v, delete, split)?
            }
            _ => with_map(object, |map| {
                map.batch(cursor, k, v, a.elem_flags, delete, split)
            })?,
        };
        if n != 0 {
            let (k, v) = (n.wrapping_mul(key_size), n.wrapping_mul(value_size));
            a.key(*total, key_size)
                .write(keys.get(..k).ok_or(EFAULT)?)?;
            a.value(*total, value_size)
                .write(values.get(..v).ok_or(EFAULT)?)?;
            *total = total.saturating_add(n as u32);
        }
        match step {
            Step::End => return Err(ENOENT),
            Step::Room(need) if need > left => {
                return match *total {
                    0 => Err(ENOSPC),
                    _ => Ok(()),
                };
            }
            Step::Room(need) => {
                room = need;
                keys = buffer(room.checked_mul(key_size).ok_or(ENOMEM)?)?;
                values = buffer(room.checked_mul(value_size).ok_or(ENOMEM)?)?;
            }
            Step::More if *total >= a.count => return Ok(()),
            Step::More => {}
        }
        context::breathe();
    }
}

/// Elements key by key.
fn keys(attr: &Attr, a: &BatchAttr, object: &Shared<MapObject>) -> Result<i32> {
    let map = object.map();
    map.check_flags(a.elem_flags, F_LOCK | F_CPU)?;
    if a.count == 0 {
        return Ok(0);
    }
    answer_count(attr, 0)?;
    let key_size = map.spec().key_size as usize;
    let value_size = map.user_value_size(a.elem_flags);
    let mut before = buffer(key_size)?;
    let mut key = buffer(key_size)?;
    let mut value = buffer(value_size)?;
    let mut known = a.in_batch != 0;
    if known {
        User::new(a.in_batch).read(&mut before)?;
    }
    let mut n = 0;
    let mut done = Ok(());
    while n < a.count {
        done = map.next_key(known.then_some(&before[..]), &mut key);
        if done.is_err() {
            break;
        }
        match lookup_value(object, &key, &mut value, a.elem_flags) {
            Ok(()) => {
                a.key(n, key_size).write(&key)?;
                a.value(n, value_size).write(&value)?;
                n = n.wrapping_add(1);
            }
            // Deleted since.
            Err(e) if e == ENOENT => {}
            Err(e) => return Err(e),
        }
        known = true;
        core::mem::swap(&mut before, &mut key);
        context::breathe();
    }
    answer_count(attr, n)?;
    if n != 0 {
        User::new(a.out_batch).write(&before)?;
    }
    done.map(|()| 0)
}

/// MAP_UPDATE_BATCH
pub(super) fn update(attr: &Attr) -> Result<i32> {
    let a: BatchAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_write() {
        return Err(EPERM);
    }
    let map = file.object().map();
    if !map.bulk_updates() {
        return Err(ENOTSUPP);
    }
    map.check_flags(a.elem_flags, F_LOCK | F_CPU | F_ALL_CPUS)?;
    if a.count == 0 {
        return Ok(0);
    }
    answer_count(attr, 0)?;
    let mut key = buffer(map.spec().key_size as usize)?;
    let mut value = buffer(map.user_value_size(a.elem_flags))?;
    each(attr, a.count, |n| {
        a.key(n, key.len()).read(&mut key)?;
        a.value(n, value.len()).read(&mut value)?;
        update_value(&file, &key, &value, a.elem_flags)
    })
}

/// MAP_DELETE_BATCH
pub(super) fn delete(attr: &Attr) -> Result<i32> {
    let a: BatchAttr = attr.view()?;
    let file = FileRef::<MapFile>::get(a.map_fd)?;
    let _writer = file.object().write()?;
    if !file.file().can_write() {
        return Err(EPERM);
    }
    let map = file.object().map();
    if !map.bulk_deletes() {
        return Err(ENOTSUPP);
    }
    if a.elem_flags & !F_LOCK != 0 || a.elem_flags != 0 && map.spec().lock.is_none() {
        return Err(EINVAL);
    }
    if a.count == 0 {
        return Ok(0);
    }
    answer_count(attr, 0)?;
    let mut key = buffer(map.spec().key_size as usize)?;
    each(attr, a.count, |n| {
        a.key(n, key.len()).read(&mut key)?;
        delete_value(file.object(), &key)
    })
}

/// Does `f` for each number below `count`, up to the first error.
fn each(attr: &Attr, count: u32, mut f: impl FnMut(u32) -> Result) -> Result<i32> {
    let mut n = 0;
    let mut done = Ok(());
    while n < count {
        done = f(n);
        if done.is_err() {
            break;
        }
        n = n.wrapping_add(1);
        context::breathe();
    }
    finish(attr, n, done)
}
