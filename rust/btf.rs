// SPDX-License-Identifier: GPL-2.0

//! Type information that user space loads (BTF): parsed, checked and kept.
//!
//! A blob is a header, a section of types and a section of strings. A type is twelve bytes and what
//! its kind adds; it has the number of its place, from 1 on, and 0 is `void`. Nothing here is
//! recursive: types refer to each other as the blob's author likes. The rules, their order and the words of
//! the log are bpf(2)'s (Documentation/bpf/btf.rst describes the format).

mod fields;
mod header;
mod member;
mod meta;
mod print;
mod proto;
mod resolve;
mod vars;

pub use fields::{Field, FieldKind, Record};

use crate::verifier::log::Log;
use core::ops::Range;
use kernel::prelude::*;

/// Bytes of a blob at most.
pub const MAX_SIZE: u32 = 16 << 20;
/// Greatest number of a type.
const MAX_TYPE: u32 = 0xf_ffff;
/// Greatest offset of a string.
const MAX_NAME_OFFSET: u32 = 0xff_ffff;
/// References are followed so far at most.
const MAX_DEPTH: usize = 32;
/// Bytes of the part that all types have.
const TYPE_SIZE: usize = 12;

/// What a type is (`BTF_KIND_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Void,
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

/// The kinds in the order of their numbers.
const KINDS: [(Kind, &str); 20] = [
    (Kind::Void, "UNKNOWN"),
    (Kind::Int, "INT"),
    (Kind::Ptr, "PTR"),
    (Kind::Array, "ARRAY"),
    (Kind::Struct, "STRUCT"),
    (Kind::Union, "UNION"),
    (Kind::Enum, "ENUM"),
    (Kind::Fwd, "FWD"),
    (Kind::Typedef, "TYPEDEF"),
    (Kind::Volatile, "VOLATILE"),
    (Kind::Const, "CONST"),
    (Kind::Restrict, "RESTRICT"),
    (Kind::Func, "FUNC"),
    (Kind::FuncProto, "FUNC_PROTO"),
    (Kind::Var, "VAR"),
    (Kind::Datasec, "DATASEC"),
    (Kind::Float, "FLOAT"),
    (Kind::DeclTag, "DECL_TAG"),
    (Kind::TypeTag, "TYPE_TAG"),
    (Kind::Enum64, "ENUM64"),
];

const _: () = {
    let mut i = 0;
    while i < KINDS.len() {
        assert!(KINDS[i].0 as usize == i);
        i += 1;
    }
};

impl Kind {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        KINDS.get(self as usize).map_or("", |(_, name)| name)
    }

    /// Another name or a qualifier: its size is that of what it refers to.
    pub fn is_modifier(self) -> bool {
        matches!(
            self,
            Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag
        )
    }

    /// A struct or union.
    pub fn is_struct(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }

    /// An enumeration.
    pub fn is_enum(self) -> bool {
        matches!(self, Self::Enum | Self::Enum64)
    }

    /// Things of it have no size.
    fn sizeless(self) -> bool {
        matches!(
            self,
            Self::Void | Self::Fwd | Self::Func | Self::FuncProto | Self::DeclTag
        )
    }

    /// It says its size itself.
    fn says_size(self) -> bool {
        matches!(
            self,
            Self::Int
                | Self::Struct
                | Self::Union
                | Self::Enum
                | Self::Datasec
                | Self::Float
                | Self::Enum64
        )
    }

    /// It may refer to types, and types may not refer to it.
    fn only_refers(self) -> bool {
        matches!(self, Self::Var | Self::DeclTag | Self::Datasec)
    }

    /// What it refers to is followed.
    fn needs_resolve(self) -> bool {
        self.is_modifier()
            || self.is_struct()
            || self.only_refers()
            || matches!(self, Self::Ptr | Self::Array | Self::Func)
    }
}

/// One type: the part that all have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// Number.
    pub id: u32,
    /// Offset of its name.
    pub name: u32,
    /// What it is.
    pub kind: Kind,
    /// Members, parameters, ... or the linkage of a function.
    pub vlen: u32,
    /// The bit that some kinds use.
    pub kflag: bool,
    /// Its size or the type it refers to, by kind.
    pub size: u32,
    /// Where in the blob its kind's part begins.
    at: usize,
}

impl Type {
    const VOID: Type = Type {
        id: 0,
        name: 0,
        kind: Kind::Void,
        vlen: 0,
        kflag: false,
        size: 0,
        at: 0,
    };

    /// The type that it refers to, for kinds that do.
    pub fn refers(&self) -> u32 {
        self.size
    }
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset of its name.
    pub name: u32,
    /// Number of its type.
    pub ty: u32,
    /// Where it is; [`Member::bit_offset`] says how to read that.
    offset: u32,
}

impl Member {
    /// Its first bit.
    pub fn bit_offset(&self, of: &Type) -> u32 {
        match of.kflag {
            true => self.offset & 0xff_ffff,
            false => self.offset,
        }
    }

    /// Bits that it has as a bit field; 0 when it is none or that is not said here.
    fn bitfield_size(&self) -> u32 {
        self.offset >> 24
    }
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Offset of its name.
    pub name: u32,
    /// Number of its type, 0 for `...`.
    pub ty: u32,
}

/// A variable in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SecVar {
    ty: u32,
    offset: u32,
    size: u32,
}

/// The part that an array adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Number of the elements' type.
    pub elem: u32,
    index: u32,
    /// Elements.
    pub count: u32,
}

/// The part that an integer adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    data: u32,
}

impl Int {
    const SIGNED: u32 = 1;
    const CHAR: u32 = 2;
    const BOOL: u32 = 4;

    fn encoding(self) -> u32 {
        (self.data >> 24) & 0xf
    }

    fn offset(self) -> u32 {
        (self.data >> 16) & 0xff
    }

    fn bits(self) -> u32 {
        self.data & 0xff
    }

    /// Bytes of its value.
    pub fn bytes(self) -> u32 {
        meta::bytes_for(self.bits())
    }

    /// As many whole bytes as a machine's integer has, from the first bit on.
    pub fn is_regular(self) -> bool {
        let bytes = self.bits().wrapping_shr(3);
        self.bits() % 8 == 0
            && self.offset() == 0
            && (1..=16).contains(&bytes)
            && bytes.is_power_of_two()
    }
}

/// Type information that is well-formed.
///
/// # Invariants
///
/// Made by [`Btf::parse`] only: every number of a type and every offset of a name that a type holds
/// is one that there is; chains of modifiers end after at most 32; structs, unions and arrays do not
/// contain themselves.
#[derive(Debug)]
pub struct Btf {
    data: KVVec<u8>,
    strings: Range<usize>,
    /// Where each type begins in `data`; the first is `void`, which is not there.
    types: KVVec<u32>,
    /// The type that each leads to, where that is of use.
    resolved_ids: KVVec<u32>,
    /// Bytes of each array.
    resolved_sizes: KVVec<u32>,
}

/// Letters, digits after the first, `_` and `.`; the kernel's idea of letters is Latin-1.
fn identifier_char(c: u8, first: bool) -> bool {
    match c {
        b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' => true,
        0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0xff => true,
        b'0'..=b'9' => !first,
        _ => false,
    }
}

/// Longest name of a symbol.
const NAME_LEN: usize = 512;

impl Btf {
    /// Checks a blob; what is wrong with it goes to `log`.
    ///
    /// # Errors
    ///
    /// `EINVAL`; `ENOTSUPP` for another version, flags, or encodings of integers; `E2BIG` for unknown fields
    /// of the header in use, references too deep, or more special fields than there may be;
    /// `EEXIST` for a type that contains itself or fields that overlap; `ELOOP` for long chains of
    /// modifiers; `ENOMEM`.
    pub fn parse(data: KVVec<u8>, log: &mut Log) -> Result<Btf> {
        let header = header::Header::parse(&data, log)?;
        let btf = Btf {
            data,
            strings: header.strings.clone(),
            types: KVVec::new(),
            resolved_ids: KVVec::new(),
            resolved_sizes: KVVec::new(),
        };
        let mut checker = Checker {
            btf,
            log,
            id: 1,
            meta: true,
            state: KVVec::new(),
            stack: [Vertex::default(); MAX_DEPTH],
            top: 0,
            mode: Mode::Undecided,
        };
        checker.check_types(&header)?;
        checker.check_chains()?;
        let btf = checker.btf;
        btf.check_structs()?;
        Ok(btf)
    }

    /// The blob.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// How many types there are, `void` included.
    pub fn types(&self) -> u32 {
        self.types.len() as u32
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.data
            .len()
            .saturating_add(self.types.len().saturating_mul(12))
    }

    fn word(&self, at: usize) -> u32 {
        word(&self.data, at)
    }

    /// Word `i` of what the type's kind adds.
    fn part(&self, t: &Type, i: usize) -> u32 {
        self.word(t.at.saturating_add(i.saturating_mul(4)))
    }

    /// The type that begins at `at`, and its kind's number if there is no such kind.
    fn read_type(&self, id: u32, at: usize) -> Result<Type, u32> {
        let info = self.word(at.saturating_add(4));
        let number = (info >> 24) & 0x7f;
        let kind = match KINDS.get(number as usize) {
            Some((Kind::Void, _)) | None => return Err(number),
            Some(&(kind, _)) => kind,
        };
        Ok(Type {
            id,
            name: self.word(at),
            kind,
            vlen: info & 0xff_ffff,
            kflag: info >> 31 != 0,
            size: self.word(at.saturating_add(8)),
            at: at.saturating_add(TYPE_SIZE),
        })
    }

    /// The type of that number.
    pub fn ty(&self, id: u32) -> Option<Type> {
        let at = *self.types.get(id as usize)?;
        match id {
            0 => Some(Type::VOID),
            _ => self.read_type(id, at as usize).ok(),
        }
    }

    /// The string at `offset`, without its end.
    pub fn string(&self, offset: u32) -> Option<&[u8]> {
        self.prefix(offset, usize::MAX)
    }

    /// The first bytes of the string at `offset`, `max` at most. Names can overlap and be long, so
    /// whoever looks at many says how much of each is of interest.
    pub fn prefix(&self, offset: u32, max: usize) -> Option<&[u8]> {
        let strings = self.data.get(self.strings.clone())?;
        let text = strings.get(offset as usize..).filter(|s| !s.is_empty())?;
        let text = text.get(..max).unwrap_or(text);
        let len = text.iter().position(|&c| c == 0).unwrap_or(text.len());
        text.get(..len)
    }

    /// The string at `offset` is `name`.
    fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        self.prefix(offset, name.len().saturating_add(1)) == Some(name)
    }

    /// There is a string at `offset`.
    pub fn has_string(&self, offset: u32) -> bool {
        (offset as usize) < self.strings.len()
    }

    /// There is a string at `offset`, and it is not empty.
    fn has_text(&self, offset: u32) -> bool {
        self.prefix(offset, 1).is_some_and(|text| !text.is_empty())
    }

    /// The name at `offset`, as it is printed.
    fn shown(&self, offset: u32) -> &[u8] {
        match offset {
            0 => b"(anon)",
            _ => self
                .prefix(offset, Log::MAX_PIECE)
                .unwrap_or(b"(invalid-name-offset)"),
        }
    }

    fn name_offset_valid(&self, offset: u32) -> bool {
        offset <= MAX_NAME_OFFSET && (offset as usize) < self.strings.len()
    }

    fn is_identifier(&self, offset: u32) -> bool {
        let Some(name) = self.prefix(offset, NAME_LEN + 1) else {
            return false;
        };
        !name.is_empty()
            && name.len() <= NAME_LEN
            && name
                .iter()
                .enumerate()
                .all(|(i, &c)| identifier_char(c, i == 0))
    }

    /// Names of sections: any character that can be printed.
    fn is_section_name(&self, offset: u32) -> bool {
        self.prefix(offset, NAME_LEN + 1).is_some_and(|name| {
            !name.is_empty()
                && name.len() <= NAME_LEN
                && name.iter().all(|c| matches!(c, 0x20..=0x7e | 0xa0..=0xff))
        })
    }

    /// The members of a struct or union.
    pub fn members<'a>(&'a self, t: &'a Type) -> impl Iterator<Item = Member> + 'a {
        (0..t.vlen).map(|i| self.member(t, i))
    }

    fn member(&self, t: &Type, i: u32) -> Member {
        let at = (i as usize).saturating_mul(3);
        Member {
            name: self.part(t, at),
            ty: self.part(t, at.saturating_add(1)),
            offset: self.part(t, at.saturating_add(2)),
        }
    }

    /// Parameter `i` of a prototype.
    pub fn param(&self, t: &Type, i: u32) -> Option<Param> {
        let at = (i as usize).saturating_mul(2);
        (i < t.vlen).then(|| Param {
            name: self.part(t, at),
            ty: self.part(t, at.saturating_add(1)),
        })
    }

    fn sec_var(&self, t: &Type, i: u32) -> SecVar {
        let at = (i as usize).saturating_mul(3);
        SecVar {
            ty: self.part(t, at),
            offset: self.part(t, at.saturating_add(1)),
            size: self.part(t, at.saturating_add(2)),
        }
    }

    /// What an array adds.
    pub fn array(&self, t: &Type) -> Array {
        Array {
            elem: self.part(t, 0),
            index: self.part(t, 1),
            count: self.part(t, 2),
        }
    }

    /// What an integer adds.
    pub fn int(&self, t: &Type) -> Int {
        Int {
            data: self.part(t, 0),
        }
    }

    /// Which parameter or member a tag is about, -1 for all of it.
    pub fn tag_index(&self, t: &Type) -> i32 {
        self.part(t, 0) as i32
    }

    /// The type of which things with number `id` have the size, and that size in bytes. `None` when they have none.
    pub fn sized(&self, id: u32) -> Option<(Type, u32)> {
        let own = |t: Type| {
            let size = match t.kind {
                kind if kind.says_size() => t.size,
                Kind::Array => *self.resolved_sizes.get(t.id as usize)?,
                Kind::Ptr => 8,
                _ => return None,
            };
            Some((t, size))
        };
        let t = self.ty(id)?;
        if t.kind.is_modifier() || t.kind == Kind::Var {
            return own(self.resolved(id)?);
        }
        own(t)
    }

    /// What was found when `id` was resolved.
    fn resolved(&self, id: u32) -> Option<Type> {
        self.ty(*self.resolved_ids.get(id as usize)?)
    }

    /// The type without typedefs and qualifiers.
    pub fn skip_modifiers(&self, id: u32) -> Option<Type> {
        let mut t = self.ty(id)?;
        // INVARIANT: chains end after 32.
        for _ in 0..=MAX_DEPTH {
            if !t.kind.is_modifier() {
                return Some(t);
            }
            t = self.ty(t.refers())?;
        }
        None
    }

    /// The first type of that kind and name.
    pub fn find(&self, name: &[u8], kind: Kind) -> Option<Type> {
        (1..self.types())
            .filter_map(|id| self.ty(id))
            .find(|t| t.kind == kind && self.is_named(t.name, name))
    }
}

/// The little-endian word at `at`, 0 behind the end.
fn word(data: &[u8], at: usize) -> u32 {
    match data.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(&bytes) => u32::from_le_bytes(bytes),
        None => 0,
    }
}

/// What decides which types need not be followed before the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Undecided,
    /// Behind a pointer: it may point to what is not complete.
    Pointer,
    /// In something that contains: pointers end it.
    Container,
}

/// A type whose references are being followed.
#[derive(Clone, Copy, Debug, Default)]
struct Vertex {
    id: u32,
    /// Members before this one are done.
    next: u32,
}

/// How far a type is.
const NEW: u8 = 0;
const VISITED: u8 = 1;
const RESOLVED: u8 = 2;

/// The check of one blob.
struct Checker<'a> {
    btf: Btf,
    log: &'a mut Log,
    /// Which type the log is about.
    id: u32,
    /// The types are looked at one by one, and not yet at what they refer to.
    meta: bool,
    /// How far each type is.
    state: KVVec<u8>,
    stack: [Vertex; MAX_DEPTH],
    top: usize,
    mode: Mode,
}

impl Checker<'_> {
    /// Says why a type is refused.
    fn refuse<T>(&mut self, t: &Type, why: core::fmt::Arguments<'_>) -> Result<T> {
        self.log_type(t, true, Some(why));
        Err(EINVAL)
    }
}

#[cfg(test)]
mod tests;
