// SPDX-License-Identifier: GPL-2.0

//! Prints instructions in the in-tree verifier's notation.
