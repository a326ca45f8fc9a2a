// SPDX-License-Identifier: GPL-2.0

//! Lookups without a call: which they are, and those in arrays.

use super::*;
use crate::isa::Cond;
use crate::jit::x64::reg::Index;
use crate::jit::{ArrayTarget, MapTarget};

/// `bpf_map_lookup_elem`
pub(super) const MAP_LOOKUP_ELEM: i32 = 1;

/// Where an array's elements are.
#[derive(Clone, Copy)]
enum Elements {
    /// From this address on.
    At(u64),
    /// From the address on that this table has for the CPU whose number is at this place.
    PerCpu { table: u64, cpu: Mem },
}

impl Lower<'_> {
    /// Lowers a lookup if all paths pass the same array or hash table.
    pub(super) fn lookup(&mut self) -> Result<bool, Failure> {
        // The number of elements and their size are chosen by who made the map.
        if self.blinds() {
            return Ok(false);
        }
        let maps = self.target.maps;
        let fact = self.fact();
        let map = fact.map.and_then(|m| maps.get(usize::from(m)));
        match fact
            .map
            .zip(map)
            .and_then(|(i, m)| Some((i, m, m.hash.as_ref()?)))
        {
            Some((i, map, hash)) => self.hash_lookup(i, map, hash),
            None => self.array_lookup(fact, map),
        }
    }

    fn array_lookup(&mut self, fact: Fact, map: Option<&MapTarget>) -> Result<bool, Failure> {
        let cpu = self.target.variables.cpu_number;
        let cpu = cpu.and_then(|place| super::call::fixed(place, true));
        let (array, elements) = match (map.map(|m| (m.array, m.per_cpu)), cpu) {
            (Some((Some(array), _)), _) => (array, Elements::At(array.base)),
            (Some((None, Some(array))), Some(cpu)) => {
                let table = array.base;
                (array, Elements::PerCpu { table, cpu })
            }
            _ => return Ok(false),
        };
        let (Ok(stride), Ok(max)) = (
            i32::try_from(array.stride),
            i32::try_from(array.max_entries),
        ) else {
            return Ok(false);
        };
        if !self.is_live(Reg::R0) {
            return Ok(true);
        }
        if let Some(key) = fact.key.or_else(|| self.key_just_stored()) {
            return self.constant_key(key, &array, elements);
        }
        let null_check = self.null_check();
        match null_check {
            Some((slot, Cond::Eq, target)) => {
                self.fuse(slot);
                let live = self.flow.slot(target).live_in;
                let missing = if live.has(Reg::R0) {
                    self.null_stub(Label::Slot(target))?
                } else {
                    Label::Slot(target)
                };
                self.index(live, max, missing)?;
                self.element(&array, elements, stride)
            }
            Some((slot, _, target)) => {
                self.fuse(slot);
                let missing = self.out.buf.new_label()?;
                // Nothing but R0 may change between the two ways out.
                let both = self.live;
                self.index(both, max, missing)?;
                self.element(&array, elements, stride)?;
                self.force(Reg::R0, true)?;
                self.out.buf.jmp(Label::Slot(target))?;
                self.out.buf.bind(missing);
                self.st.base = None;
                self.st.flags = None;
                self.st.set(Reg::R0, Val::Lazy(Expr::constant(0)));
                Ok(())
            }
            None => {
                let back = self.out.buf.new_label()?;
                let missing = self.null_stub(back)?;
                let live = self.live;
                self.index(live, max, missing)?;
                self.element(&array, elements, stride)?;
                self.force(Reg::R0, true)?;
                self.out.buf.bind(back);
                self.st.base = None;
                self.st.flags = None;
                Ok(())
            }
        }?;
        Ok(true)
    }

    /// The key that `R2` points to, if it is the number that the last store put there.
    fn key_just_stored(&self) -> Option<u32> {
        let (at, size, number) = self.st.stored_number?;
        let mem = self.frame.shortest(self.expr(Reg::R2).mem()?);
        (at == mem && matches!(size, Size::W | Size::Dw)).then(|| low32(number))
    }

    /// The jump behind the current instruction, if it compares `R0` with NULL.
    pub(super) fn null_check(&self) -> Option<(u32, Cond, u32)> {
        self.ahead(1).and_then(|(slot, insn)| match insn {
            Insn::Jmp {
                cond: cond @ (Cond::Eq | Cond::Ne),
                width: Width::W64,
                dst: Reg::R0,
                src: Src::Imm(0),
                target,
            } => Some((slot, cond, target)),
            _ => None,
        })
    }

    /// The element at `key`, which all paths pass.
    fn constant_key(
        &mut self,
        key: u32,
        array: &ArrayTarget,
        elements: Elements,
    ) -> Result<bool, Failure> {
        let offset = u64::from(key).wrapping_mul(u64::from(array.stride));
        let value = match elements {
            _ if key >= array.max_entries => Expr::constant(0),
            Elements::At(base) => Expr::constant(base.wrapping_add(offset)),
            Elements::PerCpu { table, cpu } => {
                let Ok(offset) = i32::try_from(offset) else {
                    return Ok(false);
                };
                self.cpu_base(table, cpu)?;
                Expr::plus(BASE, offset)
            }
        };
        self.assign(Reg::R0, value)?;
        if value.as_const().is_some() {
            // A comparison of numbers is decided anyway.
            return Ok(true);
        }
        if let Some((slot, cond, target)) = self.null_check() {
            self.fuse(slot);
            if cond == Cond::Ne {
                self.goto(target)?;
            }
        }
        Ok(true)
    }

    /// Loads the address of this CPU's element 0 into the base register.
    pub(super) fn cpu_base(&mut self, table: u64, cpu: Mem) -> Done {
        self.take_base()?;
        self.put(enc::r_rm(&inst::MOV_R_RM, Width::W32, BASE, cpu))?;
        let entry = match imm32(table) {
            Some(disp) => Mem {
                base: None,
                index: Index::new(BASE).map(|i| (i, Scale::X8)),
                disp,
                gs: false,
            },
            None => {
                self.load_const(TMP1, table, true)?;
                Mem {
                    base: Some(TMP1),
                    index: Index::new(BASE).map(|i| (i, Scale::X8)),
                    disp: 0,
                    gs: false,
                }
            }
        };
        self.put(enc::r_rm(&inst::MOV_R_RM, Width::W64, BASE, entry))?;
        self.wrote(BASE);
        Ok(())
    }

    /// Code behind the subprogram that sets `R0` to NULL and goes to `back`.
    pub(super) fn null_stub(&mut self, back: Label) -> Result<Label, Failure> {
        let entry = self.out.buf.new_label()?;
        let what = What::Null;
        self.cold.push(Cold { entry, back, what }, GFP_KERNEL)?;
        Ok(entry)
    }

    /// Loads the index that `R2` points to into the home of `R0`, and goes to `missing` when it is
    /// out of range. `live` is what is needed there.
    fn index(&mut self, live: RegSet, max: i32, missing: Label) -> Done {
        self.sync(live.without(RegSet::one(Reg::R0)), false)?;
        let rax = home(Reg::R0);
        let e = self.source_for(Src::Reg(Reg::R2), Reg::R0)?;
        let mem = self.address(&e, 0)?;
        self.claim(Reg::R0)?;
        match self.stored(&mem, Size::W) {
            Some(reg) => self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rax, home(reg)))?,
            None => self.put(enc::r_rm(&inst::MOV_R_RM, Width::W32, rax, mem))?,
        }
        self.wrote_home(Reg::R0, 32);
        self.compare_imm(Width::W32, rax, max)?;
        self.out.buf.jcc(Cc::Ae, missing)?;
        Ok(())
    }

    /// The address of the element whose index the home of `R0` holds.
    fn element(&mut self, array: &ArrayTarget, elements: Elements, stride: i32) -> Done {
        let rax = home(Reg::R0);
        let scaled = match stride {
            1 => Expr::reg(rax),
            2 | 4 | 8 => {
                let count = array.stride.trailing_zeros();
                let e = Expr::reg(rax).shl(count);
                e.ok_or(self.refuse("array element"))?
            }
            _ if array.stride.is_power_of_two() => {
                let count = array.stride.trailing_zeros();
                self.shift_imm(&inst::SHL_RM_I8, Width::W64, rax, count)?;
                Expr::reg(rax)
            }
            _ => {
                self.mul_imm(Width::W64, rax, rax, stride)?;
                Expr::reg(rax)
            }
        };
        self.wrote_home(Reg::R0, 64);
        let base = match elements {
            Elements::At(base) => match self.base_distance(base) {
                Some(disp) => Expr::plus(BASE, disp),
                None => {
                    self.take_base()?;
                    self.put(enc::o_i64(&inst::MOV_R_I64, BASE, base))?;
                    self.st.base = Some(base);
                    Expr::reg(BASE)
                }
            },
            Elements::PerCpu { table, cpu } => {
                self.cpu_base(table, cpu)?;
                Expr::reg(BASE)
            }
        };
        let e = base.add(&scaled).ok_or(self.refuse("array element"))?;
        self.assign(Reg::R0, e)
    }
}
