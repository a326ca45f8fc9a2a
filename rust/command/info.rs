// SPDX-License-Identifier: GPL-2.0

//! OBJ_GET_INFO_BY_FD: what user space may know of an object.

use super::errno::ebadfd;
use super::{check_tail, Attr};
use crate::abi::ProgType;
use crate::attach::kprobe::Kprobe;
use crate::attach::perf::Perf;
use crate::link::{fd_type, Attachment, LinkFile};
use crate::object::btf::BtfFile;
use crate::object::MapFile;
use crate::prog::{ProgFile, TAG_SIZE};
use crate::sys::anon::{AnyFile, FdError};
use crate::sys::cred::Cap;
use crate::sys::user::User;
use kernel::prelude::*;

/// Fields of the command.
#[repr(C)]
#[derive(FromBytes)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

const INFO_LEN: u64 = 4;

/// `struct bpf_map_info`
#[repr(C)]
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
struct MapInfo {
    ty: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_vmlinux_value_type_id: u32,
    netns_dev: u64,
    netns_ino: u64,
    btf_id: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_id: u32,
    map_extra: u64,
    hash: u64,
    hash_size: u32,
    _pad: u32,
}

/// `struct bpf_prog_info`
#[repr(C)]
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
struct ProgInfo {
    ty: u32,
    id: u32,
    tag: [u8; TAG_SIZE],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    /// Bit 0.
    gpl_compatible: u32,
    netns_dev: u64,
    netns_ino: u64,
    nr_jited_ksyms: u32,
    nr_jited_func_lens: u32,
    jited_ksyms: u64,
    jited_func_lens: u64,
    btf_id: u32,
    func_info_rec_size: u32,
    func_info: u64,
    nr_func_info: u32,
    nr_line_info: u32,
    line_info: u64,
    jited_line_info: u64,
    nr_jited_line_info: u32,
    line_info_rec_size: u32,
    jited_line_info_rec_size: u32,
    nr_prog_tags: u32,
    prog_tags: u64,
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
    verified_insns: u32,
    attach_btf_obj_id: u32,
    attach_btf_id: u32,
    _pad: u32,
}

/// `struct bpf_link_info`, with the variant for kernel functions.
#[repr(C)]
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
struct LinkInfo {
    ty: u32,
    id: u32,
    prog_id: u32,
    _pad: u32,
    addrs: u64,
    count: u32,
    flags: u32,
    missed: u64,
    cookies: u64,
    _rest: [u8; 16],
}

/// `struct bpf_btf_info`
#[repr(C)]
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
struct BtfInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

const _: () = {
    assert!(size_of::<MapInfo>() == 104);
    assert!(size_of::<ProgInfo>() == 232);
    assert!(size_of::<LinkInfo>() == 64);
};

/// Reads an info struct of `a.info_len` bytes, of which `known` count.
fn read_info<T: FromBytes, const SIZE: usize>(a: &InfoAttr, known: usize) -> Result<(T, usize)> {
    let user = User::new(a.info);
    check_tail(user, known, a.info_len as usize)?;
    let len = (a.info_len as usize).min(SIZE);
    let mut bytes = [0u8; SIZE];
    user.read(bytes.get_mut(..len).ok_or(EINVAL)?)?;
    let info = T::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
    Ok((info, len))
}

/// Writes the first `len` bytes of `info`, and says how many in the attr.
fn write_info(attr: &Attr, a: &InfoAttr, info: &[u8], len: usize) -> Result<i32> {
    User::new(a.info).write(info.get(..len).ok_or(EINVAL)?)?;
    attr.answer(INFO_LEN, &(len as u32).to_ne_bytes())?;
    Ok(0)
}

/// OBJ_GET_INFO_BY_FD
pub(super) fn info(attr: &Attr) -> Result<i32> {
    let a: InfoAttr = attr.view()?;
    let file = match AnyFile::get(a.bpf_fd) {
        Ok(file) => file,
        Err(FdError::Closed) => return Err(ebadfd()),
        Err(FdError::Other) => return Err(EINVAL),
    };
    if let Some(map) = file.as_ref::<MapFile>() {
        map_info(attr, &a, map)
    } else if let Some(prog) = file.as_ref::<ProgFile>() {
        prog_info(attr, &a, &file, prog)
    } else if let Some(link) = file.as_ref::<LinkFile>() {
        link_info(attr, &a, &file, link)
    } else if let Some(btf) = file.as_ref::<BtfFile>() {
        btf_info(attr, &a, btf)
    } else {
        Err(EINVAL)
    }
}

fn map_info(attr: &Attr, a: &InfoAttr, file: &MapFile) -> Result<i32> {
    const SIZE: usize = size_of::<MapInfo>();
    let known = core::mem::offset_of!(MapInfo, _pad);
    let (mut info, len) = read_info::<MapInfo, SIZE>(a, known)?;
    let (hash, hash_size, pad) = (info.hash, info.hash_size, info._pad);
    let map = file.object();
    let spec = map.map().spec();
    info = MapInfo {
        ty: spec.ty as u32,
        id: map.id(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: map.flags(),
        name: spec.name,
        map_extra: spec.extra,
        btf_id: map.types().map_or(0, |types| types.btf.id()),
        btf_key_type_id: map.types().map_or(0, |types| types.key),
        btf_value_type_id: map.types().map_or(0, |types| types.value),
        ..info
    };
    // No map here has a digest.
    if hash != 0 || hash_size != 0 {
        return Err(EINVAL);
    }
    info._pad = pad;
    write_info(attr, a, info.as_bytes(), len)
}

fn btf_info(attr: &Attr, a: &InfoAttr, file: &BtfFile) -> Result<i32> {
    const SIZE: usize = size_of::<BtfInfo>();
    let (mut info, len) = read_info::<BtfInfo, SIZE>(a, SIZE)?;
    let object = file.object();
    let data = object.btf().data();
    info.id = object.id();
    let part = data.get(..wanted(info.btf_size, data.len()));
    User::new(info.btf).write(part.unwrap_or(&[]))?;
    info.btf_size = data.len() as u32;
    info.kernel_btf = 0;
    let name = User::new(info.name);
    if name.is_null() != (info.name_len == 0) {
        return Err(EINVAL);
    }
    info.name_len = 0;
    // What user space loads has no name.
    if !name.is_null() {
        name.write(&[0])?;
    }
    write_info(attr, a, info.as_bytes(), len)
}

/// User space's array for answers of `size` bytes each: how many of the `have` are wanted.
fn wanted(room: u32, have: usize) -> usize {
    (room as usize).min(have)
}

fn prog_info(attr: &Attr, a: &InfoAttr, file: &AnyFile, prog: &ProgFile) -> Result<i32> {
    const SIZE: usize = size_of::<ProgInfo>();
    let known = core::mem::offset_of!(ProgInfo, _pad);
    let (mut info, len) = read_info::<ProgInfo, SIZE>(a, known)?;
    let prog = prog.prog();
    let aux = prog.aux();

    info.ty = aux.ty as u32;
    info.id = prog.id();
    info.tag = aux.tag;
    info.load_time = aux.load_time;
    info.created_by_uid = aux.uid.seen();
    info.gpl_compatible = (info.gpl_compatible & !1) | u32::from(prog.base().gpl());
    info.name = aux.name;

    let room = info.nr_map_ids;
    let ids = aux.map_ids()?;
    info.nr_map_ids = ids.len() as u32;
    for (i, id) in (0u64..).zip(ids.iter().take(room as usize)) {
        User::new(info.map_ids)
            .add(i.wrapping_mul(4))
            .write(&id.to_ne_bytes())?;
    }
    record_sizes(&mut info)?;
    let stats = prog.stats();
    info.run_time_ns = stats.ns;
    info.run_cnt = stats.runs;
    info.recursion_misses = stats.misses;
    info.verified_insns = aux.verified_insns;

    if Cap::Bpf.held() {
        code_info(&mut info, file, prog)?;
    } else {
        info.jited_prog_len = 0;
        info.xlated_prog_len = 0;
        info.nr_jited_ksyms = 0;
        info.nr_jited_func_lens = 0;
        info.nr_func_info = 0;
        info.nr_line_info = 0;
        info.nr_jited_line_info = 0;
    }
    write_info(attr, a, info.as_bytes(), len)
}

/// Sizes of records must be known, or not given at all.
fn record_sizes(info: &mut ProgInfo) -> Result {
    const FUNC_INFO: u32 = 8;
    const LINE_INFO: u32 = 16;
    const JITED_LINE_INFO: u32 = 8;
    let sizes = [
        (info.nr_func_info, &mut info.func_info_rec_size, FUNC_INFO),
        (info.nr_line_info, &mut info.line_info_rec_size, LINE_INFO),
        (
            info.nr_jited_line_info,
            &mut info.jited_line_info_rec_size,
            JITED_LINE_INFO,
        ),
    ];
    for (count, size, right) in sizes {
        if (count != 0 || *size != 0) && *size != right {
            return Err(EINVAL);
        }
        *size = right;
    }
    Ok(())
}

/// Instructions, machine code and where its functions are.
fn code_info(
    info: &mut ProgInfo,
    file: &AnyFile,
    prog: &crate::sys::shared::Shared<crate::prog::Prog>,
) -> Result {
    let aux = prog.aux();
    let show = file.shows_addresses();

    let room = info.xlated_prog_len;
    let mut xlated = KVVec::new();
    for insn in &aux.xlated {
        let mut insn = *insn;
        // The number of a helper is no secret, but bpf(2) has an address there.
        if insn.code == CALL && !show {
            insn.imm = 0;
        }
        xlated.extend_from_slice(&[insn.code, insn.regs], GFP_KERNEL)?;
        xlated.extend_from_slice(&insn.off.to_le_bytes(), GFP_KERNEL)?;
        xlated.extend_from_slice(&insn.imm.to_le_bytes(), GFP_KERNEL)?;
    }
    info.xlated_prog_len = xlated.len() as u32;
    if let Some(part) = xlated.get(..wanted(room, xlated.len())) {
        User::new(info.xlated_prog_insns).write(part)?;
    }

    let compiled = prog.compiled();
    let bytes = compiled.map_or(&[][..], |code| code.bytes());
    let room = info.jited_prog_len;
    info.jited_prog_len = bytes.len() as u32;
    if room != 0 && !bytes.is_empty() {
        if show {
            let part = bytes.get(..wanted(room, bytes.len())).ok_or(EINVAL)?;
            User::new(info.jited_prog_insns).write(part)?;
        } else {
            info.jited_prog_insns = 0;
        }
    }

    let functions = compiled.map_or(&[][..], |code| &code.functions);
    let room = info.nr_jited_ksyms;
    info.nr_jited_ksyms = functions.len().max(1) as u32;
    if room != 0 && !show {
        info.jited_ksyms = 0;
    } else {
        for (i, function) in (0u64..).zip(functions.iter().take(room as usize)) {
            let start = compiled.map_or(0, |code| code.address(function.start));
            User::new(info.jited_ksyms)
                .add(i.wrapping_mul(8))
                .write(&(start as u64).to_ne_bytes())?;
        }
    }
    let room = info.nr_jited_func_lens;
    info.nr_jited_func_lens = functions.len().max(1) as u32;
    if room != 0 && !show {
        info.jited_func_lens = 0;
    } else {
        for (i, function) in (0u64..).zip(functions.iter().take(room as usize)) {
            User::new(info.jited_func_lens)
                .add(i.wrapping_mul(4))
                .write(&function.len.to_ne_bytes())?;
        }
    }

    info.attach_btf_id = 0;
    source_info(info, show, prog)?;

    let room = info.nr_prog_tags;
    info.nr_prog_tags = functions.len().max(1) as u32;
    let tags = functions
        .iter()
        .map(|function| aux.subprog_tags.get(function.subprog).unwrap_or(&aux.tag));
    let own = core::iter::once(&aux.tag).take(usize::from(functions.is_empty()));
    for (i, tag) in (0u64..).zip(Iterator::chain(tags, own).take(room as usize)) {
        User::new(info.prog_tags)
            .add(i.wrapping_mul(TAG_SIZE as u64))
            .write(tag)?;
    }
    Ok(())
}

/// Functions and source lines.
fn source_info(
    info: &mut ProgInfo,
    show: bool,
    prog: &crate::sys::shared::Shared<crate::prog::Prog>,
) -> Result {
    let aux = prog.aux();
    if let Some(btf) = &aux.btf {
        info.btf_id = btf.id();
    }
    let (funcs, lines) = (&aux.source.funcs, &aux.source.lines);

    let room = wanted(info.nr_func_info, funcs.len());
    info.nr_func_info = funcs.len() as u32;
    for (i, func) in (0u64..).zip(funcs.iter().take(room)) {
        let at = User::new(info.func_info).add(i.wrapping_mul(8));
        write_words(at, &[func.slot, func.ty])?;
    }

    let room = wanted(info.nr_line_info, lines.len());
    info.nr_line_info = lines.len() as u32;
    for (i, line) in (0u64..).zip(lines.iter().take(room)) {
        let at = User::new(info.line_info).add(i.wrapping_mul(16));
        write_words(at, &[line.slot, line.file, line.text, line.col])?;
    }

    let compiled = prog.compiled();
    let places = compiled.map_or(&[][..], |code| &code.lines);
    let room = info.nr_jited_line_info;
    info.nr_jited_line_info = places.len() as u32;
    if room != 0 && !places.is_empty() && !show {
        info.jited_line_info = 0;
        return Ok(());
    }
    for (i, place) in (0u64..).zip(places.iter().take(room as usize)) {
        let address = compiled.map_or(0, |code| code.address(*place));
        User::new(info.jited_line_info)
            .add(i.wrapping_mul(8))
            .write(&(address as u64).to_ne_bytes())?;
    }
    Ok(())
}

fn write_words(at: User, words: &[u32]) -> Result {
    for (i, word) in (0u64..).zip(words) {
        at.add(i.wrapping_mul(4)).write(&word.to_ne_bytes())?;
    }
    Ok(())
}

/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;

fn link_info(attr: &Attr, a: &InfoAttr, file: &AnyFile, link: &LinkFile) -> Result<i32> {
    const SIZE: usize = size_of::<LinkInfo>();
    let (mut info, len) = read_info::<LinkInfo, SIZE>(a, SIZE)?;
    let link = link.link();
    info.ty = link.attachment().number();
    info.id = link.id();
    info.prog_id = link.prog().id();
    match link.attachment() {
        Attachment::Kprobe(kprobe) => kprobe_info(&mut info, file, kprobe)?,
        Attachment::Tracepoint(tracepoint) => {
            let cookie = tracepoint.cookie();
            // tp_name, tp_name_len, cookie
            let mut rest: [u8; LINK_REST] = rest_of(&info)?;
            name_info(&mut rest, 0, Some(tracepoint.name()))?;
            put(&mut rest, 16, &cookie.to_ne_bytes())?;
            return write_rest(attr, a, &info, &rest, len);
        }
        Attachment::Perf(perf) => {
            let mut rest: [u8; LINK_REST] = rest_of(&info)?;
            perf_info(&mut rest, file, link.prog().aux().ty, perf)?;
            return write_rest(attr, a, &info, &rest, len);
        }
    }
    write_info(attr, a, info.as_bytes(), len)
}

/// Bytes of a link's information before what depends on its kind.
const LINK_HEAD: usize = 16;
/// Bytes behind them.
const LINK_REST: usize = size_of::<LinkInfo>() - LINK_HEAD;

/// What depends on the kind, as user space gave it.
fn rest_of(info: &LinkInfo) -> Result<[u8; LINK_REST]> {
    let rest = info.as_bytes().get(LINK_HEAD..);
    rest.and_then(|rest| rest.first_chunk().copied())
        .ok_or(EINVAL)
}

fn write_rest(
    attr: &Attr,
    a: &InfoAttr,
    info: &LinkInfo,
    rest: &[u8; LINK_REST],
    len: usize,
) -> Result<i32> {
    let mut bytes = [0; size_of::<LinkInfo>()];
    put(&mut bytes, 0, info.as_bytes())?;
    put(&mut bytes, LINK_HEAD, rest)?;
    write_info(attr, a, &bytes, len)
}

/// Writes `from` at byte `at`.
fn put(bytes: &mut [u8], at: usize, from: &[u8]) -> Result {
    let end = at.checked_add(from.len()).ok_or(EINVAL)?;
    bytes.get_mut(at..end).ok_or(EINVAL)?.copy_from_slice(from);
    Ok(())
}

/// The bytes from `at` on.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let tail = bytes.get(at..).and_then(|tail| tail.first_chunk());
    tail.copied().ok_or(EINVAL)
}

/// A name whose buffer and length are at byte `at`: the address, and 8 bytes on the length, which
/// becomes that of the name with its NUL.
///
/// # Errors
///
/// `EINVAL` for one without the other, `EFAULT`, `ENOSPC` when it is cut.
fn name_info(rest: &mut [u8], at: usize, name: Option<&CStr>) -> Result {
    let user = User::new(u64::from_ne_bytes(take(rest, at)?));
    let len_at = at.checked_add(8).ok_or(EINVAL)?;
    let room = u32::from_ne_bytes(take(rest, len_at)?) as usize;
    if user.is_null() != (room == 0) {
        return Err(EINVAL);
    }
    let name = name.unwrap_or(c"").to_bytes_with_nul();
    put(rest, len_at, &(name.len() as u32).to_ne_bytes())?;
    if user.is_null() {
        return Ok(());
    }
    if room >= name.len() {
        return user.write(name);
    }
    let cut = room.saturating_sub(1);
    user.write(name.get(..cut).unwrap_or(&[]))?;
    user.add(cut as u64).write(&[0])?;
    Err(ENOSPC)
}

/// Numbers of `enum bpf_perf_event_type`.
mod perf_type {
    pub(super) const UPROBE: u32 = 1;
    pub(super) const URETPROBE: u32 = 2;
    pub(super) const KPROBE: u32 = 3;
    pub(super) const KRETPROBE: u32 = 4;
    pub(super) const TRACEPOINT: u32 = 5;
    pub(super) const EVENT: u32 = 6;
}

/// The part for perf events: `type`, and from byte 8 on a union.
fn perf_info(rest: &mut [u8; LINK_REST], file: &AnyFile, ty: ProgType, perf: &Perf) -> Result {
    let cookie = perf.cookie().to_ne_bytes();
    if ty == ProgType::PerfEvent {
        // config, type, cookie
        let (event_type, config) = perf.event();
        put(rest, 8, &config.to_ne_bytes())?;
        put(rest, 16, &event_type.to_ne_bytes())?;
        put(rest, 24, &cookie)?;
        return put(rest, 0, &perf_type::EVENT.to_ne_bytes());
    }
    let info = perf.info().ok_or(ENOENT)?;
    name_info(rest, 8, info.name)?;
    let ty = match info.fd_type {
        fd_type::KPROBE | fd_type::KRETPROBE => {
            // offset, addr, missed, cookie
            let addr = if file.shows_addresses() { info.addr } else { 0 };
            put(rest, 20, &(info.offset as u32).to_ne_bytes())?;
            put(rest, 24, &addr.to_ne_bytes())?;
            put(rest, 32, &info.missed.to_ne_bytes())?;
            put(rest, 40, &cookie)?;
            match info.fd_type {
                fd_type::KPROBE => perf_type::KPROBE,
                _ => perf_type::KRETPROBE,
            }
        }
        fd_type::UPROBE | fd_type::URETPROBE => {
            // offset, cookie, ref_ctr_offset
            put(rest, 20, &(info.offset as u32).to_ne_bytes())?;
            put(rest, 24, &cookie)?;
            put(rest, 32, &info.addr.to_ne_bytes())?;
            match info.fd_type {
                fd_type::UPROBE => perf_type::UPROBE,
                _ => perf_type::URETPROBE,
            }
        }
        _ => {
            put(rest, 24, &cookie)?;
            perf_type::TRACEPOINT
        }
    };
    put(rest, 0, &ty.to_ne_bytes())
}

/// The part for kernel functions: where, if user space gives room for that.
fn kprobe_info(info: &mut LinkInfo, file: &AnyFile, kprobe: &Kprobe) -> Result {
    let room = info.count;
    let (addrs, cookies) = (User::new(info.addrs), User::new(info.cookies));
    if addrs.is_null() != (room == 0) || (!cookies.is_null() && room == 0) {
        return Err(EINVAL);
    }
    info.count = kprobe.count();
    info.flags = kprobe.flags();
    info.missed = kprobe.missed();
    if addrs.is_null() {
        return Ok(());
    }
    let show = file.shows_addresses();
    for index in 0..room.min(kprobe.count()) {
        let at = u64::from(index).wrapping_mul(8);
        if !cookies.is_null() {
            cookies.add(at).write(&kprobe.cookie(index).to_ne_bytes())?;
        }
        let addr = if show { kprobe.addr(index) } else { 0 };
        addrs.add(at).write(&(addr as u64).to_ne_bytes())?;
    }
    if room < kprobe.count() {
        return Err(ENOSPC);
    }
    Ok(())
}
