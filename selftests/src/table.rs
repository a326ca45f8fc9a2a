// SPDX-License-Identifier: GPL-2.0

//! The module's table of commands, read from its source, so that no test forgets a command.

/// Where the table is.
const SOURCE: &str = include_str!("../../rust/command.rs");

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number (`enum bpf_cmd`).
    pub number: u32,
    /// Name, without `BPF_`.
    pub name: &'static str,
    /// Byte of the attr at which its last field ends.
    pub end: usize,
}

/// The rows, in the table's order.
pub fn rows() -> Vec<Row> {
    SOURCE
        .lines()
        .skip_while(|line| !line.starts_with("commands! {"))
        .skip(1)
        .take_while(|line| !line.starts_with('}'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Row {
                number: words.next()?.parse().ok()?,
                name: words.next()?,
                end: words.next()?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{rows, Row};

    #[test]
    fn reads_the_table() {
        let rows = rows();
        let want = Row {
            number: 0,
            name: "MAP_CREATE",
            end: 92,
        };
        assert_eq!(rows.first(), Some(&want));
        assert!(rows.len() >= 17, "{rows:?}");
        assert!(rows.windows(2).all(|w| w[0].number < w[1].number));
    }
}
