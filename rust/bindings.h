/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel headers whose declarations bindgen turns into Rust for rust/sys. Which declarations
 * are taken is listed in rust/bindgen_parameters.
 */

#include <linux/bpf.h>
#include <linux/kprobes.h>
#include <linux/ptrace.h>
