// SPDX-License-Identifier: GPL-2.0

//! Where programs hook into the kernel.

pub(crate) mod kprobe;
pub(crate) mod layout;
pub(crate) mod tc;

use kernel::prelude::*;

/// Operation not supported on transport endpoint (95): this cannot be attached that way.
fn eopnotsupp() -> Error {
    Error::from_errno(-95)
}
