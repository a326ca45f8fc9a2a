// SPDX-License-Identifier: GPL-2.0

//! Lookups in hash tables: the first look without a call.
//!
//! What is done is said at [`HashTarget`]. Why the memory that is read is there, whatever others write
//! meanwhile: the bucket is one of the table's because its distance is masked; its slots hold numbers
//! of elements at any time, also while they are free; and the table lives as long as the program.

use super::lookup::MAP_LOOKUP_ELEM;
use super::*;
use crate::isa::Cond;
use crate::jit::x64::buffer::Piece;
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

/// What a first look's code is made of, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tags,
    Element,
    Value,
}

/// What the bytes of a part depend on: the used map and where the key is.
type LookKey = (u16, Gpr, Part);

/// Where parts of first looks are that were emitted before: the last few.
#[derive(Debug, Default)]
pub(in crate::jit) struct Looks([Option<(LookKey, Piece)>; 16]);

impl Looks {
    fn place(key: LookKey) -> usize {
        let (map, gpr, part) = key;
        let map = usize::from(map).wrapping_mul(3);
        map.wrapping_add(gpr as usize).wrapping_add(part as usize) & 15
    }

    fn find(&self, key: LookKey) -> Option<Piece> {
        let (found, piece) = (*self.0.get(Self::place(key))?)?;
        (found == key).then_some(piece)
    }

    fn note(&mut self, key: LookKey, piece: Option<Piece>) {
        if let Some(place) = self.0.get_mut(Self::place(key)) {
            *place = piece.map(|piece| (key, piece));
        }
    }
}

/// The numbers of a table, checked.
struct Table<'a> {
    /// The used map.
    index: u16,
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
        index: u16,
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
            index,
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
        self.evict_caller_saved()?;
        let given = self.key_register(hash.key_size, at)?;
        self.take_base()?;
        let part = |part| (table.index, given, part);
        self.repeated(part(Part::Tags), |l| l.tagged_slots(hash, given))?;
        let labels = &mut self.out.buf;
        let (absent, other) = (labels.new_label()?, labels.new_label()?);
        let back = labels.new_label()?;
        self.out.buf.jcc(Cc::E, absent)?;
        self.repeated(part(Part::Element), |l| l.element_of_slot(table, given))?;
        self.out.buf.jcc(Cc::Ne, other)?;
        self.leave_mark(hash)?;
        let result = match (table.per_cpu, later) {
            (Some((array, stride, cpu)), _) => {
                self.repeated(part(Part::Value), |l| {
                    l.value_of_cpu(array.base, stride, cpu)
                })?;
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

    /// Emits what `write` does, or a copy of it. Its bytes depend on `key` only, and while a first look
    /// is emitted nothing is known of the flags and the base register.
    fn repeated(&mut self, key: LookKey, write: impl FnOnce(&mut Self) -> Done) -> Done {
        match self.out.looks.find(key) {
            Some(piece) => self.out.buf.again(piece)?,
            None => {
                let from = self.out.buf.here();
                write(self)?;
                let piece = self.out.buf.since(from);
                self.out.looks.note(key, piece);
            }
        }
        (self.st.flags, self.st.base) = (None, None);
        Ok(())
    }

    /// The address of the element in the first of these slots, whose key is then compared; its number
    /// stays in `rdx`.
    fn element_of_slot(&mut self, table: &Table<'_>, key: Gpr) -> Done {
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
        self.put(enc::r_rm(&inst::ADD_R_RM, W, rax, Mem::at(BASE, ELEMS)))?;
        self.put(enc::rm_r(&inst::CMP_RM_R, W, Mem::at(rax, 0), key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::code::Subprog;
    use crate::jit::{emit, Features, Image, Mitigations, TailCalls, Variables};

    /// Where the key that is stored comes from: a number, or a register that is kept.
    const KEYS: [Option<Reg>; 3] = [None, Some(Reg::R6), Some(Reg::R9)];

    /// Looks four times for a key of each kind, with map `map(n)` the `n`th time.
    fn code(map: impl Fn(u32) -> u32) -> Code {
        let mut code = Code::default();
        let mut put = |insn: Insn, map: Option<u32>| {
            let fact = Fact {
                seen: true,
                map: map.map(|m| u16::try_from(m).unwrap()),
                ..Fact::default()
            };
            code.insns.push(insn, GFP_KERNEL).unwrap();
            code.facts.push(fact, GFP_KERNEL).unwrap();
        };
        let (mut n, mut at) = (0, 0);
        for _ in 0..4 {
            for key in KEYS {
                let size = Size::Dw;
                let (dst, off) = (Reg::R10, -8);
                let src = key.map_or(Src::Imm(7), Src::Reg);
                let (width, op) = (Width::W64, crate::isa::AluOp::Add);
                let cond = Cond::Eq;
                let insns = [
                    Insn::Store {
                        size,
                        dst,
                        off,
                        src,
                    },
                    Insn::Mov {
                        width,
                        dst: Reg::R2,
                        src: Src::Reg(Reg::R10),
                    },
                    Insn::Alu {
                        op,
                        width,
                        dst: Reg::R2,
                        src: Src::Imm(-8),
                    },
                    Insn::LdImm64 {
                        dst: Reg::R1,
                        imm: Imm64::Map(map(n)),
                    },
                    Insn::Hole,
                    Insn::Call {
                        helper: MAP_LOOKUP_ELEM,
                    },
                    Insn::Jmp {
                        cond,
                        width,
                        dst: Reg::R0,
                        src: Src::Imm(0),
                        target: at + 8,
                    },
                    Insn::Load {
                        size,
                        sx: false,
                        dst: Reg::R8,
                        src: Reg::R0,
                        off: 0,
                    },
                    Insn::Store {
                        size,
                        dst,
                        off: -16,
                        src: Src::Reg(Reg::R8),
                    },
                ];
                at += 9;
                for insn in insns {
                    let call = matches!(insn, Insn::Call { .. });
                    put(insn, call.then(|| map(n)));
                }
                n += 1;
            }
        }
        put(
            Insn::Mov {
                width: Width::W64,
                dst: Reg::R0,
                src: Src::Imm(0),
            },
            None,
        );
        put(Insn::Exit, None);
        let sub = Subprog {
            start: 0,
            end: at + 2,
            stack: 16,
            tail_call: false,
            callback: false,
        };
        code.subprogs.push(sub, GFP_KERNEL).unwrap();
        code
    }

    fn image(map: impl Fn(u32) -> u32, hash: HashTarget) -> Image {
        let one = MapTarget {
            addr: 0xffff_8880_0123_4560,
            hash: Some(hash),
            ..MapTarget::default()
        };
        let target = Target {
            features: Features::default(),
            mitigations: Mitigations::default(),
            align_stack: false,
            helper: &|_| Some(0xffff_ffff_c000_0000),
            packet: None,
            blind: None,
            variables: Variables {
                cpu_number: Some(0xffff_ffff_8300_0000),
                ..Variables::default()
            },
            maps: &[one; 12],
            tail: TailCalls::default(),
        };
        emit(&code(map), &target).unwrap()
    }

    #[test]
    fn code_that_is_copied_is_what_would_be_written() {
        let plain = HashTarget {
            constants: 0xffff_8880_0123_4568,
            bucket_mask: 0xfc0,
            key_size: 8,
            stride: 24,
            value_at: 8,
            mark: None,
            per_cpu: None,
        };
        let per_cpu = ArrayTarget {
            base: 0xffff_8880_0765_4320,
            stride: 24,
            max_entries: 16,
        };
        let (mark, per_cpu) = (Some((16, 0, 1)), Some(per_cpu));
        let tables = [
            plain,
            HashTarget {
                key_size: 4,
                ..plain
            },
            HashTarget { mark, ..plain },
            HashTarget { per_cpu, ..plain },
        ];
        for hash in tables {
            // Of twelve maps each site has its own, so nothing is copied.
            let direct = image(|n| n, hash);
            for maps in [1, 2, 3] {
                let copied = image(|n| n % maps, hash);
                assert_eq!(direct.bytes(), copied.bytes(), "{maps} maps, {hash:?}");
                assert_eq!(direct.relocs(), copied.relocs());
            }
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let mut buf = Buffer::new(0, 0).unwrap();
        let from = buf.here();
        buf.emit(&enc::endbr64()).unwrap();
        let piece = buf.since(from);
        assert!(piece.is_some());
        let mut looks = Looks::default();
        let key = (3, Gpr::R8, Part::Tags);
        looks.note(key, piece);
        assert!(looks.find(key).is_some());
        for other in [
            (4, Gpr::R8, Part::Tags),
            (3, Gpr::Rbx, Part::Tags),
            (3, Gpr::R8, Part::Element),
            // In the same place.
            (19, Gpr::R8, Part::Tags),
        ] {
            assert!(looks.find(other).is_none());
        }
        // Code with a jump is not copied.
        buf.jmp(Label::Slot(0)).unwrap();
        assert!(buf.since(from).is_none());
    }
}
