// SPDX-License-Identifier: GPL-2.0

//! Type information in the making.

/// A blob in the making.
#[derive(Clone)]
pub struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

/// Kinds (`BTF_KIND_*`).
#[allow(missing_docs)]
pub mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The bit of a type that some kinds use.
pub const KFLAG: u32 = 1 << 31;

impl Default for Blob {
    fn default() -> Blob {
        Blob::new()
    }
}

impl Blob {
    /// Without types.
    pub fn new() -> Blob {
        Blob {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    /// The offset of a name, 0 for none.
    pub fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// A type of raw words: name, kind, number of parts and flag, size or type, and what the kind adds.
    pub fn raw(&mut self, name: u32, kind: u32, vlen: u32, size: u32, more: &[u32]) -> u32 {
        let info = (kind << 24) | vlen;
        for word in [name, info, size].iter().chain(more) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    /// The same with a name.
    pub fn add(&mut self, name: &str, kind: u32, vlen: u32, size: u32, more: &[u32]) -> u32 {
        let name = self.name(name);
        self.raw(name, kind, vlen, size, more)
    }

    /// `int`
    pub fn int(&mut self) -> u32 {
        self.add("int", kind::INT, 0, 4, &[0x0100_0020])
    }

    /// `unsigned long`
    pub fn long(&mut self) -> u32 {
        self.add("unsigned long", kind::INT, 0, 8, &[64])
    }

    /// A pointer.
    pub fn ptr(&mut self, to: u32) -> u32 {
        self.add("", kind::PTR, 0, to, &[])
    }

    /// A typedef.
    pub fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.add(name, kind::TYPEDEF, 0, of, &[])
    }

    /// An array.
    pub fn array(&mut self, elem: u32, index: u32, count: u32) -> u32 {
        self.add("", kind::ARRAY, 0, 0, &[elem, index, count])
    }

    /// A struct, of (name, type, bit offset).
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.of_members(name, kind::STRUCT, 0, size, members)
    }

    /// A struct or union.
    pub fn of_members(
        &mut self,
        name: &str,
        kind: u32,
        flag: u32,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let mut more = Vec::new();
        for &(name, ty, offset) in members {
            more.extend_from_slice(&[self.name(name), ty, offset]);
        }
        self.add(name, kind, members.len() as u32 | flag, size, &more)
    }

    /// A prototype, of (name, type).
    pub fn proto(&mut self, ret: u32, params: &[(&str, u32)]) -> u32 {
        let mut more = Vec::new();
        for &(name, ty) in params {
            more.extend_from_slice(&[self.name(name), ty]);
        }
        self.add("", kind::FUNC_PROTO, params.len() as u32, ret, &more)
    }

    /// A function with that linkage.
    pub fn func(&mut self, name: &str, linkage: u32, proto: u32) -> u32 {
        self.add(name, kind::FUNC, linkage, proto, &[])
    }

    /// Bytes behind the types.
    pub fn junk(&mut self, bytes: &[u8]) {
        self.types.extend_from_slice(bytes);
    }

    /// The bytes, with a header of 24.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0x9f, 0xeb, 1, 0];
        let types = self.types.len() as u32;
        for word in [24, 0, types, types, self.strings.len() as u32] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}

/// A blob made by `f`.
pub fn made(f: impl FnOnce(&mut Blob)) -> Vec<u8> {
    let mut blob = Blob::new();
    f(&mut blob);
    blob.bytes()
}
