// SPDX-License-Identifier: GPL-2.0

//! Variables, and the sections that they are in.

use super::{Checker, Kind, SecVar, Type, Vertex, MAX_TYPE};
use crate::btf::Mode;
use kernel::prelude::*;

impl Checker<'_> {
    pub(super) fn check_var(&mut self, t: &Type) -> Result {
        self.no_vlen(t)?;
        self.no_kflag(t)?;
        self.named(t)?;
        let known = (1..=MAX_TYPE).contains(&t.refers());
        self.want(t, known, format_args!("Invalid type_id"))?;
        // Static or global.
        let linkage = self.btf.part(t, 0) <= 1;
        self.want(t, linkage, format_args!("Linkage not supported"))?;
        self.log_type(t, true, None);
        Ok(())
    }

    pub(super) fn check_datasec(&mut self, t: &Type) -> Result {
        self.want(t, t.size != 0, format_args!("size == 0"))?;
        self.no_kflag(t)?;
        let named = t.name != 0 && self.btf.is_section_name(t.name);
        self.want(t, named, format_args!("Invalid name"))?;
        self.log_type(t, true, None);
        let (mut end, mut sum) = (0u32, 0u64);
        for i in 0..t.vlen {
            let var = self.btf.sec_var(t, i);
            let why = if !(1..=MAX_TYPE).contains(&var.ty) {
                Some("Invalid type_id")
            } else if var.offset < end || var.offset >= t.size {
                Some("Invalid offset")
            } else if var.size == 0 || var.size > t.size {
                Some("Invalid size")
            } else if var.offset.wrapping_add(var.size) > t.size {
                Some("Invalid offset+size")
            } else {
                None
            };
            self.judge_var(t, &var, why)?;
            self.log_var(t, &var, None);
            // An end that wrapped is behind the section all the same, which the sum shows.
            end = var.offset.wrapping_add(var.size);
            sum = sum.saturating_add(u64::from(var.size));
        }
        let fits = sum <= u64::from(t.size);
        self.want(t, fits, format_args!("Invalid btf_info size"))
    }

    /// Refuses the section if there is something to say against a variable in it.
    fn judge_var(&mut self, t: &Type, var: &SecVar, why: Option<&str>) -> Result {
        match why {
            None => Ok(()),
            Some(why) => {
                self.log_var(t, var, Some(format_args!("{why}")));
                Err(EINVAL)
            }
        }
    }

    /// The variables of a section have types, and room for them.
    pub(super) fn resolve_datasec(&mut self, t: &Type, v: Vertex) -> Result {
        self.mode = Mode::Undecided;
        for i in v.next..t.vlen {
            let var = self.btf.sec_var(t, i);
            let Some(ty) = self.btf.ty(var.ty).filter(|ty| ty.kind == Kind::Var) else {
                return self.judge_var(t, &var, Some("Not a VAR kind member"));
            };
            if self.must_follow(&ty) {
                self.continue_at(i.saturating_add(1));
                return self.push(&ty);
            }
            let why = match self.btf.sized(ty.refers()) {
                None => Some("Invalid type"),
                Some((_, size)) if var.size < size => Some("Invalid size"),
                Some(_) => None,
            };
            self.judge_var(t, &var, why)?;
        }
        self.pop(0, 0);
        Ok(())
    }
}
