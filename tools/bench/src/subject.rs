// SPDX-License-Identifier: GPL-2.0

//! Who is measured: an implementation of maps and programs.

use crate::cases::{create, image_bytes, load, time_of, Missing};
use crate::clock::{per_round, Runner};
use oxbpf::{Bpf, Map, MapSpec, Prog, ProgType, Slot};
use std::os::fd::{AsFd, AsRawFd};

/// An implementation.
pub trait Subject {
    /// Its name.
    fn name(&self) -> &str;

    /// A map, by whose descriptor programs name it.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn create(&self, spec: &MapSpec) -> Result<Map, Missing>;

    /// Sets a value, as user space does.
    ///
    /// # Errors
    ///
    /// Why it was not.
    fn update(&self, map: &Map, key: &[u8], value: &[u8]) -> Result<(), Missing>;

    /// A program.
    ///
    /// # Errors
    ///
    /// Why it was refused.
    fn load(&self, ty: ProgType, insns: &[Slot]) -> Result<Box<dyn Program>, Missing>;

    /// Ticks of loading a classifier once.
    ///
    /// # Errors
    ///
    /// Why it was refused.
    fn load_ticks(&self, insns: &[Slot]) -> Result<f64, Missing>;

    /// Its system calls.
    ///
    /// # Errors
    ///
    /// That it has none.
    fn bpf(&self) -> Result<&Bpf, Missing>;
}

/// A loaded program, with a packet to run on.
pub trait Program {
    /// Runs it `repeat` times; its last result.
    ///
    /// # Errors
    ///
    /// Why it did not run.
    fn run(&mut self, repeat: u32) -> Result<u32, String>;

    /// Bytes of machine code.
    fn image_bytes(&self) -> Option<usize>;

    /// Its descriptor.
    ///
    /// # Errors
    ///
    /// That it has none.
    fn fd(&self) -> Result<i32, Missing>;
}

impl dyn Program {
    /// Ticks of one run.
    ///
    /// # Errors
    ///
    /// Why it did not run.
    pub fn per_run(&mut self) -> Result<f64, String> {
        self.run(1)?;
        let mut failed = None;
        let figure = per_round(|n| {
            if let Err(e) = self.run(n) {
                failed = Some(e);
            }
        });
        failed.map_or(Ok(figure), Err)
    }
}

/// A kernel's program.
struct Loaded {
    prog: Prog,
    runner: Runner,
}

impl Program for Loaded {
    fn run(&mut self, repeat: u32) -> Result<u32, String> {
        self.runner.run(repeat)
    }

    fn image_bytes(&self) -> Option<usize> {
        image_bytes(&self.prog)
    }

    fn fd(&self) -> Result<i32, Missing> {
        Ok(self.prog.as_fd().as_raw_fd())
    }
}

impl Subject for Bpf {
    fn name(&self) -> &str {
        Bpf::name(self)
    }

    fn create(&self, spec: &MapSpec) -> Result<Map, Missing> {
        create(self, spec)
    }

    fn update(&self, map: &Map, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        map.update(key, value, 0)
            .map_err(|e| Missing::Failed(format!("update: {e}")))
    }

    fn load(&self, ty: ProgType, insns: &[Slot]) -> Result<Box<dyn Program>, Missing> {
        let prog = load(self, ty, insns)?;
        let runner = Runner::new(&prog);
        Ok(Box::new(Loaded { prog, runner }))
    }

    fn load_ticks(&self, insns: &[Slot]) -> Result<f64, Missing> {
        time_of(self, insns)
    }

    fn bpf(&self) -> Result<&Bpf, Missing> {
        Ok(self)
    }
}
