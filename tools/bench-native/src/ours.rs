// SPDX-License-Identifier: GPL-2.0

//! oxbpf in this process: programs as the module verifies and compiles them, maps from the host twins of
//! its memory and locks.

use kernel::error::code::*;
use kernel::error::{Error, Result};
use oxbpf::{Bpf, Map, MapSpec, ProgType, Slot};
use oxbpf_bench::cases::Missing;
use oxbpf_bench::clock;
use oxbpf_bench::subject::{Program, Subject};
use oxbpf_core::abi::{self, MapType};
use oxbpf_core::isa::RawInsn;
use oxbpf_core::jit::{
    self, ArrayTarget, Features, HashTarget, MapTarget, Mitigations, TailCalls, Target, Variables,
};
use oxbpf_core::map::{ArrayLayout, Map as CoreMap, MapSpec as CoreSpec};
use oxbpf_core::verifier::log::Log;
use oxbpf_core::verifier::{verify, Env, MapFacts, Options, VerifiedProg};
use oxbpf_fixtures::host::{real_skb, RealSkb, LAYOUT};
use oxbpf_jit_run::exec::{place, Helper, Placed};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

/// Helpers that need no kernel: maps' and the processor's number, which is compiled away.
const HELPERS: [i32; 4] = [1, 2, 3, 8];
/// Map types whose algorithms are all there is to them.
const MAPS: [MapType; 7] = [
    MapType::Array,
    MapType::Hash,
    MapType::PercpuArray,
    MapType::PercpuHash,
    MapType::LruHash,
    MapType::LruPercpuHash,
    MapType::LpmTrie,
];
/// How often a load is timed.
const LOADS: usize = 3;

type Maps = HashMap<i32, Rc<CoreMap>>;

/// oxbpf in this process. A map's descriptor is that of an empty one of the kernel.
pub struct Native {
    bpf: Bpf,
    maps: RefCell<Maps>,
}

impl Default for Native {
    fn default() -> Self {
        Native {
            bpf: Bpf::in_tree(),
            maps: RefCell::default(),
        }
    }
}

/// The maps that one program uses.
struct Used<'a> {
    all: &'a Maps,
    used: Vec<Rc<CoreMap>>,
}

impl Env for Used<'_> {
    fn use_map_fd(&mut self, fd: i32) -> Result<u32> {
        let map = self.all.get(&fd).ok_or(EBADF)?;
        let known = self.used.iter().position(|m| Rc::ptr_eq(m, map));
        let index = known.unwrap_or_else(|| {
            self.used.push(map.clone());
            self.used.len() - 1
        });
        Ok(index as u32)
    }

    fn use_map_idx(&mut self, _idx: i32) -> Result<u32> {
        Err(EINVAL)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        Some(self.used.get(index as usize)?.facts())
    }

    fn read_frozen(&self, _index: u32, _off: u32, _buf: &mut [u8]) -> bool {
        false
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// A map as programs pass it.
///
/// # Safety
///
/// `map` is what [`targets`] gave for a map that is there, and outlives the result.
unsafe fn map_of<'a>(map: u64) -> &'a CoreMap {
    // SAFETY: the caller's promise.
    unsafe { &*(map as *const CoreMap) }
}

/// # Safety
///
/// `at` are `len` bytes that can be read and outlive the result, and nobody writes them meanwhile.
unsafe fn bytes<'a>(at: u64, len: u32) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(at as *const u8, len as usize) }
}

fn errno(result: Result) -> u64 {
    result.map_or_else(|e| i64::from(e.to_errno()) as u64, |()| 0)
}

extern "C" fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: a verified program passes a map of its own, and a whole key on its stack.
    let (map, key) = unsafe {
        let map = map_of(map);
        (map, bytes(key, map.spec().key_size))
    };
    map.lookup_addr(key).unwrap_or(0) as u64
}

extern "C" fn update(map: u64, key: u64, value: u64, flags: u64, _: u64) -> u64 {
    // SAFETY: as above; and a whole value.
    let (map, key, value) = unsafe {
        let map = map_of(map);
        let (key, value) = (
            bytes(key, map.spec().key_size),
            bytes(value, map.spec().value_size),
        );
        (map, key, value)
    };
    errno(map.prog_update_quick(key.into(), value.into(), flags))
}

extern "C" fn delete(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: as above.
    let (map, key) = unsafe {
        let map = map_of(map);
        (map, bytes(key, map.spec().key_size))
    };
    errno(map.prog_delete(key.into()))
}

extern "C" fn nothing(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

/// The maps as the module shows them to the compiler; but where each CPU has its own values, the
/// function is called, for this process has no CPU.
fn targets(maps: &[Rc<CoreMap>]) -> Vec<MapTarget> {
    let array = |layout: ArrayLayout| ArrayTarget {
        base: layout.base as u64,
        stride: layout.stride,
        max_entries: layout.entries,
    };
    let target = |map: &Rc<CoreMap>| MapTarget {
        addr: Rc::as_ptr(map) as u64,
        value: map.value_addr(0).ok().map(|at| at as u64),
        array: map.array_layout().map(array),
        per_cpu: None,
        hash: map
            .hash_layout()
            .filter(|h| h.per_cpu.is_none())
            .map(|h| HashTarget {
                constants: h.constants as u64,
                bucket_mask: h.bucket_mask,
                key_size: h.key_size,
                stride: h.stride,
                value_at: h.value_at,
                mark: h.mark,
                per_cpu: None,
            }),
    };
    maps.iter().map(target).collect()
}

fn features() -> Features {
    Features {
        bmi2: std::is_x86_feature_detected!("bmi2"),
        movbe: std::is_x86_feature_detected!("movbe"),
    }
}

fn raw(insns: &[Slot]) -> Vec<RawInsn> {
    let one = |s: &Slot| RawInsn {
        code: s[0],
        regs: s[1],
        off: i16::from_le_bytes([s[2], s[3]]),
        imm: i32::from_le_bytes([s[4], s[5], s[6], s[7]]),
    };
    insns.iter().map(one).collect()
}

fn prog_type(ty: ProgType) -> Result<abi::ProgType, Missing> {
    abi::ProgType::new(ty.0).ok_or(Missing::Unsupported(format!("program type {}", ty.0)))
}

impl Native {
    fn verified<'a>(
        maps: &'a Maps,
        ty: abi::ProgType,
        insns: &[RawInsn],
        log: &mut Log,
    ) -> Result<(VerifiedProg, Used<'a>)> {
        let mut used = Used {
            all: maps,
            used: Vec::new(),
        };
        let options = Options {
            prog_type: ty,
            attach_type: 0,
            gpl: true,
            allow_ptr_leaks: true,
            bpf_capable: true,
            strict_alignment: false,
            test_state_freq: false,
            layout: LAYOUT,
        };
        let prog = verify(insns, &options, &mut used, log)?;
        Ok((prog, used))
    }

    /// Makes a map that programs name by the descriptor of the kernel's `map`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn adopt(&self, map: &Map, spec: &MapSpec) -> Result<(), Missing> {
        let unsupported = || Missing::Unsupported(format!("map type {} needs a kernel", spec.ty.0));
        let ty = MapType::new(spec.ty.0).filter(|ty| MAPS.contains(ty));
        let core = CoreMap::new(&CoreSpec {
            lock: None,
            ty: ty.ok_or_else(unsupported)?,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            numa_node: 0,
            extra: 0,
            name: [0; 16],
        })
        .map_err(|e| Missing::Failed(format!("map: {}", e.to_errno())))?;
        let fd = map.as_fd().as_raw_fd();
        self.maps.borrow_mut().insert(fd, Rc::new(core));
        Ok(())
    }

    /// What a helper of the kernel's would be needed for cannot be measured here.
    fn check_helpers(insns: &[RawInsn]) -> Result<(), Missing> {
        let helper = |i: &&RawInsn| i.code == 0x85 && i.regs >> 4 == 0;
        match insns
            .iter()
            .filter(helper)
            .find(|i| !HELPERS.contains(&i.imm))
        {
            Some(i) => Err(Missing::Unsupported(format!(
                "helper {} needs a kernel",
                i.imm
            ))),
            None => Ok(()),
        }
    }
}

fn refused(log: &Log, e: Error) -> Missing {
    let (first, second) = log.text();
    let text = String::from_utf8_lossy(&[first, second].concat()).into_owned();
    Missing::Failed(format!("refused with {}: {text}", e.to_errno()))
}

/// A program in this process, with a packet.
struct Ours {
    placed: Placed,
    skb: RealSkb,
    /// The code has their addresses.
    _maps: Vec<Rc<CoreMap>>,
}

impl Program for Ours {
    fn run(&mut self, repeat: u32) -> Result<u32, String> {
        let mut last = 0;
        for _ in 0..repeat {
            // SAFETY: the verifier accepted the program for a context like this one; its maps are there,
            // and no other thread touches them.
            last = unsafe { self.placed.run(self.skb.context().cast()) };
        }
        Ok(last as u32)
    }

    fn image_bytes(&self) -> Option<usize> {
        Some(self.placed.image.bytes().len())
    }

    fn fd(&self) -> Result<i32, Missing> {
        Err(Missing::Unsupported("a program has no fd here".to_owned()))
    }
}

impl Subject for Native {
    fn name(&self) -> &str {
        "oxbpf"
    }

    fn create(&self, spec: &MapSpec) -> Result<Map, Missing> {
        // Only for its number: it need not be large.
        let small = MapSpec {
            max_entries: 1,
            ..spec.clone()
        };
        let map = Subject::create(&self.bpf, &small)?;
        self.adopt(&map, spec)?;
        Ok(map)
    }

    fn update(&self, map: &Map, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        let maps = self.maps.borrow();
        let map = maps.get(&map.as_fd().as_raw_fd());
        let map = map.ok_or(Missing::Failed("no such map".to_owned()))?;
        map.update(key, value, 0)
            .map_err(|e| Missing::Failed(format!("update: {}", e.to_errno())))
    }

    fn load(&self, ty: ProgType, insns: &[Slot]) -> Result<Box<dyn Program>, Missing> {
        let (ty, insns) = (prog_type(ty)?, raw(insns));
        Native::check_helpers(&insns)?;
        let mut log = Log::new(1, 1 << 20);
        let maps = self.maps.borrow();
        let (prog, used) =
            Native::verified(&maps, ty, &insns, &mut log).map_err(|e| refused(&log, e))?;
        // Numbered from 1.
        let mut helpers = vec![nothing as Helper; 8];
        helpers[0] = lookup;
        helpers[1] = update;
        helpers[2] = delete;
        let mitigations = Mitigations::default();
        let placed = place(
            prog.code(),
            &helpers,
            &targets(&used.used),
            features(),
            mitigations,
        )
        .map_err(|e| Missing::Failed(format!("compiler: {e}")))?;
        Ok(Box::new(Ours {
            placed,
            skb: real_skb(ty, &clock::packet()),
            _maps: used.used,
        }))
    }

    fn load_ticks(&self, insns: &[Slot]) -> Result<f64, Missing> {
        let insns = raw(insns);
        let maps = self.maps.borrow();
        let mut best = u64::MAX;
        for _ in 0..LOADS {
            let mut log = Log::new(0, 0);
            let start = clock::now();
            let (prog, used) =
                Native::verified(&maps, abi::ProgType::SchedCls, &insns, &mut log)
                    .map_err(|e| Missing::Failed(format!("refused with {}", e.to_errno())))?;
            let maps = targets(&used.used);
            let target = Target {
                features: features(),
                mitigations: Mitigations::default(),
                align_stack: false,
                packet: None,
                blind: None,
                variables: Variables::default(),
                helper: &|id| u64::try_from(id).ok().map(|id| 0x1000 + id * 16),
                maps: &maps,
                tail: TailCalls::default(),
            };
            let image = jit::compile(&prog, &target)
                .map_err(|e| Missing::Failed(format!("compiler: {e}")))?;
            best = best.min(clock::now() - start);
            drop(image);
        }
        Ok(best as f64)
    }

    fn bpf(&self) -> Result<&Bpf, Missing> {
        Err(Missing::Unsupported("there is no system call".to_owned()))
    }
}
