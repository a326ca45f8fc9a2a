// SPDX-License-Identifier: GPL-2.0

//! Links libbpf, whose calls of syscall() come to `syscall.rs`.

fn main() {
    println!("cargo:rustc-link-lib=bpf");
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=syscall");
}
