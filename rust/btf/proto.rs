// SPDX-License-Identifier: GPL-2.0

//! Prototypes of functions: what goes in and out has a size.

use super::{Checker, Kind, Type, RESOLVED};
use kernel::prelude::*;

impl Checker<'_> {
    /// Things of type `id` can be passed; it is resolved afterwards.
    fn check_passed(&mut self, id: u32) -> Result<bool> {
        let Some(ty) = self.btf.ty(id).filter(|ty| !ty.kind.only_refers()) else {
            return Ok(false);
        };
        if ty.kind.needs_resolve() && self.state.get(id as usize) != Some(&RESOLVED) {
            let about = self.id;
            self.resolve(&ty)?;
            self.id = about;
        }
        Ok(self.btf.sized(id).is_some())
    }

    /// What a prototype takes and returns.
    pub(super) fn check_prototype(&mut self, t: &Type) -> Result {
        if t.refers() != 0 && !self.check_passed(t.refers())? {
            return self.refuse(t, format_args!("Invalid return type"));
        }
        // The last may stand for any number of arguments, and then has no name.
        let mut count = t.vlen;
        if let Some(last) = count.checked_sub(1) {
            let param = self.btf.param(t, last);
            if let Some(param) = param.filter(|param| param.ty == 0) {
                self.want(t, param.name == 0, format_args!("Invalid arg#{count}"))?;
                count = last;
            }
        }
        for i in 0..count {
            let Some(param) = self.btf.param(t, i) else {
                break;
            };
            let named = param.name == 0 || self.btf.is_identifier(param.name);
            let known = self
                .btf
                .ty(param.ty)
                .is_some_and(|ty| !ty.kind.only_refers());
            if !known || !named || !self.check_passed(param.ty)? {
                let number = i.saturating_add(1);
                return self.refuse(t, format_args!("Invalid arg#{number}"));
            }
        }
        Ok(())
    }

    /// A function has a prototype whose parameters have names.
    pub(super) fn check_func(&mut self, t: &Type) -> Result {
        let Some(proto) = self
            .btf
            .ty(t.refers())
            .filter(|proto| proto.kind == Kind::FuncProto)
        else {
            return self.refuse(t, format_args!("Invalid type_id"));
        };
        for i in 0..proto.vlen {
            let unnamed = self
                .btf
                .param(&proto, i)
                .is_some_and(|param| param.name == 0 && param.ty != 0);
            if unnamed {
                let number = i.saturating_add(1);
                return self.refuse(t, format_args!("Invalid arg#{number}"));
            }
        }
        Ok(())
    }
}
