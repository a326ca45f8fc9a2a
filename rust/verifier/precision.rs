// SPDX-License-Identifier: GPL-2.0

//! Precision: which numbers of a checkpoint a proof relied on.
//!
//! When exploration comes to an instruction again it compares the current state with the
//! checkpoints made there before. A number of the checkpoint that no decision behind it relied on
//! may have any value now; the others must still be within the range that was proved safe.
//!
//! Every number therefore carries a [`Node`] of a graph "was computed from". A checkpoint gives a
//! node of its own to each number that it holds, and whatever is computed afterwards refers to the
//! nodes of its operands. Wherever the verifier takes a decision because of a number's value (a
//! branch with one possible side, an offset added to a pointer, a size passed to a helper, ...)
//! it calls [`Nodes::mark`], which marks the node and all it was computed from.
//!
//! Why this is sound. Let C be a checkpoint whose continuations have all been explored, and S a
//! current state that differs from C only in numbers whose nodes in C are unmarked (and is
//! contained in C elsewhere). Run any concrete continuation of S. It takes the same decisions as
//! some explored continuation of C as long as each decision depends on marked numbers only, which
//! S shares; where a conditional jump depends on unmarked numbers, both its sides were explored
//! (one side only is a decision, and marks). The values that differ are in registers whose nodes
//! descend from unmarked ones, and any decision on them would have marked those. So what was
//! proved of C's continuations holds for those of S. Refinement by a branch makes nodes that
//! descend from both compared numbers, and what a linked number learns descends from both of the
//! two linked ones; that covers facts that hold only because of another number's value.
//!
//! Marks only move from a node to those it was computed from, each node is marked once, and so all
//! marking together costs no more than the graph's size. Nothing is walked backwards and no
//! history of jumps is kept. Numbers between two checkpoints need no nodes of their own: a number
//! with at most one operand that has a node shares it, because marking the one is marking the
//! other.

use kernel::prelude::*;

/// A place in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(u32);

impl Node {
    /// Computed from nothing that any checkpoint holds.
    pub(crate) const NONE: Node = Node(0);
}

/// Flag in `Entry::a`: marked.
const MARKED: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Entry {
    a: u32,
    b: u32,
}

/// The graph.
#[derive(Default)]
pub(crate) struct Nodes {
    entries: KVVec<Entry>,
    work: KVec<u32>,
}

impl Nodes {
    fn add(&mut self, a: Node, b: Node) -> Result<Node> {
        if self.entries.is_empty() {
            self.entries.push(Entry { a: 0, b: 0 }, GFP_KERNEL)?;
        }
        let id = u32::try_from(self.entries.len()).map_err(|_| ENOMEM)?;
        if id & MARKED != 0 {
            return Err(ENOMEM);
        }
        self.entries.push(Entry { a: a.0, b: b.0 }, GFP_KERNEL)?;
        Ok(Node(id))
    }

    /// The node of a number computed from two others.
    pub(crate) fn join(&mut self, a: Node, b: Node) -> Result<Node> {
        if a == Node::NONE || a == b {
            return Ok(b);
        }
        if b == Node::NONE {
            return Ok(a);
        }
        self.add(a, b)
    }

    /// A node of its own for a number that a checkpoint takes in.
    pub(crate) fn checkpoint(&mut self, n: Node) -> Result<Node> {
        self.add(n, Node::NONE)
    }

    /// A decision relied on the number.
    pub(crate) fn mark(&mut self, n: Node) -> Result {
        self.work.clear();
        let mut next = n.0;
        loop {
            if let Some(e) = self.entries.get_mut(next as usize) {
                if next != 0 && e.a & MARKED == 0 {
                    let (a, b) = (e.a, e.b);
                    e.a |= MARKED;
                    if b != 0 {
                        self.work.push(b, GFP_KERNEL)?;
                    }
                    if a != 0 {
                        next = a;
                        continue;
                    }
                }
            }
            match self.work.pop() {
                Some(n) => next = n,
                None => return Ok(()),
            }
        }
    }

    /// Some decision relied on the number.
    pub(crate) fn is_marked(&self, n: Node) -> bool {
        self.entries
            .get(n.0 as usize)
            .is_some_and(|e| e.a & MARKED != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_ancestors_only() {
        let mut n = Nodes::default();
        let a = n.checkpoint(Node::NONE).unwrap();
        let b = n.checkpoint(Node::NONE).unwrap();
        let c = n.checkpoint(Node::NONE).unwrap();
        let ab = n.join(a, b).unwrap();
        let d = n.checkpoint(ab).unwrap();
        assert_eq!(n.join(Node::NONE, c).unwrap(), c);
        n.mark(ab).unwrap();
        assert!(n.is_marked(a) && n.is_marked(b) && n.is_marked(ab));
        assert!(!n.is_marked(c) && !n.is_marked(d) && !n.is_marked(Node::NONE));
        n.mark(Node::NONE).unwrap();
        assert!(!n.is_marked(Node::NONE));
    }
}
