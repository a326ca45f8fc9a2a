// SPDX-License-Identifier: GPL-2.0

//! Encodes instructions back to slots.
