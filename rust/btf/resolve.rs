// SPDX-License-Identifier: GPL-2.0

//! The second look: what types refer to is there, has a size where one is needed, and no type contains
//! itself.
//!
//! References are followed with a stack of at most 32, one type at a time, until what the type at hand
//! needs is known. What it needs depends on where the walk came from: a struct needs the whole of what it
//! contains, but a pointer in it may point to anything, also back to the struct. So pointers end the
//! walk that a container began, and containers the walk that a pointer began.

use super::{Checker, Kind, Mode, Type, Vertex, MAX_DEPTH, NEW, RESOLVED, VISITED};
use kernel::prelude::*;

impl Checker<'_> {
    /// The walk ends at such a type.
    fn is_sink(&self, t: &Type) -> bool {
        match self.mode {
            Mode::Undecided => !t.kind.needs_resolve(),
            Mode::Pointer => !t.kind.is_modifier() && t.kind != Kind::Ptr,
            Mode::Container => {
                !t.kind.is_modifier() && t.kind != Kind::Array && !t.kind.is_struct()
            }
        }
    }

    fn is_resolved(&self, id: u32) -> bool {
        self.state.get(id as usize) == Some(&RESOLVED)
    }

    /// The type has to be resolved before what refers to it.
    pub(super) fn must_follow(&self, t: &Type) -> bool {
        !self.is_sink(t) && !self.is_resolved(t.id)
    }

    /// Goes on with `t`.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the stack is full, `EEXIST` when the type is on it.
    pub(super) fn push(&mut self, t: &Type) -> Result {
        let slot = self.stack.get_mut(self.top).ok_or(E2BIG)?;
        match self.state.get_mut(t.id as usize) {
            Some(state) if *state == NEW => *state = VISITED,
            _ => return Err(EEXIST),
        }
        *slot = Vertex { id: t.id, next: 0 };
        self.top = self.top.saturating_add(1);
        if self.mode == Mode::Undecided {
            if t.kind == Kind::Ptr {
                self.mode = Mode::Pointer;
            } else if t.kind.is_struct() || t.kind == Kind::Array {
                self.mode = Mode::Container;
            }
        }
        Ok(())
    }

    /// The type at hand goes on with that member when it is its turn again.
    pub(super) fn continue_at(&mut self, next: u32) {
        if let Some(v) = self
            .top
            .checked_sub(1)
            .and_then(|top| self.stack.get_mut(top))
        {
            v.next = next;
        }
    }

    /// The type at hand leads to `id`, or has `size` bytes if it is an array.
    pub(super) fn pop(&mut self, id: u32, size: u32) {
        self.top = self.top.saturating_sub(1);
        let Some(v) = self.stack.get(self.top) else {
            return;
        };
        let at = v.id as usize;
        if let (Some(sizes), Some(ids), Some(state)) = (
            self.btf.resolved_sizes.get_mut(at),
            self.btf.resolved_ids.get_mut(at),
            self.state.get_mut(at),
        ) {
            *sizes = size;
            *ids = id;
            *state = RESOLVED;
        }
    }

    /// Follows everything that `t` needs.
    pub(super) fn resolve(&mut self, t: &Type) -> Result {
        self.mode = Mode::Undecided;
        let mut result = self.push(t);
        while result.is_ok() {
            let Some(v) = self.top.checked_sub(1).and_then(|top| self.stack.get(top)) else {
                break;
            };
            let v = *v;
            self.id = v.id;
            let Some(at_hand) = self.btf.ty(v.id) else {
                return Err(EINVAL);
            };
            result = self.step(&at_hand, v);
        }
        self.id = t.id;
        match result {
            Err(e) if e == E2BIG => {
                self.log_type(
                    t,
                    true,
                    Some(format_args!("Exceeded max resolving depth:{MAX_DEPTH}")),
                );
            }
            Err(e) if e == EEXIST => {
                self.log_type(t, true, Some(format_args!("Loop detected")));
            }
            Ok(()) if !self.resolved_well(t) => {
                return self.refuse(t, format_args!("Invalid resolve state"));
            }
            _ => {}
        }
        result
    }

    /// One step with the type at hand: it is done, or something else comes first.
    fn step(&mut self, t: &Type, v: Vertex) -> Result {
        match t.kind {
            Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                self.resolve_modifier(t)
            }
            Kind::Ptr => self.resolve_ptr(t),
            Kind::Var => self.resolve_var(t),
            Kind::Array => self.resolve_array(t),
            Kind::Struct | Kind::Union => self.resolve_struct(t, v),
            Kind::Func => {
                self.check_func(t)?;
                self.pop(t.refers(), 0);
                Ok(())
            }
            Kind::Datasec => self.resolve_datasec(t, v),
            Kind::DeclTag => self.resolve_tag(t),
            Kind::Void
            | Kind::Int
            | Kind::Enum
            | Kind::Fwd
            | Kind::FuncProto
            | Kind::Float
            | Kind::Enum64 => {
                self.log_type(t, false, Some(format_args!("Unsupported resolve")));
                Err(EINVAL)
            }
        }
    }

    /// What `t` refers to, if that is something to refer to.
    fn next_of(&mut self, t: &Type) -> Result<Type> {
        match self.btf.ty(t.refers()) {
            Some(next) if !next.kind.only_refers() => Ok(next),
            _ => self.refuse(t, format_args!("Invalid type_id")),
        }
    }

    /// The pointer behind a modifier that the walk through a container did not follow.
    fn pointer_behind(&self, next: &Type) -> Option<Type> {
        if !next.kind.is_modifier() {
            return None;
        }
        let resolved = self.btf.resolved(next.id)?;
        (resolved.kind == Kind::Ptr && self.must_follow(&resolved)).then_some(resolved)
    }

    /// Ends a modifier or pointer at what has a size, or at what needs none.
    fn end_reference(&mut self, t: &Type, next: &Type) -> Result {
        if let Some((sized, _)) = self.btf.sized(next.id) {
            self.pop(sized.id, 0);
            return Ok(());
        }
        let end = match self.is_resolved(next.id) {
            true => self.btf.resolved(next.id),
            false => Some(*next),
        };
        match end {
            Some(end) if matches!(end.kind, Kind::Void | Kind::Fwd | Kind::FuncProto) => {
                self.pop(end.id, 0);
                Ok(())
            }
            _ => self.refuse(t, format_args!("Invalid type_id")),
        }
    }

    fn resolve_modifier(&mut self, t: &Type) -> Result {
        let next = self.next_of(t)?;
        if self.must_follow(&next) {
            return self.push(&next);
        }
        self.end_reference(t, &next)
    }

    fn resolve_ptr(&mut self, t: &Type) -> Result {
        let next = self.next_of(t)?;
        if self.must_follow(&next) {
            return self.push(&next);
        }
        if let Some(pointer) = self.pointer_behind(&next) {
            return self.push(&pointer);
        }
        self.end_reference(t, &next)
    }

    fn resolve_var(&mut self, t: &Type) -> Result {
        let next = self.next_of(t)?;
        if self.must_follow(&next) {
            return self.push(&next);
        }
        if let Some(pointer) = self.pointer_behind(&next) {
            return self.push(&pointer);
        }
        match self.btf.sized(next.id) {
            Some((sized, _)) => {
                self.pop(sized.id, 0);
                Ok(())
            }
            None => self.refuse(t, format_args!("Invalid type_id")),
        }
    }

    fn resolve_array(&mut self, t: &Type) -> Result {
        let array = self.btf.array(t);
        let contained = |ty: &Type| !ty.kind.sizeless() && !ty.kind.only_refers();

        let Some(index) = self.btf.ty(array.index).filter(contained) else {
            return self.refuse(t, format_args!("Invalid index"));
        };
        if self.must_follow(&index) {
            return self.push(&index);
        }
        let right = self
            .btf
            .sized(array.index)
            .is_some_and(|(index, _)| index.kind == Kind::Int && self.btf.int(&index).is_regular());
        self.want(t, right, format_args!("Invalid index"))?;

        let Some(elem) = self.btf.ty(array.elem).filter(contained) else {
            return self.refuse(t, format_args!("Invalid elem"));
        };
        if self.must_follow(&elem) {
            return self.push(&elem);
        }
        let Some((elem, size)) = self.btf.sized(array.elem) else {
            return self.refuse(t, format_args!("Invalid elem"));
        };
        if elem.kind == Kind::Int && !self.btf.int(&elem).is_regular() {
            return self.refuse(t, format_args!("Invalid array of int"));
        }
        let Some(bytes) = size.checked_mul(array.count) else {
            return self.refuse(t, format_args!("Array size overflows U32_MAX"));
        };
        self.pop(elem.id, bytes);
        Ok(())
    }

    fn resolve_struct(&mut self, t: &Type, v: Vertex) -> Result {
        // The member that was followed last is known now.
        if let Some(last) = v.next.checked_sub(1) {
            let member = self.btf.member(t, last);
            let Some(ty) = self.btf.ty(member.ty) else {
                return Err(EINVAL);
            };
            self.check_member(t, &member, &ty)?;
        }
        for i in v.next..t.vlen {
            let member = self.btf.member(t, i);
            let contained = |ty: &Type| !ty.kind.sizeless() && !ty.kind.only_refers();
            let Some(ty) = self.btf.ty(member.ty).filter(contained) else {
                self.log_member(t, &member, Some(format_args!("Invalid member")));
                return Err(EINVAL);
            };
            if self.must_follow(&ty) {
                self.continue_at(i.saturating_add(1));
                return self.push(&ty);
            }
            self.check_member(t, &member, &ty)?;
        }
        self.pop(0, 0);
        Ok(())
    }

    fn resolve_tag(&mut self, t: &Type) -> Result {
        let target = |ty: &Type| {
            ty.kind.is_struct() || matches!(ty.kind, Kind::Func | Kind::Var | Kind::Typedef)
        };
        let Some(next) = self.btf.ty(t.refers()).filter(target) else {
            return self.refuse(t, format_args!("Invalid type_id"));
        };
        if self.must_follow(&next) {
            return self.push(&next);
        }
        let index = self.btf.tag_index(t);
        if index != -1 {
            let parts = match next.kind {
                Kind::Var | Kind::Typedef => 0,
                Kind::Func => self.btf.ty(next.refers()).map_or(0, |proto| proto.vlen),
                _ => next.vlen,
            };
            let there = (index as u32) < parts;
            self.want(t, there, format_args!("Invalid component_idx"))?;
        }
        self.pop(next.id, 0);
        Ok(())
    }

    /// What was stored is what such a type can lead to.
    fn resolved_well(&self, t: &Type) -> bool {
        if !self.is_resolved(t.id) {
            return false;
        }
        let at = t.id as usize;
        let id = self.btf.resolved_ids.get(at).copied().unwrap_or(0);
        let size = self.btf.resolved_sizes.get(at).copied().unwrap_or(0);
        match t.kind {
            Kind::Struct | Kind::Union | Kind::Datasec => id == 0 && size == 0,
            Kind::DeclTag | Kind::Func => id != 0 && size == 0,
            Kind::Array => {
                let array = self.btf.array(t);
                self.btf.sized(array.elem).is_some_and(|(elem, each)| {
                    !elem.kind.is_modifier() && each.wrapping_mul(array.count) == size
                })
            }
            _ => self.btf.resolved(t.id).is_some_and(|end| {
                !end.kind.is_modifier() && !matches!(end.kind, Kind::Var | Kind::Datasec)
            }),
        }
    }
}
