// SPDX-License-Identifier: GPL-2.0

//! The just-in-time compiler: verified code to x86-64 machine code.
