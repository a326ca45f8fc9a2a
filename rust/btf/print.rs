// SPDX-License-Identifier: GPL-2.0

//! Types in the log, in bpf(2)'s words.

use super::{Btf, Checker, Int, Kind, Member, SecVar, Type};
use crate::verifier::log::Log;
use core::fmt::Arguments;

/// A name: bytes of the blob.
fn name(btf: &Btf, log: &mut Log, offset: u32) {
    log.put_bytes(btf.shown(offset));
}

/// What the type's kind has to say.
fn details(btf: &Btf, log: &mut Log, t: &Type) {
    match t.kind {
        Kind::Void => {}
        Kind::Int => {
            let int = btf.int(t);
            let encoding = match int.encoding() {
                0 => "(none)",
                Int::SIGNED => "SIGNED",
                Int::CHAR => "CHAR",
                Int::BOOL => "BOOL",
                _ => "UNKN",
            };
            log.put(format_args!(
                "size={} bits_offset={} nr_bits={} encoding={encoding}",
                t.size,
                int.offset(),
                int.bits()
            ));
        }
        Kind::Ptr
        | Kind::Typedef
        | Kind::Volatile
        | Kind::Const
        | Kind::Restrict
        | Kind::TypeTag
        | Kind::Func => log.put(format_args!("type_id={}", t.refers())),
        Kind::Array => {
            let array = btf.array(t);
            log.put(format_args!(
                "type_id={} index_type_id={} nr_elems={}",
                array.elem, array.index, array.count
            ));
        }
        Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Datasec => {
            log.put(format_args!("size={} vlen={}", t.size, t.vlen));
        }
        Kind::Fwd => log.put(format_args!("{}", if t.kflag { "union" } else { "struct" })),
        Kind::FuncProto => prototype(btf, log, t),
        Kind::Var => log.put(format_args!(
            "type_id={} linkage={}",
            t.refers(),
            btf.part(t, 0)
        )),
        Kind::Float => log.put(format_args!("size={}", t.size)),
        Kind::DeclTag => log.put(format_args!(
            "type={} component_idx={}",
            t.refers(),
            btf.tag_index(t)
        )),
    }
}

fn prototype(btf: &Btf, log: &mut Log, t: &Type) {
    log.put(format_args!("return={} args=(", t.refers()));
    if t.vlen == 0 {
        log.put(format_args!("void"));
    }
    for i in 0..t.vlen {
        let Some(param) = btf.param(t, i) else { break };
        if i != 0 {
            log.put(format_args!(", "));
        }
        if param.ty == 0 && i.wrapping_add(1) == t.vlen {
            log.put(format_args!("vararg"));
        } else {
            log.put(format_args!("{} ", param.ty));
            name(btf, log, param.name);
        }
    }
    log.put(format_args!(")"));
}

impl Checker<'_> {
    /// A line about a type, with what its kind has to say if its part is there.
    pub(super) fn log_type(&mut self, t: &Type, whole: bool, why: Option<Arguments<'_>>) {
        if !self.log.on() {
            return;
        }
        self.log
            .put(format_args!("[{}] {} ", self.id, t.kind.name()));
        name(&self.btf, self.log, t.name);
        if whole {
            self.log.put(format_args!(" "));
            details(&self.btf, self.log, t);
        }
        if let Some(why) = why {
            self.log.put(format_args!(" {why}"));
        }
        self.log.put(format_args!("\n"));
    }

    /// A line about a member; the first look at a struct has shown the struct already.
    pub(super) fn log_member(&mut self, t: &Type, member: &Member, why: Option<Arguments<'_>>) {
        if !self.log.on() {
            return;
        }
        if !self.meta {
            self.log_type(t, true, None);
        }
        self.log.put(format_args!("\t"));
        name(&self.btf, self.log, member.name);
        if t.kflag {
            self.log.put(format_args!(
                " type_id={} bitfield_size={} bits_offset={}",
                member.ty,
                member.bitfield_size(),
                member.bit_offset(t)
            ));
        } else {
            self.log.put(format_args!(
                " type_id={} bits_offset={}",
                member.ty, member.offset
            ));
        }
        if let Some(why) = why {
            self.log.put(format_args!(" {why}"));
        }
        self.log.put(format_args!("\n"));
    }

    /// A line about a variable of a section.
    pub(super) fn log_var(&mut self, t: &Type, var: &SecVar, why: Option<Arguments<'_>>) {
        if !self.log.on() {
            return;
        }
        if !self.meta {
            self.log_type(t, true, None);
        }
        self.log.put(format_args!(
            "\t type_id={} offset={} size={}",
            var.ty, var.offset, var.size
        ));
        if let Some(why) = why {
            self.log.put(format_args!(" {why}"));
        }
        self.log.put(format_args!("\n"));
    }

    /// A line about a value of an enumeration.
    pub(super) fn log_value(&mut self, t: &Type, at: u32, value: u64) {
        if !self.log.on() {
            return;
        }
        self.log.put(format_args!("\t"));
        name(&self.btf, self.log, at);
        match (t.kind, t.kflag) {
            (Kind::Enum64, true) => self.log.put(format_args!(" val={}\n", value as i64)),
            (Kind::Enum64, false) => self.log.put(format_args!(" val={value}\n")),
            (_, true) => self.log.put(format_args!(" val={}\n", value as i32)),
            (_, false) => self.log.put(format_args!(" val={}\n", value as u32)),
        }
    }
}
