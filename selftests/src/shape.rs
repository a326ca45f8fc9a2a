// SPDX-License-Identifier: GPL-2.0

//! Where which kind of field is in a command's attr (`<linux/bpf.h>`).

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A descriptor.
    Fd,
    /// An object's id.
    Id,
    /// A number of bytes or of elements.
    Size,
    /// A type, or a set of flags.
    Word,
    /// The same, eight bytes.
    Long,
    /// The address of something to read.
    In,
    /// The address of something to write.
    Out,
    /// Sixteen bytes of a name.
    Name,
}

use Kind::{Fd, Id, In, Long, Name, Out, Size, Word};

/// A field: its first byte, and what it holds.
pub type Field = (usize, Kind);

const ELEM: &[Field] = &[(0, Fd), (8, In), (16, In), (24, Long)];
const GET: &[Field] = &[(0, Fd), (8, In), (16, Out), (24, Long)];
const BATCH: &[Field] = &[
    (0, In),
    (8, Out),
    (16, Out),
    (24, Out),
    (32, Size),
    (36, Fd),
    (40, Long),
    (48, Long),
];

const SHAPES: &[(u32, &[Field])] = &[
    (
        0, // MAP_CREATE
        &[
            (0, Word),
            (4, Size),
            (8, Size),
            (12, Size),
            (16, Word),
            (20, Fd),
            (24, Word),
            (28, Name),
            (44, Id),
            (48, Fd),
            (52, Id),
            (56, Id),
            (60, Id),
            (64, Long),
            (72, Fd),
            (76, Fd),
            (80, In),
            (88, Size),
        ],
    ),
    (1, GET),
    (2, ELEM),
    (3, &[(0, Fd), (8, In)]),
    (4, &[(0, Fd), (8, In), (16, Out)]),
    (
        5, // PROG_LOAD
        &[
            (0, Word),
            (4, Size),
            (8, In),
            (16, In),
            (24, Word),
            (28, Size),
            (32, Out),
            (40, Word),
            (44, Word),
            (48, Name),
            (64, Id),
            (68, Word),
            (72, Fd),
            (76, Size),
            (80, In),
            (88, Size),
            (92, Size),
            (96, In),
            (104, Size),
            (108, Id),
            (112, Fd),
            (116, Size),
            (120, In),
            (128, In),
            (136, Size),
            (140, Word),
            (144, Fd),
            (148, Size),
            (152, In),
            (160, Size),
            (164, Id),
        ],
    ),
    (6, &[(0, In), (8, Fd), (12, Word), (16, Fd)]), // OBJ_PIN
    (7, &[(0, In), (8, Fd), (12, Word), (16, Fd)]), // OBJ_GET
    (
        10, // PROG_TEST_RUN
        &[
            (0, Fd),
            (4, Word),
            (8, Size),
            (12, Size),
            (16, In),
            (24, Out),
            (32, Size),
            (36, Word),
            (40, Size),
            (44, Size),
            (48, In),
            (56, Out),
            (64, Word),
            (68, Word),
            (72, Size),
        ],
    ),
    (11, &[(0, Id), (4, Word)]),
    (12, &[(0, Id), (4, Word)]),
    (13, &[(0, Id)]),
    (14, &[(0, Id), (8, Word)]),
    (15, &[(0, Fd), (4, Size), (8, Out)]),
    (17, &[(0, In), (8, Fd), (16, Long)]), // RAW_TRACEPOINT_OPEN
    (
        18, // BTF_LOAD
        &[(0, In), (8, Out), (16, Size), (20, Size), (24, Word)],
    ),
    (19, &[(0, Id)]),
    (21, GET),
    (22, &[(0, Fd)]),
    (23, &[(0, Id), (4, Word)]),
    (24, BATCH),
    (25, BATCH),
    (26, BATCH),
    (27, BATCH),
    (
        28, // LINK_CREATE
        &[
            (0, Fd),
            (4, Fd),
            (8, Word),
            (12, Word),
            (16, Word),
            (20, Size),
            (24, In),
            (32, In),
            (40, In),
        ],
    ),
    (29, &[(0, Fd), (4, Fd), (8, Word), (12, Fd)]), // LINK_UPDATE
    (30, &[(0, Id)]),
    (31, &[(0, Id), (4, Word)]),
    (32, &[(0, Word)]),
    (33, &[(0, Fd), (4, Word)]),
    (34, &[(0, Fd)]),
    (35, &[(0, Fd), (4, Fd), (8, Word)]),
];

/// A command's fields; none when it is not known here.
pub fn fields(command: u32) -> &'static [Field] {
    SHAPES
        .iter()
        .find(|(number, _)| *number == command)
        .map_or(&[], |(_, fields)| fields)
}

#[cfg(test)]
mod tests {
    use super::fields;
    use crate::table;

    #[test]
    fn every_command_has_a_shape() {
        for row in table::rows() {
            let fields = fields(row.number);
            assert!(!fields.is_empty(), "{}: add it to SHAPES", row.name);
            assert!(fields.iter().all(|(at, _)| *at < row.end), "{}", row.name);
        }
    }
}
