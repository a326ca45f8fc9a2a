// SPDX-License-Identifier: GPL-2.0

//! Lookups in hash tables: the first look without a call.
//!
//! What is done is said at [`HashTarget`]. Why the memory that is read is there, whatever others write
//! meanwhile: the bucket is one of the table's because its distance is masked; its slots hold numbers
//! of elements at any time, also while they are free; and the table lives as long as the program.

use super::lookup::MAP_LOOKUP_ELEM;
use super::*;
use crate::isa::Cond;
use crate::jit::{ArrayTarget, HashTarget, MapTarget};

/// What is overwritten on the quick way; with the scratch registers and `rdi`, `rsi` on the long one.
const USED: [Gpr; 5] = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx, Gpr::R8, BASE];
/// Bits of a hash below those that choose the bucket.
const INDEX_SHIFT: u32 = 24;
/// Bits of a hash below the tag.
const TAG_SHIFT: u32 = 56;
/// Offsets in the constants.
const FIRST: i32 = 0;
const SECOND: i32 = 8;
const THIRD: i32 = 16;
const ONES: i32 = 24;
const TOPS: i32 = 32;
const BUCKETS: i32 = 40;
const ELEMS: i32 = 48;
/// Offsets in a bucket.
const TAGS: i32 = 0;
const SLOTS: i32 = 8;
const BEYOND: i32 = 40;

/// What follows a first look that found no slot with the tag, or another key: perhaps a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longer {
    /// Where the second case enters.
    other: Label,
    /// Where the key is.
    key: Expr,
    map: u64,
    helper: u64,
    /// Where to go when there is no entry.
    missing: Label,
    /// What the quick way leaves in `rax`.
    result: Found,
}

/// What is in `rax` when an entry was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The value's address.
    Value,
    /// The element's, so many bytes below.
    Element(i32),
}

/// The numbers of a table, checked.
struct Table<'a> {
    hash: &'a HashTarget,
    map: u64,
    helper: u64,
    stride: i32,
    value_at: i32,
    per_cpu: Option<(ArrayTarget, i32, Mem)>,
}

impl Lower<'_> {
    /// Lowers a lookup in the map that all paths pass, if it is a hash table.
    pub(super) fn hash_lookup(
        &mut self,
        map: &MapTarget,
        hash: &HashTarget,
    ) -> Result<bool, Failure> {
        let (Some(helper), Ok(stride), Ok(value_at)) = (
            (self.target.helper)(MAP_LOOKUP_ELEM),
            i32::try_from(hash.stride),
            i32::try_from(hash.value_at),
        ) else {
            return Ok(false);
        };
        let per_cpu = match hash.per_cpu {
            None => None,
            Some(array) => {
                let cpu = self.target.variables.cpu_number;
                let cpu = cpu.and_then(|place| super::call::fixed(place, true));
                let (Some(cpu), Ok(stride)) = (cpu, i32::try_from(array.stride)) else {
                    return Ok(false);
                };
                Some((array, stride, cpu))
            }
        };
        if !self.is_live(Reg::R0) {
            // Without a mark nothing is done at all.
            return Ok(hash.mark.is_none());
        }
        let table = Table {
            hash,
            map: map.addr,
            helper,
            stride,
            value_at,
            per_cpu,
        };
        match self.null_check() {
            Some((slot, Cond::Eq, target)) => {
                self.fuse(slot);
                let live = self.flow.slot(target).live_in;
                let missing = if live.has(Reg::R0) {
                    self.null_stub(Label::Slot(target))?
                } else {
                    Label::Slot(target)
                };
                self.first_look(&table, live, missing, true)?;
            }
            Some((slot, _, target)) => {
                self.fuse(slot);
                let missing = self.out.buf.new_label()?;
                let both = self.live;
                self.first_look(&table, both, missing, true)?;
                self.force(Reg::R0, true)?;
                self.out.buf.jmp(Label::Slot(target))?;
                self.out.buf.bind(missing);
                self.st.flags = None;
                self.st.set(Reg::R0, Val::Lazy(Expr::constant(0)));
            }
            None => {
                let done = self.out.buf.new_label()?;
                let missing = self.null_stub(done)?;
                let live = self.live;
                self.first_look(&table, live, missing, false)?;
                self.out.buf.bind(done);
            }
        }
        Ok(true)
    }

    /// Sets `R0` to the address of the value of the key that `R2` points to, or goes to `missing`,
    /// where `live` is needed. With `later` the last addition is left to who uses the address.
    fn first_look(&mut self, table: &Table<'_>, live: RegSet, missing: Label, later: bool) -> Done {
        let hash = table.hash;
        self.sync(live.without(RegSet::one(Reg::R0)), false)?;
        let mut key = self.expr(Reg::R2);
        if USED.iter().any(|gpr| key.uses(*gpr)) {
            self.force(Reg::R2, false)?;
            key = self.expr(Reg::R2);
        }
        let at = self.address(&key, 0)?;
        // A value that waits is computed into its own home, on which no other value depends: that
        // changes neither `key` nor `at`.
        self.st.set(Reg::R0, Val::Home);
        for reg in Reg::ALL {
            if RegSet::CALLER_SAVED.has(reg) {
                self.evict(home(reg), Some(reg))?;
            }
        }
        let given = self.key_register(hash.key_size, at)?;
        self.take_base()?;
        self.tagged_slots(hash, given)?;
        let labels = &mut self.out.buf;
        let (absent, other) = (labels.new_label()?, labels.new_label()?);
        let back = labels.new_label()?;
        self.out.buf.jcc(Cc::E, absent)?;
        self.element_of_slot(table)?;
        let elem = Mem::at(Gpr::Rax, 0);
        self.put(enc::rm_r(&inst::CMP_RM_R, Width::W64, elem, given))?;
        self.out.buf.jcc(Cc::Ne, other)?;
        self.leave_mark(hash)?;
        let result = match (table.per_cpu, later) {
            (Some((array, stride, cpu)), _) => {
                self.value_of_cpu(array.base, stride, cpu)?;
                Found::Value
            }
            (None, true) => Found::Element(table.value_at),
            (None, false) => {
                self.add_imm(Width::W64, Gpr::Rax, table.value_at)?;
                Found::Value
            }
        };
        self.out.buf.bind(back);
        self.after_call();
        self.st.base = None;
        if let Found::Element(value_at) = result {
            self.assign(Reg::R0, Expr::plus(Gpr::Rax, value_at))?;
        }
        let longer = Longer {
            other,
            key,
            map: table.map,
            helper: table.helper,
            missing,
            result,
        };
        let cold = Cold {
            entry: absent,
            back,
            what: What::Look(longer),
        };
        Ok(self.cold.push(cold, GFP_KERNEL)?)
    }

    /// The key as 64 bits in a register that stays as it is until it is compared.
    fn key_register(&mut self, size: u32, at: Mem) -> Result<Gpr, Failure> {
        let (size, w) = match size {
            8 => (Size::Dw, Width::W64),
            _ => (Size::W, Width::W32),
        };
        match self.stored(&at, size) {
            Some(reg)
                if !RegSet::CALLER_SAVED.has(reg)
                    && (w == Width::W64 || self.st.bits(reg) <= 32) =>
            {
                return Ok(home(reg));
            }
            Some(reg) => self.put(enc::rm_r(&inst::MOV_RM_R, w, Gpr::R8, home(reg)))?,
            None => self.put(enc::r_rm(&inst::MOV_R_RM, w, Gpr::R8, at))?,
        }
        Ok(Gpr::R8)
    }

    /// Leaves the address of the key's bucket in `rcx`, and in `rax` the top bits of the bytes whose
    /// tags are the key's: none if the zero flag is set.
    fn tagged_slots(&mut self, hash: &HashTarget, key: Gpr) -> Done {
        const W: Width = Width::W64;
        let (rax, rcx, rdx) = (Gpr::Rax, Gpr::Rcx, Gpr::Rdx);
        let constant = |disp| Mem::at(BASE, disp);
        let with = |row, disp| enc::r_rm(row, W, rax, constant(disp));
        let mov = |to, from| enc::rm_r(&inst::MOV_RM_R, W, to, from);
        self.load_const(BASE, hash.constants, false)?;
        self.put(mov(rax, key))?;
        self.put(with(&inst::XOR_R_RM, FIRST))?;
        self.put(enc::rm(&inst::MUL_RM, W, constant(SECOND)))?;
        self.put(enc::rm_r(&inst::XOR_RM_R, W, rax, rdx))?;
        self.put(with(&inst::IMUL_R_RM, THIRD))?;
        self.put(mov(rcx, rax))?;
        self.shift_imm(&inst::SHR_RM_I8, W, rcx, INDEX_SHIFT)?;
        let mask = i32::from_ne_bytes(hash.bucket_mask.to_ne_bytes());
        self.put(match i8::try_from(mask) {
            Ok(mask) => enc::rm_i8(&inst::AND_RM_I8, Width::W32, rcx, mask),
            Err(_) => enc::rm_i32(&inst::AND_RM_I32, Width::W32, rcx, mask),
        })?;
        self.put(enc::r_rm(&inst::ADD_R_RM, W, rcx, constant(BUCKETS)))?;
        self.shift_imm(&inst::SHR_RM_I8, W, rax, TAG_SHIFT)?;
        self.put(enc::rm_i32(&inst::OR_RM_I32, Width::W32, rax, 0x80))?;
        self.put(with(&inst::IMUL_R_RM, ONES))?;
        // A byte is zero now where the tag is right; the difference has its top bit then, and that of
        // a slot in use is set in the tags.
        self.put(enc::r_rm(&inst::MOV_R_RM, W, rdx, Mem::at(rcx, TAGS)))?;
        self.put(enc::rm_r(&inst::XOR_RM_R, W, rax, rdx))?;
        self.put(with(&inst::SUB_R_RM, ONES))?;
        self.put(enc::rm_r(&inst::AND_RM_R, W, rax, rdx))?;
        self.put(with(&inst::AND_R_RM, TOPS))
    }

    /// The address of the element in the first of these slots; its number stays in `rdx`.
    fn element_of_slot(&mut self, table: &Table<'_>) -> Done {
        const W: Width = Width::W64;
        let (rax, rdx) = (Gpr::Rax, Gpr::Rdx);
        self.put(enc::r_rm(&inst::BSF_R_RM, W, rax, rax))?;
        self.shift_imm(&inst::SHR_RM_I8, Width::W32, rax, 3)?;
        let slot = Mem {
            base: Some(Gpr::Rcx),
            index: Index::new(rax).map(|i| (i, Scale::X4)),
            disp: SLOTS,
            gs: false,
        };
        self.put(enc::r_rm(&inst::MOV_R_RM, Width::W32, rax, slot))?;
        if table.per_cpu.is_some() {
            self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rdx, rax))?;
        }
        self.times(rax, table.stride)?;
        self.put(enc::r_rm(&inst::ADD_R_RM, W, rax, Mem::at(BASE, ELEMS)))
    }

    /// Multiplies `gpr` by a positive number.
    fn times(&mut self, gpr: Gpr, n: i32) -> Done {
        match n.count_ones() {
            1 => self.shift_imm(&inst::SHL_RM_I8, Width::W64, gpr, n.trailing_zeros()),
            _ => self.mul_imm(Width::W64, gpr, gpr, n),
        }
    }

    /// Notes in the element at `rax` that its entry was used.
    fn leave_mark(&mut self, hash: &HashTarget) -> Done {
        let Some((at, from, to)) = hash.mark else {
            return Ok(());
        };
        let at = i32::try_from(at).map_err(|_| self.refuse("a mark that far"))?;
        let mark = Mem::at(Gpr::Rax, at);
        let over = self.out.buf.new_label()?;
        self.put(enc::rm_i8(&inst::CMP_RM_I8, Width::W64, mark, from))?;
        self.out.buf.jcc(Cc::Ne, over)?;
        let to = i32::from(to);
        self.put(enc::rm_i32(&inst::MOV_RM_I32, Width::W64, mark, to))?;
        self.out.buf.bind(over);
        Ok(())
    }

    /// The address of this CPU's value of the element whose number `rdx` holds.
    fn value_of_cpu(&mut self, table: u64, stride: i32, cpu: Mem) -> Done {
        let (rax, rdx) = (Gpr::Rax, Gpr::Rdx);
        self.cpu_base(table, cpu)?;
        let scaled = Expr::reg(rdx).shl(stride.trailing_zeros());
        let distance = match scaled {
            Some(e) if stride.count_ones() == 1 => e,
            _ => {
                self.times(rdx, stride)?;
                Expr::reg(rdx)
            }
        };
        let e = Expr::reg(BASE).add(&distance);
        let e = e.ok_or(self.refuse("value of a CPU"))?;
        self.compute(rax, &e, Width::W64, false)
    }

    /// Code behind the subprogram, from where no tag was right: that is all, unless there are entries
    /// beyond the slots. Else, and for `other`, the function looks, and what it says goes `back`.
    pub(super) fn longer_look(&mut self, longer: &Longer, back: Label) -> Done {
        let (rax, rdi, rsi) = (Gpr::Rax, home(Reg::R1), home(Reg::R2));
        self.st.forget();
        let beyond = Mem::at(Gpr::Rcx, BEYOND);
        self.put(enc::rm_i8(&inst::CMP_RM_I8, Width::W32, beyond, 0))?;
        self.out.buf.jcc(Cc::E, longer.missing)?;
        self.out.buf.bind(longer.other);
        self.compute(rsi, &longer.key, Width::W64, false)?;
        self.load_const(rdi, longer.map, false)?;
        self.out.buf.call_absolute(longer.helper)?;
        self.put(enc::rm_r(&inst::TEST_RM_R, Width::W64, rax, rax))?;
        self.out.buf.jcc(Cc::E, longer.missing)?;
        if let Found::Element(value_at) = longer.result {
            self.add_imm(Width::W64, rax, value_at.wrapping_neg())?;
        }
        Ok(self.out.buf.jmp(back)?)
    }
}
