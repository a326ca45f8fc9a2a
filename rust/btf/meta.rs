// SPDX-License-Identifier: GPL-2.0

//! The first look at each type: it is whole, named as its kind wants, and its numbers make sense by
//! themselves.

use super::header::Header;
use super::{Btf, Checker, Int, Kind, Type, MAX_TYPE, RESOLVED, TYPE_SIZE};
use core::fmt::Arguments;
use kernel::prelude::*;

/// Bits of the widest integer.
const MAX_BITS: u32 = 128;

/// Whole bytes for so many bits.
pub(super) fn bytes_for(bits: u32) -> u32 {
    bits.wrapping_shr(3)
        .saturating_add(u32::from(bits % 8 != 0))
}

/// Bytes that the type's kind adds.
fn part_size(t: &Type) -> usize {
    let each = |bytes: usize| (t.vlen as usize).saturating_mul(bytes);
    match t.kind {
        Kind::Int | Kind::Var | Kind::DeclTag => 4,
        Kind::Array => 12,
        Kind::Struct | Kind::Union | Kind::Enum64 | Kind::Datasec => each(12),
        Kind::Enum | Kind::FuncProto => each(8),
        Kind::Void
        | Kind::Ptr
        | Kind::Fwd
        | Kind::Typedef
        | Kind::Volatile
        | Kind::Const
        | Kind::Restrict
        | Kind::Func
        | Kind::Float
        | Kind::TypeTag => 0,
    }
}

impl Checker<'_> {
    /// Both looks at all types.
    pub(super) fn check_types(&mut self, header: &Header) -> Result {
        if header.type_off % 4 != 0 {
            self.log.put(format_args!("Unaligned type_off"));
            return Err(EINVAL);
        }
        if header.types.is_empty() {
            self.log.put(format_args!("No type found"));
            return Err(EINVAL);
        }
        self.btf.types.push(0, GFP_KERNEL)?;
        let mut at = header.types.start;
        while at < header.types.end {
            let left = header.types.end.saturating_sub(at);
            let len = self.check_meta(at, left)?;
            if self.btf.types.len() == MAX_TYPE as usize {
                // Looked at, but never found by number: references to it are refused.
                self.log.put(format_args!("Exceeded max num of types"));
            } else {
                self.btf.types.push(at as u32, GFP_KERNEL)?;
            }
            at = at.saturating_add(len);
            self.id = self.id.saturating_add(1);
        }
        let n = self.btf.types.len();
        self.btf.resolved_ids = KVVec::from_elem(0, n, GFP_KERNEL)?;
        self.btf.resolved_sizes = KVVec::from_elem(0, n, GFP_KERNEL)?;
        self.state = KVVec::from_elem(0, n, GFP_KERNEL)?;
        self.meta = false;
        for id in 1..self.btf.types() {
            let Some(t) = self.btf.ty(id) else {
                return Err(EINVAL);
            };
            self.id = id;
            if t.kind.needs_resolve() && self.state.get(id as usize) != Some(&RESOLVED) {
                self.resolve(&t)?;
            }
            if t.kind == Kind::FuncProto {
                self.check_prototype(&t)?;
            }
        }
        Ok(())
    }

    /// Chains of modifiers have an end, and not far away.
    pub(super) fn check_chains(&mut self) -> Result {
        let mut good = 0;
        for id in 1..self.btf.types() {
            let mut t = self.btf.ty(id).ok_or(EINVAL)?;
            if !t.kind.is_modifier() {
                continue;
            }
            let mut left = 32u32;
            while t.kind.is_modifier() {
                if left == 0 {
                    self.log
                        .put(format_args!("Max chain length or cycle detected"));
                    // ELOOP
                    return Err(Error::from_errno(-40));
                }
                left = left.wrapping_sub(1);
                if t.id <= good {
                    break;
                }
                t = self.btf.ty(t.refers()).ok_or(EINVAL)?;
            }
            good = id;
        }
        Ok(())
    }

    /// The type at `at`, of which `left` bytes are left at most; returns how many it has.
    fn check_meta(&mut self, at: usize, left: usize) -> Result<usize> {
        let Some(left) = left.checked_sub(TYPE_SIZE) else {
            self.log.put(format_args!(
                "[{}] meta_left:{left} meta_needed:{TYPE_SIZE}",
                self.id
            ));
            return Err(EINVAL);
        };
        let t = match self.btf.read_type(self.id, at) {
            Ok(t) => t,
            Err(kind) => {
                self.log
                    .put(format_args!("[{}] Invalid kind:{kind}", self.id));
                return Err(EINVAL);
            }
        };
        if !self.btf.name_offset_valid(t.name) {
            self.log
                .put(format_args!("[{}] Invalid name_offset:{}", self.id, t.name));
            return Err(EINVAL);
        }
        let size = part_size(&t);
        if left < size {
            self.log_type(
                &t,
                false,
                Some(format_args!("meta_left:{left} meta_needed:{size}")),
            );
            return Err(EINVAL);
        }
        match t.kind {
            Kind::Void => return Err(EINVAL),
            Kind::Int => self.check_int(&t)?,
            Kind::Ptr
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::TypeTag => self.check_reference(&t)?,
            Kind::Array => self.check_array(&t)?,
            Kind::Struct | Kind::Union => self.check_struct(&t)?,
            Kind::Enum | Kind::Enum64 => self.check_enum(&t)?,
            Kind::Fwd => {
                self.no_vlen(&t)?;
                self.want(&t, t.refers() == 0, format_args!("type != 0"))?;
                self.named(&t)?;
                self.log_type(&t, true, None);
            }
            Kind::Func => {
                self.named(&t)?;
                // Static or global.
                self.want(&t, t.vlen <= 1, format_args!("Invalid func linkage"))?;
                self.no_kflag(&t)?;
                self.log_type(&t, true, None);
            }
            Kind::FuncProto => {
                self.want(&t, t.name == 0, format_args!("Invalid name"))?;
                self.no_kflag(&t)?;
                self.log_type(&t, true, None);
            }
            Kind::Var => self.check_var(&t)?,
            Kind::Datasec => self.check_datasec(&t)?,
            Kind::Float => {
                self.no_vlen(&t)?;
                self.no_kflag(&t)?;
                let right = matches!(t.size, 2 | 4 | 8 | 12 | 16);
                self.want(&t, right, format_args!("Invalid type_size"))?;
                self.log_type(&t, true, None);
            }
            Kind::DeclTag => {
                let value = self.btf.has_text(t.name);
                self.want(&t, value, format_args!("Invalid value"))?;
                self.no_vlen(&t)?;
                let index = self.btf.tag_index(&t) >= -1;
                self.want(&t, index, format_args!("Invalid component_idx"))?;
                self.log_type(&t, true, None);
            }
        }
        Ok(TYPE_SIZE.saturating_add(size))
    }

    /// Refuses the type unless `right`.
    pub(super) fn want(&mut self, t: &Type, right: bool, why: Arguments<'_>) -> Result {
        match right {
            true => Ok(()),
            false => self.refuse(t, why),
        }
    }

    pub(super) fn no_vlen(&mut self, t: &Type) -> Result {
        self.want(t, t.vlen == 0, format_args!("vlen != 0"))
    }

    pub(super) fn no_kflag(&mut self, t: &Type) -> Result {
        self.want(t, !t.kflag, format_args!("Invalid btf_info kind_flag"))
    }

    /// It has a name that programs can use.
    pub(super) fn named(&mut self, t: &Type) -> Result {
        let named = t.name != 0 && self.btf.is_identifier(t.name);
        self.want(t, named, format_args!("Invalid name"))
    }

    /// Its name, if it has one, is one that programs can use.
    fn maybe_named(&mut self, t: &Type) -> Result {
        let fine = t.name == 0 || self.btf.is_identifier(t.name);
        self.want(t, fine, format_args!("Invalid name"))
    }

    fn check_int(&mut self, t: &Type) -> Result {
        self.no_vlen(t)?;
        self.no_kflag(t)?;
        let int = self.btf.int(t);
        if int.data >> 28 != 0 {
            let data = int.data;
            self.log_type(t, false, Some(format_args!("Invalid int_data:{data:x}")));
            return Err(EINVAL);
        }
        let bits = int.bits().saturating_add(int.offset());
        self.want(t, bits <= MAX_BITS, format_args!("nr_bits exceeds 128"))?;
        let fits = bytes_for(bits) <= t.size;
        self.want(t, fits, format_args!("nr_bits exceeds type_size"))?;
        if !matches!(int.encoding(), 0 | Int::SIGNED | Int::CHAR | Int::BOOL) {
            self.log_type(t, true, Some(format_args!("Unsupported encoding")));
            return Err(ENOTSUPP);
        }
        self.log_type(t, true, None);
        Ok(())
    }

    /// Pointers, typedefs and qualifiers.
    fn check_reference(&mut self, t: &Type) -> Result {
        self.no_vlen(t)?;
        if t.kind != Kind::TypeTag {
            self.no_kflag(t)?;
        }
        let known = t.refers() <= MAX_TYPE;
        self.want(t, known, format_args!("Invalid type_id"))?;
        match t.kind {
            Kind::Typedef => self.named(t)?,
            Kind::TypeTag => {
                let value = self.btf.has_text(t.name);
                self.want(t, value, format_args!("Invalid name"))?;
            }
            _ => self.want(t, t.name == 0, format_args!("Invalid name"))?,
        }
        self.log_type(t, true, None);
        Ok(())
    }

    fn check_array(&mut self, t: &Type) -> Result {
        self.want(t, t.name == 0, format_args!("Invalid name"))?;
        self.no_vlen(t)?;
        self.no_kflag(t)?;
        self.want(t, t.size == 0, format_args!("size != 0"))?;
        let array = self.btf.array(t);
        let known = |id| (1..=MAX_TYPE).contains(&id);
        self.want(t, known(array.elem), format_args!("Invalid elem"))?;
        self.want(t, known(array.index), format_args!("Invalid index"))?;
        self.log_type(t, true, None);
        Ok(())
    }

    fn check_struct(&mut self, t: &Type) -> Result {
        self.maybe_named(t)?;
        self.log_type(t, true, None);
        let mut last = 0;
        for i in 0..t.vlen {
            let member = self.btf.member(t, i);
            let offset = member.bit_offset(t);
            let why = if !self.btf.name_offset_valid(member.name) {
                let name = member.name;
                self.log_member(
                    t,
                    &member,
                    Some(format_args!("Invalid member name_offset:{name}")),
                );
                return Err(EINVAL);
            } else if member.name != 0 && !self.btf.is_identifier(member.name) {
                Some("Invalid name")
            } else if !(1..=MAX_TYPE).contains(&member.ty) {
                Some("Invalid type_id")
            } else if t.kind == Kind::Union && offset != 0 || last > offset {
                Some("Invalid member bits_offset")
            } else if bytes_for(offset) > t.size {
                Some("Member bits_offset exceeds its struct size")
            } else {
                None
            };
            if let Some(why) = why {
                self.log_member(t, &member, Some(format_args!("{why}")));
                return Err(EINVAL);
            }
            self.log_member(t, &member, None);
            last = offset;
        }
        Ok(())
    }

    fn check_enum(&mut self, t: &Type) -> Result {
        let sized = t.size <= 8 && t.size.is_power_of_two();
        self.want(t, sized, format_args!("Unexpected size"))?;
        self.maybe_named(t)?;
        self.log_type(t, true, None);
        let words = if t.kind == Kind::Enum64 { 3 } else { 2 };
        for i in 0..t.vlen {
            let at = (i as usize).saturating_mul(words);
            let name = self.btf.part(t, at);
            if !self.btf.name_offset_valid(name) {
                self.log.put(format_args!("\tInvalid name_offset:{name}"));
                return Err(EINVAL);
            }
            let named = name != 0 && self.btf.is_identifier(name);
            self.want(t, named, format_args!("Invalid name"))?;
            let value = value_at(&self.btf, t, at);
            self.log_value(t, name, value);
        }
        Ok(())
    }
}

/// A value of an enumeration whose words begin at word `at`.
fn value_at(btf: &Btf, t: &Type, at: usize) -> u64 {
    let low = u64::from(btf.part(t, at.saturating_add(1)));
    match t.kind {
        Kind::Enum64 => low | (u64::from(btf.part(t, at.saturating_add(2))) << 32),
        _ => low,
    }
}
