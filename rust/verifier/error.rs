// SPDX-License-Identifier: GPL-2.0

//! How a pass refuses a program: one log line and an errno.

/// Writes a line to the log and makes the errno an error: `refuse!(log, EACCES, "R{} !read_ok", n)`.
macro_rules! refuse {
    ($log:expr, $errno:expr, $($text:tt)+) => {{
        $log.line(format_args!($($text)+));
        Err($errno)
    }};
}

pub(crate) use refuse;
