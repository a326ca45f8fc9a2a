// SPDX-License-Identifier: GPL-2.0

//! Error numbers that bpf(2) uses and the kernel crate has no name for.

use kernel::prelude::*;

/// File descriptor in bad state (77): what OBJ_GET_INFO_BY_FD says for a closed one.
pub(crate) fn ebadfd() -> Error {
    Error::from_errno(-77)
}

/// Operation not supported on transport endpoint (95).
pub(crate) fn eopnotsupp() -> Error {
    Error::from_errno(-95)
}

/// Protocol error (71): an index into an `fd_array` that was not given.
pub(crate) fn eproto() -> Error {
    Error::from_errno(-71)
}

/// Bad message (74): the program of a test run broke the packet's checksum.
pub(crate) fn ebadmsg() -> Error {
    Error::from_errno(-74)
}
