// SPDX-License-Identifier: GPL-2.0

//! The unsafe edge: one safe abstraction per kernel facility, nothing above it is unsafe.

pub(crate) mod anon;
// What a body takes is read in constants, which the lint does not see.
#[allow(dead_code)]
pub(crate) mod area;
pub(crate) mod args;
pub(crate) mod bindings;
pub(crate) mod bytes;
pub(crate) mod callchain;
pub(crate) mod cgroup;
pub(crate) mod chardev;
pub(crate) mod context;
pub(crate) mod cpu;
pub(crate) mod cpus;
pub(crate) mod cred;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod hash;
pub(crate) mod hook;
// The handler is kept for the C side.
#[allow(dead_code)]
pub(crate) mod kprobe;
pub(crate) mod ksym;
pub(crate) mod layout;
// Nested locks are for maps to come.
#[allow(dead_code)]
pub(crate) mod maplock;
pub(crate) mod module;
pub(crate) mod nofault;
pub(crate) mod packet;
pub(crate) mod params;
pub(crate) mod perf;
pub(crate) mod perf_map;
pub(crate) mod pinfs;
pub(crate) mod printk;
pub(crate) mod random;
pub(crate) mod region;
pub(crate) mod ring;

pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod skb;
pub(crate) mod symbols;
pub(crate) mod task;
pub(crate) mod tc;
pub(crate) mod testrun;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod tracepoint;
pub(crate) mod user;
pub(crate) mod vma;
pub(crate) mod xdp;
