// SPDX-License-Identifier: GPL-2.0

//! The unsafe edge: one safe abstraction per kernel facility, nothing above it is unsafe.

// Until the commands that use all of it are there.
#![allow(dead_code)]

pub(crate) mod anon;
pub(crate) mod args;
pub(crate) mod bindings;
pub(crate) mod bytes;
pub(crate) mod chardev;
pub(crate) mod context;
pub(crate) mod cpu;
pub(crate) mod cpus;
pub(crate) mod cred;
pub(crate) mod exec;
pub(crate) mod hash;
pub(crate) mod kprobe;
pub(crate) mod layout;
pub(crate) mod maplock;
pub(crate) mod module;
pub(crate) mod nofault;
pub(crate) mod params;
pub(crate) mod printk;
pub(crate) mod random;
pub(crate) mod region;

pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod skb;
pub(crate) mod symbols;
pub(crate) mod task;
pub(crate) mod testrun;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod user;
