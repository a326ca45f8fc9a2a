// SPDX-License-Identifier: GPL-2.0

//! Decodes instruction slots to [`super::Insn`]s.
