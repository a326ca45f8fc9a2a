// SPDX-License-Identifier: GPL-2.0

//! Type information as an object, and what maps and programs keep of it.

use crate::abi::MapType;
use crate::btf::{Btf, Field, FieldKind, Kind as TypeKind, Type};
use crate::map::spec::{RDONLY_PROG, WRONLY_PROG};
use crate::map::MapSpec;
use crate::sys::anon::FileObject;
use crate::sys::shared::{Kind, Object, Release, Shared};
use core::fmt::Write;
use kernel::prelude::*;

/// Type information that user space loaded.
pub(crate) struct BtfObject(Btf);

impl Object for BtfObject {
    const KIND: Kind = Kind::Btf;
    /// Descriptors, maps and programs have references, and all go where sleeping is allowed.
    const RELEASE: Release = Release::Now;
}

impl BtfObject {
    /// Makes it an object.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(btf: Btf) -> Result<Shared<Self>> {
        Shared::new(BtfObject(btf))
    }

    /// The types.
    pub(crate) fn btf(&self) -> &Btf {
        &self.0
    }
}

/// What a descriptor of type information holds.
pub(crate) struct BtfFile(Shared<BtfObject>);

impl BtfFile {
    pub(crate) fn new(btf: Shared<BtfObject>) -> Self {
        BtfFile(btf)
    }

    /// The object.
    pub(crate) fn object(&self) -> &Shared<BtfObject> {
        &self.0
    }
}

impl FileObject for BtfFile {
    const NAME: &'static CStr = c"btf";

    fn fdinfo(&self, out: &mut dyn Write) {
        let _ = writeln!(out, "btf_id:\t{}", self.0.id());
    }
}

/// The types of a map's keys and values.
pub(crate) struct MapTypes {
    /// Where they are.
    pub(crate) btf: Shared<BtfObject>,
    /// Number of the keys' type, 0 for maps whose keys have none.
    pub(crate) key: u32,
    /// Number of the values' type.
    pub(crate) value: u32,
    /// The byte where a value's spin lock begins, if it has one.
    pub(crate) lock: Option<u32>,
}

/// Special fields of values are there for these types of maps (bpf(2) has some more types).
fn has_field(ty: MapType, field: FieldKind) -> bool {
    let values = matches!(ty, MapType::Hash | MapType::Array);
    let lru = ty == MapType::LruHash;
    let percpu = matches!(
        ty,
        MapType::PercpuHash | MapType::LruPercpuHash | MapType::PercpuArray
    );
    match field {
        FieldKind::SpinLock | FieldKind::ResSpinLock => values,
        FieldKind::Timer | FieldKind::Workqueue | FieldKind::TaskWork => values || lru,
        FieldKind::Kptr | FieldKind::Refcount => values || lru || percpu,
        FieldKind::ListHead | FieldKind::RbRoot => values || lru,
        FieldKind::ListNode | FieldKind::RbNode | FieldKind::Uptr => false,
    }
}

/// What is implemented of those.
fn implemented(field: &Field) -> bool {
    // A lock that is not aligned, as in a packed struct, could lie on two cache lines.
    field.kind == FieldKind::SpinLock && field.offset % 4 == 0
}

/// `EOPNOTSUPP`
fn unsupported() -> Error {
    Error::from_errno(-95)
}

impl MapTypes {
    /// Checks that a map of `spec` can have keys and values of such types.
    ///
    /// # Errors
    ///
    /// `EINVAL` when sizes differ or the map's type wants others, `EPERM` for special fields without
    /// CAP_BPF (`capable`), `EACCES` for such in maps that programs may not read or write,
    /// `EOPNOTSUPP` for such that are not there, `ENOTSUPP` for maps without types, `ENOMEM`.
    pub(crate) fn new(
        object: &Shared<BtfObject>,
        key: u32,
        value: u32,
        spec: &MapSpec,
        capable: bool,
    ) -> Result<Self> {
        let btf = object.btf();
        let sized = |id, size| match btf.sized(id) {
            Some((t, have)) if have == size => Ok(t),
            _ => Err(EINVAL),
        };
        let key_type = match key {
            0 if may_lack_key(spec.ty) => None,
            0 => return Err(EINVAL),
            id => Some(sized(id, spec.key_size)?),
        };
        let value_type = sized(value, spec.value_size)?;
        // Fields that make no sense together are none: what wants them does not find them.
        let record = match btf.value_fields(&value_type, spec.value_size) {
            Ok(record) => record,
            Err(e) if e == ENOMEM => return Err(e),
            Err(_) => None,
        };
        if let Some(record) = &record {
            if !capable {
                return Err(EPERM);
            }
            if spec.has(RDONLY_PROG) || spec.has(WRONLY_PROG) {
                return Err(EACCES);
            }
            let fits = |field: &Field| has_field(spec.ty, field.kind) && implemented(field);
            if !record.fields().iter().all(fits) {
                return Err(unsupported());
            }
        }
        check_types(btf, spec, key_type.as_ref(), &value_type)?;
        let lock = record.and_then(|record| record.lock());
        Ok(MapTypes {
            btf: object.clone(),
            key,
            value,
            lock,
        })
    }
}

/// Maps of that type look at the types themselves.
fn may_lack_key(ty: MapType) -> bool {
    match ty {
        MapType::Hash
        | MapType::Array
        | MapType::PercpuHash
        | MapType::PercpuArray
        | MapType::LruHash
        | MapType::LruPercpuHash
        | MapType::LpmTrie
        | MapType::ArrayOfMaps
        | MapType::HashOfMaps
        | MapType::PerfEventArray
        | MapType::StackTrace
        | MapType::CgroupArray
        | MapType::BloomFilter => true,
        MapType::ProgArray | MapType::Queue | MapType::Stack | MapType::Ringbuf => false,
    }
}

/// What a map's type wants of the types.
fn check_types(btf: &Btf, spec: &MapSpec, key: Option<&Type>, value: &Type) -> Result {
    let right = match spec.ty {
        MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => {
            key.is_some()
        }
        MapType::Array | MapType::PercpuArray => match key {
            Some(key) => {
                key.kind == TypeKind::Int && btf.int(key).is_regular() && btf.int(key).bytes() == 4
            }
            // Global variables, which are the one value.
            None => {
                spec.ty == MapType::Array
                    && spec.max_entries == 1
                    && value.kind == TypeKind::Datasec
            }
        },
        MapType::LpmTrie => key.is_some_and(|key| key.kind == TypeKind::Struct),
        MapType::BloomFilter => key.is_none(),
        MapType::PerfEventArray
        | MapType::StackTrace
        | MapType::CgroupArray
        | MapType::ArrayOfMaps
        | MapType::HashOfMaps => return Err(ENOTSUPP),
        MapType::ProgArray | MapType::Queue | MapType::Stack | MapType::Ringbuf => true,
    };
    match right {
        true => Ok(()),
        false => Err(EINVAL),
    }
}
