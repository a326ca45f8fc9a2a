// SPDX-License-Identifier: GPL-2.0

//! Special fields: structs by whose names values of maps say that there is a lock, a timer and so on in them.

use super::{Btf, Kind, Type, MAX_DEPTH};
use kernel::prelude::*;

/// What a special field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldKind {
    SpinLock,
    ResSpinLock,
    Timer,
    Workqueue,
    TaskWork,
    ListHead,
    ListNode,
    RbRoot,
    RbNode,
    Refcount,
    /// A pointer to something of the kernel, of whatever sort.
    Kptr,
    /// A pointer to memory of user space.
    Uptr,
}

/// One row: the struct's name, bytes, alignment, and whether a value has one at most.
struct Row {
    kind: FieldKind,
    name: &'static [u8],
    size: u32,
    align: u32,
    unique: bool,
}

const fn row(kind: FieldKind, name: &'static [u8], size: u32, align: u32, unique: bool) -> Row {
    Row {
        kind,
        name,
        size,
        align,
        unique,
    }
}

/// The structs, as <linux/bpf.h> has them.
const ROWS: &[Row] = &[
    row(FieldKind::SpinLock, b"bpf_spin_lock", 4, 4, true),
    row(FieldKind::ResSpinLock, b"bpf_res_spin_lock", 4, 4, true),
    row(FieldKind::Timer, b"bpf_timer", 16, 8, true),
    row(FieldKind::Workqueue, b"bpf_wq", 16, 8, true),
    row(FieldKind::TaskWork, b"bpf_task_work", 8, 8, true),
    row(FieldKind::ListHead, b"bpf_list_head", 16, 8, false),
    row(FieldKind::ListNode, b"bpf_list_node", 24, 8, false),
    row(FieldKind::RbRoot, b"bpf_rb_root", 16, 8, false),
    row(FieldKind::RbNode, b"bpf_rb_node", 32, 8, false),
    row(FieldKind::Refcount, b"bpf_refcount", 4, 4, true),
];

/// Special fields of one value at most.
const MAX_FIELDS: usize = 11;

/// Which kinds a search is for.
#[derive(Clone, Copy)]
struct Mask(u32);

impl Mask {
    const fn of(kinds: &[FieldKind]) -> Mask {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u32;
            i += 1;
        }
        Mask(bits)
    }

    fn has(self, kind: FieldKind) -> bool {
        self.0 & 1u32.wrapping_shl(kind as u32) != 0
    }
}

/// What values of maps can have.
const IN_VALUES: Mask = Mask::of(&[
    FieldKind::SpinLock,
    FieldKind::ResSpinLock,
    FieldKind::Timer,
    FieldKind::Workqueue,
    FieldKind::TaskWork,
    FieldKind::ListHead,
    FieldKind::RbRoot,
    FieldKind::Refcount,
    FieldKind::Kptr,
    FieldKind::Uptr,
]);

/// What objects that programs allocate can have.
const IN_OBJECTS: Mask = Mask::of(&[
    FieldKind::SpinLock,
    FieldKind::ResSpinLock,
    FieldKind::ListHead,
    FieldKind::ListNode,
    FieldKind::RbRoot,
    FieldKind::RbNode,
    FieldKind::Refcount,
    FieldKind::Kptr,
]);

/// Structs by which objects are recognised.
const OBJECT_STRUCTS: &[&[u8]] = &[
    b"bpf_spin_lock",
    b"bpf_list_head",
    b"bpf_list_node",
    b"bpf_rb_root",
    b"bpf_rb_node",
    b"bpf_refcount",
];

/// A special field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub kind: FieldKind,
    /// Its first byte.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// The special fields of a value, in order.
#[derive(Debug, Default)]
pub struct Record {
    fields: KVec<Field>,
}

impl Record {
    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The first byte of the spin lock, if there is one.
    pub fn lock(&self) -> Option<u32> {
        let mut fields = self.fields.iter();
        let lock = fields.find(|field| field.kind == FieldKind::SpinLock)?;
        Some(lock.offset)
    }

    /// Is there such a field?
    pub fn has(&self, kind: FieldKind) -> bool {
        self.fields.iter().any(|field| field.kind == kind)
    }
}

/// A search through one type.
struct Search<'a> {
    btf: &'a Btf,
    mask: Mask,
    /// Kinds that were found and may not be found again.
    seen: u32,
    found: KVec<Field>,
}

/// A struct whose members are being looked at.
#[derive(Clone, Copy)]
struct Level {
    t: Type,
    /// The next member.
    next: u32,
    /// Where in the value it is.
    base: u32,
    /// Fields before it were found outside of it.
    first: usize,
    /// How often it is there.
    count: u32,
}

impl Btf {
    /// The special fields of things of type `t`, a struct or section, with which values of maps can begin
    /// something. `None` when there are none.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a type that is neither, or fields that need others; `E2BIG` for too many;
    /// `EEXIST` when they overlap; `ENOMEM`.
    pub fn value_fields(&self, t: &Type, size: u32) -> Result<Option<Record>> {
        self.fields(t, IN_VALUES, size)
    }

    fn fields(&self, t: &Type, mask: Mask, size: u32) -> Result<Option<Record>> {
        let mut search = Search {
            btf: self,
            mask,
            seen: 0,
            found: KVec::new(),
        };
        match t.kind {
            Kind::Struct => search.members(*t, 0, 1, 1)?,
            Kind::Datasec => {
                for i in 0..t.vlen {
                    let var = self.sec_var(t, i);
                    let own = self.ty(var.ty).ok_or(EINVAL)?;
                    search.one(&own, own.refers(), var.offset, var.size, -1, 0)?;
                }
            }
            _ => return Err(EINVAL),
        }
        let fields = search.found;
        if fields.is_empty() {
            return Ok(None);
        }
        let mut end = 0;
        for field in &fields {
            let next = field.offset.checked_add(field.size).ok_or(EFAULT)?;
            if next > size {
                return Err(EFAULT);
            }
            if field.offset < end {
                return Err(EEXIST);
            }
            end = next;
        }
        let record = Record { fields };
        let lock = record.has(FieldKind::SpinLock);
        let other_lock = record.has(FieldKind::ResSpinLock);
        let root = record.has(FieldKind::ListHead) || record.has(FieldKind::RbRoot);
        let nodes = record.has(FieldKind::ListNode) && record.has(FieldKind::RbNode);
        if lock && other_lock
            || root && !lock && !other_lock
            || nodes && !record.has(FieldKind::Refcount)
        {
            return Err(EINVAL);
        }
        Ok(Some(record))
    }

    /// Structs that programs could allocate have special fields where these can be.
    pub(super) fn check_structs(&self) -> Result {
        let mut special = KVVec::from_elem(false, self.types.len(), GFP_KERNEL)?;
        let mut any = false;
        let mut mark = |id: u32| {
            if let Some(mark) = special.get_mut(id as usize) {
                *mark = true;
                any = true;
            }
        };
        for name in OBJECT_STRUCTS {
            if let Some(t) = self.find(name, Kind::Struct) {
                mark(t.id);
            }
        }
        let kptr = Mask::of(&[FieldKind::Kptr]);
        for id in 1..self.types() {
            let t = self.ty(id).ok_or(EINVAL)?;
            if matches!(t.kind, Kind::Ptr | Kind::Volatile)
                && matches!(self.tagged_pointer(&t, kptr), Ok(Some(_)))
            {
                mark(id);
            }
        }
        if !any {
            return Ok(());
        }
        let special = |id: u32| special.get(id as usize) == Some(&true);
        for id in 1..self.types() {
            let t = self.ty(id).ok_or(EINVAL)?;
            let object =
                t.kind == Kind::Struct && self.members(&t).any(|member| special(member.ty));
            if object && self.fields(&t, IN_OBJECTS, t.size)?.is_none() {
                return Err(EFAULT);
            }
        }
        Ok(())
    }

    /// The kind of a pointer that tags make special.
    fn tagged_pointer(&self, t: &Type, mask: Mask) -> Result<Option<FieldKind>> {
        let mut t = *t;
        if t.kind == Kind::Volatile {
            t = self.ty(t.refers()).ok_or(EINVAL)?;
        }
        if t.kind != Kind::Ptr {
            return Ok(None);
        }
        let mut tags = 0u32;
        let mut end = self.ty(t.refers()).ok_or(EINVAL)?;
        for _ in 0..=MAX_DEPTH {
            if !end.kind.is_modifier() {
                break;
            }
            if end.kind == Kind::TypeTag && !end.kflag {
                let names: [&[u8]; 4] = [b"kptr_untrusted", b"kptr", b"percpu_kptr", b"uptr"];
                for (bit, name) in (0u32..).zip(names) {
                    if self.is_named(end.name, name) {
                        tags |= 1u32.wrapping_shl(bit);
                    }
                }
            }
            end = self.ty(end.refers()).ok_or(EINVAL)?;
        }
        let kind = match tags {
            1 | 2 | 4 => FieldKind::Kptr,
            8 => FieldKind::Uptr,
            0 => return Ok(None),
            _ => return Err(EINVAL),
        };
        if !mask.has(kind) {
            return Ok(None);
        }
        match end.kind {
            Kind::Struct => Ok(Some(kind)),
            _ => Err(EINVAL),
        }
    }

    /// A list's head or a tree's root says by a tag what is in it.
    fn check_root(&self, owner: &Type, index: i32) -> Result {
        const TAG: &[u8] = b"contains:";
        let mut tags = (1..self.types()).filter_map(|id| {
            let t = self.ty(id).filter(|t| t.kind == Kind::DeclTag)?;
            let here = t.refers() == owner.id && self.tag_index(&t) == index;
            let text = self.prefix(t.name, 4096).filter(|_| here)?;
            text.strip_prefix(TAG)
        });
        let (Some(value), None) = (tags.next(), tags.next()) else {
            return Err(EINVAL);
        };
        let colon = value.iter().position(|&c| c == b':').ok_or(EINVAL)?;
        let (name, node) = value.split_at(colon);
        self.find(name, Kind::Struct).ok_or(ENOENT)?;
        match node.len() {
            0 | 1 => Err(EINVAL),
            _ => Ok(()),
        }
    }
}

impl Search<'_> {
    /// The members of `t`, which is `count` times at `base`, and of what they contain. The walk has its
    /// own stack, so how deep structs are nested costs no kernel stack.
    fn members(&mut self, t: Type, base: u32, count: u32, depth: usize) -> Result {
        let mut levels: KVec<Level> = KVec::new();
        let first = self.found.len();
        levels.push(
            Level {
                t,
                next: 0,
                base,
                first,
                count,
            },
            GFP_KERNEL,
        )?;
        while let Some(level) = levels.last_mut() {
            let i = level.next;
            if i == level.t.vlen {
                let done = *level;
                levels.pop();
                self.repeat(done.first, done.count, done.t.size)?;
                continue;
            }
            level.next = i.saturating_add(1);
            let now = *level;
            let member = self.btf.member(&now.t, i);
            let offset = member.bit_offset(&now.t);
            if offset % 8 != 0 {
                return Err(EINVAL);
            }
            let at = now.base.saturating_add(offset.wrapping_shr(3));
            let inner = self.look(&now.t, member.ty, at, offset.wrapping_shr(3), 0, i as i32)?;
            if let Some((t, count)) = inner {
                if levels.len().saturating_add(depth) > MAX_DEPTH {
                    return Err(E2BIG);
                }
                let first = self.found.len();
                levels.push(
                    Level {
                        t,
                        next: 0,
                        base: at,
                        first,
                        count,
                    },
                    GFP_KERNEL,
                )?;
            }
        }
        Ok(())
    }

    /// A variable of a section, or the like.
    fn one(
        &mut self,
        owner: &Type,
        ty: u32,
        at: u32,
        size: u32,
        index: i32,
        depth: usize,
    ) -> Result {
        match self.look(owner, ty, at, at, size, index)? {
            Some((t, count)) => self.members(t, at, count, depth.saturating_add(2)),
            None => Ok(()),
        }
    }

    /// Looks at a thing of type `ty` at byte `at`, which is byte `own` of what it is a part of. A
    /// special field is taken in; a struct that is none is given back, with how often it is there.
    fn look(
        &mut self,
        owner: &Type,
        ty: u32,
        at: u32,
        own: u32,
        expected: u32,
        index: i32,
    ) -> Result<Option<(Type, u32)>> {
        let mut t = self.btf.ty(ty).ok_or(EINVAL)?;
        let mut count = 1u32;
        let mut arrays = 0;
        while t.kind == Kind::Array {
            if arrays == MAX_DEPTH {
                return Err(E2BIG);
            }
            arrays = arrays.saturating_add(1);
            let array = self.btf.array(&t);
            // As bpf(2) counts; sizes are checked against the value's in the end.
            count = count.wrapping_mul(array.count);
            t = self.btf.ty(array.elem).ok_or(EINVAL)?;
        }
        if count == 0 {
            return Ok(None);
        }
        let row = ROWS
            .iter()
            .find(|row| self.mask.has(row.kind) && self.btf.is_named(t.name, row.name));
        let (kind, size, align) = match row {
            Some(row) => {
                if row.unique {
                    let bit = 1u32.wrapping_shl(row.kind as u32);
                    if self.seen & bit != 0 {
                        return Err(E2BIG);
                    }
                    self.seen |= bit;
                }
                (row.kind, row.size, row.align)
            }
            None if t.kind == Kind::Struct => {
                let fits = expected == 0 || expected == t.size.wrapping_mul(count);
                return Ok(fits.then_some((t, count)));
            }
            None => (FieldKind::Kptr, 8, 8),
        };
        if expected != 0 && expected != size.wrapping_mul(count)
            || own.checked_rem(align) != Some(0)
        {
            return Ok(None);
        }
        let kind = match kind {
            FieldKind::Kptr | FieldKind::Uptr => match self.btf.tagged_pointer(&t, self.mask)? {
                Some(kind) => kind,
                None => return Ok(None),
            },
            _ if t.kind != Kind::Struct || t.size != size => return Ok(None),
            FieldKind::ListHead | FieldKind::RbRoot => {
                self.btf.check_root(owner, index)?;
                kind
            }
            kind => kind,
        };
        if self.found.len() >= MAX_FIELDS {
            return Err(E2BIG);
        }
        let first = self.found.len();
        let field = Field {
            kind,
            offset: at,
            size,
        };
        self.found.push(field, GFP_KERNEL)?;
        self.repeat(first, count, size)?;
        Ok(None)
    }

    /// The fields from `first` on are in an element of an array of `count`, each of `each` bytes.
    fn repeat(&mut self, first: usize, count: u32, each: u32) -> Result {
        let n = self.found.len().saturating_sub(first);
        if n == 0 || count <= 1 {
            return Ok(());
        }
        let mut more: KVec<Field> = KVec::new();
        for field in self.found.get(first..).unwrap_or(&[]) {
            match field.kind {
                FieldKind::Kptr | FieldKind::Uptr | FieldKind::ListHead | FieldKind::RbRoot => {}
                _ => return Err(EINVAL),
            }
            more.push(*field, GFP_KERNEL)?;
        }
        let all = n.checked_mul(count as usize).ok_or(E2BIG)?;
        if first.saturating_add(all) > MAX_FIELDS {
            return Err(E2BIG);
        }
        for i in 1..count {
            let by = each.wrapping_mul(i);
            for field in &more {
                let mut field = *field;
                field.offset = field.offset.wrapping_add(by);
                self.found.push(field, GFP_KERNEL)?;
            }
        }
        Ok(())
    }
}
