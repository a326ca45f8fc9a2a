// SPDX-License-Identifier: GPL-2.0

//! Abstract domains for numbers.
