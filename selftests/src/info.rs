// SPDX-License-Identifier: GPL-2.0

//! OBJ_GET_INFO_BY_FD.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot};

fn map(b: &Bpf) -> Map {
    let mut spec = MapSpec::new(MapType::HASH, 4, 12, 7);
    spec.name = "info.test_1".to_string();
    b.map_create(&spec).unwrap()
}

fn insns(map: &Map) -> Vec<Slot> {
    let mut insns = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
    insns.extend(ld_map(1, map));
    insns.extend([call(1), raw(0x15, 0, 0, 1, 0), mov(0, 1), exit()]);
    insns
}

fn prog(b: &Bpf, map: &Map) -> Prog {
    let insns = insns(map);
    let spec = ProgSpec {
        name: "info_test",
        ..ProgSpec::new(ProgType::SOCKET_FILTER, &insns)
    };
    b.prog_load(&spec).unwrap()
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("map: all but the id", || {
        both.same(|b| {
            map(b).info().map(|mut i| {
                assert_ne!(i.id, 0);
                i.id = 0;
                i
            })
        })
        .map(|_| ())
    });
    s.test("map ids differ and grow", || {
        let (a, b) = (
            map(&both.ours).info().unwrap().id,
            map(&both.ours).info().unwrap().id,
        );
        if b > a {
            Ok(())
        } else {
            Err(format!("{a}, then {b}"))
        }
    });
    s.test("program: type, name, license, tag", || {
        both.same(|b| {
            let m = map(b);
            let i = prog(b, &m).info().unwrap();
            assert_eq!(i.map_ids, [m.info().unwrap().id]);
            assert_ne!(i.id, 0);
            assert_ne!(i.load_time, 0);
            (i.ty, i.name, i.gpl_compatible, i.tag)
        })
        .map(|_| ())
    });
    s.test("program: license that is not the GPL's", || {
        both.same(|b| {
            let insns = [mov(0, 0), exit()];
            let spec = ProgSpec {
                license: "Proprietary",
                ..ProgSpec::new(ProgType::SOCKET_FILTER, &insns)
            };
            b.prog_load(&spec).unwrap().info().unwrap().gpl_compatible
        })
        .map(|_| ())
    });
    s.test("program: translated instructions", || {
        let m = map(&both.ours);
        let p = prog(&both.ours, &m).info().unwrap();
        let last: Vec<u8> = [mov(0, 1), exit()].concat();
        if p.xlated.len() % 8 == 0 && p.xlated.ends_with(&last) {
            Ok(())
        } else {
            Err(format!("{:02x?}", p.xlated))
        }
    });
    s.test("program: machine code, when it is compiled", || {
        let m = map(&both.ours);
        let p = prog(&both.ours, &m).info().unwrap();
        let jit = std::fs::read_to_string("/sys/module/oxbpf/parameters/jit").unwrap_or_default();
        let off = matches!(jit.trim(), "0" | "off");
        if off == p.jited.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "parameter jit is {}, {} bytes of code",
                jit.trim(),
                p.jited.len()
            ))
        }
    });
}
