// SPDX-License-Identifier: GPL-2.0

//! Where programs hook into the kernel.

// Until the commands that use all of it are there.
#![allow(dead_code)]

pub(crate) mod layout;
