// SPDX-License-Identifier: GPL-2.0

//! ENABLE_STATS: runs of programs are counted as long as its descriptor is open.

use super::Attr;
use crate::prog::stats::Wanted;
use crate::sys::anon::{self, Mode};
use kernel::prelude::*;

/// Fields of ENABLE_STATS.
#[repr(C)]
#[derive(FromBytes)]
struct StatsAttr {
    ty: u32,
}

/// `BPF_STATS_RUN_TIME`
const RUN_TIME: u32 = 0;

/// ENABLE_STATS
pub(super) fn enable(attr: &Attr) -> Result<i32> {
    let a: StatsAttr = attr.view()?;
    if a.ty != RUN_TIME {
        return Err(EINVAL);
    }
    anon::install(Wanted::new(), Mode::ReadOnly)
}
