// SPDX-License-Identifier: GPL-2.0

//! Places an image in executable memory and calls it.

use crate::reference::find;
use oxbpf_core::helper::MAP_NEXT;
use oxbpf_core::isa::code::Code;
use oxbpf_core::jit::{self, Image, Variables};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

extern "C" {
    fn mmap(addr: *mut c_void, len: usize, prot: i32, flags: i32, fd: i32, off: i64)
        -> *mut c_void;
    fn mprotect(addr: *mut c_void, len: usize, prot: i32) -> i32;
    fn munmap(addr: *mut c_void, len: usize) -> i32;
}

/// A helper function as programs call it.
pub type Helper = extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// A number for the first helper of tests: one that no kernel helper has.
pub const FIRST_HELPER: i32 = 1_000_000;

/// The number under which helpers have the one that finds the next element of a map: the first that no
/// kernel helper has.
pub const NEXT_HELPER: i32 = 212;

/// Room for code; it also holds a jump to each helper, so that calls reach them.
const TRAMPOLINE: usize = 16;

/// Code that can be called.
pub struct Placed {
    at: *mut u8,
    len: usize,
    entry: usize,
    /// The image it was made of, relocated.
    pub image: Image,
}

/// Helper addresses lie here until the image is placed: the distance of trampoline `i`.
const FAKE: u64 = 0x1000;

thread_local! {
    static MAPS: RefCell<Vec<jit::MapTarget>> = const { RefCell::new(Vec::new()) };
    static PACKET: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the variables hold that programs read instead of calling a helper: any number will do, as
/// long as the CPU's is that of a test's table.
pub const CPU: u64 = 12345;

/// Variables that programs can name: below 4 GiB, where `gs` is zero as in this process.
fn variables() -> Variables {
    static PLACE: OnceLock<u64> = OnceLock::new();
    let place = *PLACE.get_or_init(|| {
        // SAFETY: a new private mapping, below 2 GiB (MAP_32BIT).
        let at = unsafe { mmap(std::ptr::null_mut(), 4096, 3, 0x62, -1, 0) };
        assert!(at as isize != -1, "mmap");
        // SAFETY: the mapping has room for it.
        unsafe { at.cast::<u64>().write(CPU) };
        at as u64
    });
    Variables {
        cpu_number: Some(place),
        current_task: Some(place),
        jiffies: Some(place),
    }
}

/// Sets what this thread's programs load with `LD_ABS` and `LD_IND`, on any context.
pub fn set_packet(packet: &[u8]) {
    PACKET.set(packet.to_vec());
}

/// `size` bytes at `offset` of the packet, in host order; none when they are not in it.
pub fn packet_word(offset: i32, size: u32) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    PACKET.with_borrow(|packet| {
        let bytes = packet.get(start..start.checked_add(size as usize)?)?;
        Some(bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b)))
    })
}

/// `bpf_map_lookup_elem` in this thread's maps, for code that calls it.
extern "C" fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    MAPS.with_borrow(|maps| {
        let map = maps.iter().find(|m| m.addr == map);
        // SAFETY: the caller is a program, whose key is on its stack, and whose maps are there.
        map.map_or(0, |map| unsafe { find(map, key) })
    })
}

extern "C" fn load_packet(_: *const c_void, offset: i32, size: u32) -> i64 {
    packet_word(offset, size).map_or(-1, |word| word as i64)
}

/// Compiles `code` for this process, with `helpers` numbered from 1.
///
/// # Errors
///
/// What the compiler says.
pub fn place(
    code: &Code,
    helpers: &[Helper],
    maps: &[jit::MapTarget],
    features: jit::Features,
    mitigations: jit::Mitigations,
) -> Result<Placed, jit::Failure> {
    let options = Options {
        features,
        mitigations,
        blind: false,
    };
    place_numbered(code, 1, helpers, maps, &options)
}

/// Random numbers, not the same from one compilation to the next.
fn random() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(1);
    let x = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Options code is compiled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the CPU can do.
    pub features: jit::Features,
    /// What the kernel would want.
    pub mitigations: jit::Mitigations,
    /// Constants are blinded.
    pub blind: bool,
}

/// As [`place`], with a function that finds the other program of a tail call through one of several
/// maps: it is numbered behind the `helpers`.
///
/// # Errors
///
/// What the compiler says.
pub fn place_tail(
    code: &Code,
    lookup: Helper,
    maps: &[jit::MapTarget],
    options: &Options,
) -> Result<Placed, jit::Failure> {
    place_all(code, 1, &[lookup], true, maps, options)
}

/// As [`place`], with `helpers` numbered from `first`.
///
/// # Errors
///
/// What the compiler says.
pub fn place_numbered(
    code: &Code,
    first: i32,
    helpers: &[Helper],
    maps: &[jit::MapTarget],
    options: &Options,
) -> Result<Placed, jit::Failure> {
    place_all(code, first, helpers, false, maps, options)
}

/// `tail`: the first helper is what finds the other program of a tail call.
fn place_all(
    code: &Code,
    first: i32,
    helpers: &[Helper],
    tail: bool,
    maps: &[jit::MapTarget],
    options: &Options,
) -> Result<Placed, jit::Failure> {
    let &Options {
        features,
        mitigations,
        blind,
    } = options;
    MAPS.set(maps.to_vec());
    let helper = |id: i32| {
        let i = match id {
            1 if first != 1 => helpers.len(),
            MAP_NEXT => usize::try_from(NEXT_HELPER.checked_sub(first)?).ok()?,
            _ => usize::try_from(id.checked_sub(first)?).ok()?,
        };
        (i < helpers.len() + usize::from(id == 1)).then(|| FAKE + (i * TRAMPOLINE) as u64)
    };
    // Find out the size, map, then compile again with the right helper addresses.
    let compile = |base: u64| {
        let helper = |id: i32| helper(id).map(|a| a - FAKE + base);
        jit::emit(
            code,
            &jit::Target {
                features,
                mitigations,
                align_stack: true,
                packet: Some(base + ((helpers.len() + 1) * TRAMPOLINE) as u64),
                blind: blind.then_some(&random),
                variables: variables(),
                helper: &helper,
                maps,
                tail: jit::TailCalls {
                    patch: false,
                    lookup: tail.then_some(base),
                },
            },
        )
    };
    let sized = compile(FAKE)?;
    // Behind the helpers': lookups and the packet's loads.
    let stubs = (helpers.len() + 2) * TRAMPOLINE;
    let len = (stubs + sized.bytes().len() + 4095) & !4095;
    // SAFETY: a new private mapping.
    let at = unsafe { mmap(std::ptr::null_mut(), len, 3, 0x22, -1, 0) }.cast::<u8>();
    assert!(at as isize != -1, "mmap");
    let mut image = compile(at as u64)?;
    image.relocate(at as u64 + stubs as u64).expect("relocate");
    // SAFETY: the mapping is writable, `len` long and not executable yet.
    let mem = unsafe { std::slice::from_raw_parts_mut(at, len) };
    mem.fill(0xcc);
    let addresses = helpers.iter().map(|f| *f as usize as u64);
    let more = [lookup as usize as u64, load_packet as usize as u64];
    for (i, f) in addresses.chain(more).enumerate() {
        let stub = &mut mem[i * TRAMPOLINE..];
        // movabs r11, f; jmp r11
        stub[..2].copy_from_slice(&[0x49, 0xbb]);
        stub[2..10].copy_from_slice(&f.to_le_bytes());
        stub[10..13].copy_from_slice(&[0x41, 0xff, 0xe3]);
    }
    mem[stubs..stubs + image.bytes().len()].copy_from_slice(image.bytes());
    // SAFETY: our own mapping, to which no reference remains.
    let rc = unsafe { mprotect(at.cast(), len, 5) };
    assert_eq!(rc, 0, "mprotect");
    Ok(Placed {
        at,
        len,
        entry: stubs + image.entry() as usize,
        image,
    })
}

impl Placed {
    /// The machine code.
    pub fn code(&self) -> &[u8] {
        self.image.bytes()
    }

    /// Address where others go on in this program by a tail call.
    pub fn tail_entry(&self) -> u64 {
        let stub = self.entry - self.image.entry() as usize;
        (self.at as usize + stub + self.image.tail_entry() as usize) as u64
    }

    /// Runs the program. Callee-saved registers are checked.
    ///
    /// # Safety
    ///
    /// The program must be right: touch only memory that is there, and end.
    pub unsafe fn run(&self, ctx: *mut c_void) -> u64 {
        let result: u64;
        let saved: u64;
        // SAFETY: the image follows the C calling convention, as the caller promises. The registers
        // that the convention preserves are set to known values and compared afterwards.
        unsafe {
            let entry = self.at.add(self.entry);
            std::arch::asm!(
                "push rbx",
                "push rbp",
                "mov rbp, rsp",
                "and rsp, -16",
                "push rbp",
                "push rbp",
                "mov rbx, 0x1111",
                "mov r12, 0x2222",
                "mov r13, 0x3333",
                "mov r14, 0x4444",
                "mov r15, 0x5555",
                "mov rbp, 0x6666",
                "call rax",
                "xor rbx, 0x1111",
                "xor r12, 0x2222",
                "xor r13, 0x3333",
                "xor r14, 0x4444",
                "xor r15, 0x5555",
                "xor rbp, 0x6666",
                "or rbx, r12",
                "or rbx, r13",
                "or rbx, r14",
                "or rbx, r15",
                "or rbx, rbp",
                "mov r12, rbx",
                "pop rsp",
                "pop rbp",
                "pop rbx",
                inout("rax") entry => result,
                inout("rdi") ctx => _,
                out("r12") saved, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("C"),
            );
        }
        assert_eq!(saved, 0, "a callee-saved register was changed");
        result
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { munmap(self.at.cast(), self.len) };
    }
}
