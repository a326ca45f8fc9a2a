// SPDX-License-Identifier: GPL-2.0

//! Members lie within their struct, where things of their type can lie.

use super::meta::bytes_for;
use super::{Checker, Kind, Member, Type};
use kernel::prelude::*;

/// Bits of the widest access.
const MAX_BITS: u32 = 128;
/// Bits of what an enumeration's bit field is a part of.
const ENUM_BITS: u32 = 32;

impl Checker<'_> {
    /// Member `member` of type `ty` fits in `t`.
    pub(super) fn check_member(&mut self, t: &Type, member: &Member, ty: &Type) -> Result {
        let (mut member, mut ty) = (*member, *ty);
        if ty.kind.is_modifier() {
            let Some((resolved, _)) = self.btf.sized(member.ty) else {
                self.log_member(t, &member, Some(format_args!("Invalid member")));
                return Err(EINVAL);
            };
            member.ty = resolved.id;
            ty = resolved;
        }
        let why = match (ty.kind, t.kflag) {
            (Kind::Int, false) => self.int_member(t, &member, &ty),
            (Kind::Int, true) => self.int_field(t, &member, &ty),
            (Kind::Enum | Kind::Enum64, true) => enum_field(t, &member),
            (Kind::Enum | Kind::Enum64, false) => whole_member(t, &member, ty.size),
            (Kind::Ptr | Kind::Array | Kind::Struct | Kind::Union | Kind::Float, true)
                if member.bitfield_size() != 0 =>
            {
                Some("Invalid member bitfield_size")
            }
            (Kind::Ptr, _) => whole_member(t, &member, 8),
            (Kind::Array, _) => {
                let size = self.btf.sized(ty.id).map_or(0, |(_, size)| size);
                whole_member(t, &member, size)
            }
            (Kind::Struct | Kind::Union, _) => whole_member(t, &member, ty.size),
            (Kind::Float, _) => float_member(t, &member, &ty),
            (
                Kind::Void
                | Kind::Fwd
                | Kind::Typedef
                | Kind::Volatile
                | Kind::Const
                | Kind::Restrict
                | Kind::Func
                | Kind::FuncProto
                | Kind::Var
                | Kind::Datasec
                | Kind::DeclTag
                | Kind::TypeTag,
                _,
            ) => {
                let why = match t.kflag {
                    true => "Unsupported check_kflag_member",
                    false => "Unsupported check_member",
                };
                self.log_type(t, false, Some(format_args!("{why}")));
                return Err(EINVAL);
            }
        };
        match why {
            None => Ok(()),
            Some(why) => {
                self.log_member(t, &member, Some(format_args!("{why}")));
                Err(EINVAL)
            }
        }
    }

    /// An integer whose own bits say where in it its value is.
    fn int_member(&self, t: &Type, member: &Member, ty: &Type) -> Option<&'static str> {
        let int = self.btf.int(ty);
        let Some(first) = member.offset.checked_add(int.offset()) else {
            return Some("bits_offset exceeds U32_MAX");
        };
        bits_member(t, first, int.bits())
    }

    /// An integer where the member may say that it is a bit field.
    fn int_field(&self, t: &Type, member: &Member, ty: &Type) -> Option<&'static str> {
        let int = self.btf.int(ty);
        if !int.is_regular() {
            return Some("Invalid member base type");
        }
        let first = member.bit_offset(t);
        let bits = match member.bitfield_size() {
            0 if first % 8 != 0 => return Some("Invalid member offset"),
            0 => int.bits(),
            bits if bits > int.bits() => return Some("Invalid member bitfield_size"),
            bits => bits,
        };
        bits_member(t, first, bits)
    }
}

/// So many bits from bit `first` on.
fn bits_member(t: &Type, first: u32, bits: u32) -> Option<&'static str> {
    let copied = bits.saturating_add(first % 8);
    if copied > MAX_BITS {
        return Some("nr_copy_bits exceeds 128");
    }
    match t.size.checked_sub(first.wrapping_shr(3)) {
        Some(room) if room >= bytes_for(copied) => None,
        _ => Some("Member exceeds struct_size"),
    }
}

/// A member of whole bytes.
fn whole_member(t: &Type, member: &Member, size: u32) -> Option<&'static str> {
    if member.offset % 8 != 0 {
        return Some("Member is not byte aligned");
    }
    // The first look saw that it begins in the struct.
    match t.size.checked_sub(member.offset.wrapping_shr(3)) {
        Some(room) if room >= size => None,
        _ => Some("Member exceeds struct_size"),
    }
}

fn enum_field(t: &Type, member: &Member) -> Option<&'static str> {
    let first = member.bit_offset(t);
    let bits = match member.bitfield_size() {
        0 if first % 8 != 0 => return Some("Member is not byte aligned"),
        0 => ENUM_BITS,
        bits if bits > ENUM_BITS => return Some("Invalid member bitfield_size"),
        bits => bits,
    };
    (t.size < bytes_for(first.saturating_add(bits))).then_some("Member exceeds struct_size")
}

/// Floating point numbers are where machines can load them.
fn float_member(t: &Type, member: &Member, ty: &Type) -> Option<&'static str> {
    let align = ty.size.min(8).saturating_mul(8);
    if member.offset.checked_rem(align) != Some(0) {
        return Some("Member is not properly aligned");
    }
    let end = u64::from(member.offset.wrapping_shr(3)).saturating_add(u64::from(ty.size));
    (end > u64::from(t.size)).then_some("Member exceeds struct_size")
}
