// SPDX-License-Identifier: GPL-2.0

//! The crate against the running kernel's own bpf(2), where that is permitted.

use oxbpf::{Bpf, Errno, MapSpec, MapType, ProgSpec, ProgType, Slot, TestRun};

fn permitted() -> bool {
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root
        || Bpf::in_tree()
            .map_create(&MapSpec::new(MapType::ARRAY, 4, 4, 1))
            .is_err()
    {
        eprintln!("bpf(2) is not permitted here: nothing compared");
        return false;
    }
    true
}

#[test]
fn map_round_trip() {
    if !permitted() {
        return;
    }
    let mut spec = MapSpec::new(MapType::HASH, 4, 8, 3);
    spec.name = "counts".to_string();
    let map = Bpf::in_tree().map_create(&spec).unwrap();
    for i in 0..3u32 {
        map.update(&i.to_ne_bytes(), &u64::from(i * 7).to_ne_bytes(), 0)
            .unwrap();
    }
    assert_eq!(map.update(&9u32.to_ne_bytes(), &[0; 8], 0), Err(Errno(7)));
    assert_eq!(map.lookup(&9u32.to_ne_bytes()), Err(Errno(2)));
    let mut all = map.entries().unwrap();
    all.sort();
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].1, 14u64.to_ne_bytes());
    let info = map.info().unwrap();
    assert_eq!(
        (info.ty, info.name.as_str(), info.max_entries),
        (1, "counts", 3)
    );
}

#[test]
fn load_log_and_run() {
    if !permitted() {
        return;
    }
    let exit: Slot = [0x95, 0, 0, 0, 0, 0, 0, 0];
    let mov: Slot = [0xb7, 0, 0, 0, 42, 0, 0, 0];
    let bpf = Bpf::in_tree();
    let insns = [mov, exit];
    let prog = bpf
        .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
        .unwrap();
    let run = prog
        .test_run(&TestRun {
            data_in: &[0; 64],
            ..TestRun::default()
        })
        .unwrap();
    assert_eq!(run.retval, 42);
    let info = prog.info().unwrap();
    assert_eq!(info.xlated.len(), 16);
    assert!(info.gpl_compatible);

    let bad = [exit];
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ProgType::SOCKET_FILTER, &bad)
    };
    let e = bpf.prog_load(&spec).err().unwrap();
    assert_eq!(e.errno, Errno(13));
    assert!(e.log.contains("R0 !read_ok"), "{}", e.log);
}
