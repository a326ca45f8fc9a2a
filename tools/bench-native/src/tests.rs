// SPDX-License-Identifier: GPL-2.0

//! What is timed does the same on both sides: every program gives the kernel's result.

use crate::ours::Native;
use oxbpf::{Bpf, Map, MapSpec, ProgType, Slot};
use oxbpf_bench::cases::{self, Missing};
use oxbpf_bench::subject::{Program, Subject};
use std::cell::Cell;
use std::rc::Rc;

/// Both at once.
struct Both {
    in_tree: Bpf,
    ours: Native,
    compared: Rc<Cell<u32>>,
}

struct BothPrograms {
    programs: [Box<dyn Program>; 2],
    compared: Rc<Cell<u32>>,
}

impl Program for BothPrograms {
    fn run(&mut self, repeat: u32) -> Result<u32, String> {
        let [in_tree, ours] = &mut self.programs;
        let (in_tree, ours) = (in_tree.run(repeat)?, ours.run(repeat)?);
        self.compared.set(self.compared.get() + 1);
        match in_tree == ours {
            true => Ok(ours),
            false => Err(format!("in-tree {in_tree:#x}, oxbpf {ours:#x}")),
        }
    }

    fn image_bytes(&self) -> Option<usize> {
        None
    }

    fn fd(&self) -> Result<i32, Missing> {
        self.programs[1].fd()
    }
}

impl Subject for Both {
    fn name(&self) -> &str {
        "both"
    }

    fn create(&self, spec: &MapSpec) -> Result<Map, Missing> {
        let map = self.in_tree.create(spec)?;
        self.ours.adopt(&map, spec)?;
        Ok(map)
    }

    fn update(&self, map: &Map, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        self.in_tree.update(map, key, value)?;
        self.ours.update(map, key, value)
    }

    fn load(&self, ty: ProgType, insns: &[Slot]) -> Result<Box<dyn Program>, Missing> {
        let programs = [self.in_tree.load(ty, insns)?, self.ours.load(ty, insns)?];
        let compared = self.compared.clone();
        Ok(Box::new(BothPrograms { programs, compared }))
    }

    fn load_ticks(&self, insns: &[Slot]) -> Result<f64, Missing> {
        self.ours.load_ticks(insns)
    }

    fn bpf(&self) -> Result<&Bpf, Missing> {
        self.ours.bpf()
    }
}

#[test]
fn programs_give_the_kernels_results() {
    let in_tree = Bpf::in_tree();
    if in_tree
        .map_create(&MapSpec::new(oxbpf::MapType::ARRAY, 4, 8, 1))
        .is_err()
    {
        eprintln!("bpf(2) is not permitted here: nothing compared");
        return;
    }
    // Values of each CPU are those of the one that wrote them.
    let _stay = oxbpf::cpu::here().expect("a CPU to stay on");
    let both = Both {
        in_tree,
        ours: Native::default(),
        compared: Rc::default(),
    };
    for case in cases::programs() {
        // Rightly different: the processor's number. And what only takes long.
        let other = case.name == "helper get_smp_processor_id" || case.name.ends_with("1M");
        if other || case.slow || case.group == "PROG_LOAD" {
            continue;
        }
        match (case.run)(&both) {
            Ok(_) | Err(Missing::Unsupported(_)) => {}
            Err(Missing::Failed(why)) => panic!("{}/{}: {why}", case.group, case.name),
        }
    }
    assert!(both.compared.get() > 500, "{} runs", both.compared.get());
}
