// SPDX-License-Identifier: GPL-2.0

//! LPM_TRIE: values by prefixes of bits, found by the longest one that a key begins with.
//!
//! A binary trie without chains of single children. A node has a prefix, and what is below it
//! begins with that prefix; the bit after it chooses the child. Where two prefixes part, a node
//! without a value joins them (an intermediate one, as in-tree calls it), and always has two
//! children.
//!
//! A node's name is the number of its first word: from there to its child is a load and a shift.
//! Word 0 belongs to no node, so 0 names none.
//!
//! Writers hold the trie's lock. Readers hold nothing: nodes are used again at once, so a walk
//! counts only if the trie's version, which every removal changes, is the same afterwards.

use super::pool::Pool;
use super::spec::MapSpec;
use super::words::{self, words_of};
use super::Update;
use crate::sys::bytes::Bytes;
use crate::sys::maplock::{MapGuard, MapLock};
use crate::sys::region::Region;
use core::hint::spin_loop;
use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering::*};
use kernel::prelude::*;

/// Bytes of a key before its data: the prefix length.
const HEAD: usize = 4;
/// Walks without the lock before it is taken.
const WALKS: u32 = 64;
/// Walks without the lock where it cannot be taken.
const MORE_WALKS: u32 = 1 << 16;
/// In a node's second word, above the prefix length: the node has no value.
const JOINT: u64 = 1 << 32;
/// Words of a node before its data: the children's names and the prefix length.
const NODE: usize = 2;
/// With the data's first one.
const HEADED: usize = NODE + 1;

/// A trie.
pub(super) struct Lpm {
    lock: MapLock,
    /// The top node; 0 in an empty trie.
    root: AtomicU32,
    /// Counts removals.
    version: AtomicU32,
    /// Values.
    len: AtomicU32,
    nodes: Region<AtomicU64>,
    /// Twice as many nodes as entries: each but one may need a joint.
    pool: Pool,
    stride: usize,
    data_words: usize,
    /// Bits of the longest prefix.
    max_bits: u32,
    entries: u32,
}

/// A prefix: of a key, or of a node.
#[derive(Clone, Copy)]
struct Prefix<F> {
    bits: u32,
    /// The data's words, by number, the first bit being the top one.
    word: F,
}

impl<F: Fn(usize) -> u64> Prefix<F> {
    /// Bit `i` of the data.
    #[inline(always)]
    fn bit(&self, i: u32) -> bool {
        let word = (self.word)((i / 64) as usize);
        word.wrapping_shl(i % 64) >> 63 != 0
    }
}

/// A node's words.
#[derive(Clone, Copy)]
struct Node<'a> {
    words: &'a [AtomicU64],
    data_words: usize,
}

impl<'a> Node<'a> {
    #[inline(always)]
    fn load(self, i: usize) -> u64 {
        self.words.get(i).map_or(0, |w| w.load(Acquire))
    }

    fn store(self, i: usize, value: u64) {
        if let Some(w) = self.words.get(i) {
            w.store(value, Release);
        }
    }

    /// The child on that side.
    #[inline(always)]
    fn child(self, side: bool) -> Option<u32> {
        let both = self.load(0);
        some(if side { both >> 32 } else { both } as u32)
    }

    /// Makes `child` the child on that side; 0 for none.
    fn set_child(self, side: bool, child: u32) {
        let both = self.load(0);
        let new = match side {
            true => (both & 0xffff_ffff) | (u64::from(child) << 32),
            false => (both & !0xffff_ffff) | u64::from(child),
        };
        self.store(0, new);
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.load(1) as u32
    }

    fn is_joint(self) -> bool {
        self.load(1) & JOINT != 0
    }

    fn data(self) -> Option<&'a [AtomicU64]> {
        self.words.get(NODE..NODE.checked_add(self.data_words)?)
    }

    #[inline(always)]
    fn prefix(self) -> Prefix<impl Fn(usize) -> u64 + 'a> {
        let word = move |i: usize| {
            let w = self.words.get(NODE.wrapping_add(i));
            u64::from_be(w.map_or(0, |w| w.load(Relaxed)))
        };
        Prefix {
            bits: self.bits(),
            word,
        }
    }

    fn value(self) -> Option<&'a [AtomicU64]> {
        self.words.get(NODE.checked_add(self.data_words)?..)
    }

    /// How many bits the prefixes have in common.
    #[inline(always)]
    fn common<F: Fn(usize) -> u64>(self, key: &Prefix<F>) -> u32 {
        let mine = self.prefix();
        let limit = mine.bits.min(key.bits);
        let mut at: u32 = 0;
        for i in 0..self.data_words {
            let diff = (mine.word)(i) ^ (key.word)(i);
            at = at.wrapping_add(diff.leading_zeros());
            if diff != 0 || at >= limit {
                break;
            }
        }
        at.min(limit)
    }
}

/// A node's name, if it is one.
#[inline(always)]
fn some(name: u32) -> Option<u32> {
    (name != 0).then_some(name)
}

/// Where a node hangs.
#[derive(Clone, Copy)]
enum Slot {
    Root,
    Child(u32, bool),
}

impl Lpm {
    /// An empty trie.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let data = (spec.key_size as usize).checked_sub(HEAD).ok_or(EINVAL)?;
        let data_words = words_of(data);
        let stride = words_of(spec.value_size as usize)
            .checked_add(data_words)
            .ok_or(ENOMEM)?;
        let stride = stride.checked_add(NODE).ok_or(ENOMEM)?;
        let nodes = spec.max_entries.checked_mul(2).ok_or(ENOMEM)?;
        let pool = Pool::new(nodes, spec.node())?;
        let words = pool.len().checked_mul(stride).ok_or(ENOMEM)?;
        let words = words.checked_add(1).ok_or(ENOMEM)?;
        // Names have 32 bits.
        u32::try_from(words).map_err(|_| ENOMEM)?;
        Ok(Lpm {
            lock: MapLock::default(),
            root: AtomicU32::new(0),
            version: AtomicU32::new(0),
            len: AtomicU32::new(0),
            nodes: Region::new(words, spec.node())?,
            pool,
            stride,
            data_words,
            max_bits: u32::try_from(data)
                .ok()
                .and_then(|d| d.checked_mul(8))
                .ok_or(EINVAL)?,
            entries: spec.max_entries,
        })
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes().saturating_add(self.pool.bytes())
    }

    /// The name of the node that the pool calls `i`.
    fn name(&self, i: u32) -> u32 {
        let off = (i as usize).wrapping_mul(self.stride);
        off.wrapping_add(1) as u32
    }

    /// Gives the node back.
    fn give(&self, cpu: usize, node: u32) {
        if let Some(i) = self.index(node) {
            self.pool.give(cpu, i);
        }
    }

    /// What the pool calls the node.
    fn index(&self, node: u32) -> Option<u32> {
        let off = (node as usize).checked_sub(1)?;
        u32::try_from(off.checked_div(self.stride)?).ok()
    }

    #[inline(always)]
    fn node(&self, name: u32) -> Option<Node<'_>> {
        let off = name as usize;
        let words = self.nodes.get(off..off.checked_add(self.stride)?)?;
        Some(Node {
            words,
            data_words: self.data_words,
        })
    }

    /// The key as a prefix; none when it is longer than the data.
    #[inline(always)]
    fn prefix<'a>(&self, key: Bytes<'a>) -> Option<Prefix<impl Fn(usize) -> u64 + 'a>> {
        let bits = key.u32(0).filter(|b| *b <= self.max_bits)?;
        let data = key.part(HEAD, key.len().checked_sub(HEAD)?)?;
        Some(Prefix {
            bits,
            word: move |i: usize| u64::from_be(words::word(data, i)),
        })
    }

    fn version(&self) -> u32 {
        self.version.load(Acquire)
    }

    fn unchanged_since(&self, version: u32) -> bool {
        fence(Acquire);
        self.version.load(Relaxed) == version
    }

    /// Nodes were taken out.
    fn took_out(&self) {
        self.version
            .store(self.version.load(Relaxed).wrapping_add(1), Release);
    }

    /// The node with a value whose prefix is the longest that `key` begins with. A walk that meets
    /// a node which is used again may find anything, but ends: prefixes get longer.
    #[inline]
    fn walk<F: Fn(usize) -> u64>(&self, key: &Prefix<F>) -> Option<Node<'_>> {
        let mut found = None;
        let mut next = some(self.root.load(Acquire));
        let mut least = 0;
        while let Some(node) = next.and_then(|n| self.node(n)) {
            let bits = node.bits();
            if bits < least || bits > self.max_bits || node.common(key) < bits {
                break;
            }
            if !node.is_joint() {
                found = Some(node);
            }
            if bits == self.max_bits {
                break;
            }
            least = bits.wrapping_add(1);
            next = node.child(key.bit(bits));
        }
        found
    }

    /// [`Lpm::walk`] where the data is one word.
    #[inline]
    fn walk_word(&self, key_bits: u32, key: u64) -> Option<Node<'_>> {
        let most = self.max_bits.min(key_bits);
        // All is different behind the bits that count.
        let end = (1_u64 << 63).checked_shr(most).unwrap_or(0);
        let mut found: u32 = 0;
        let mut next = self.root.load(Acquire);
        let mut least = 0;
        while next != 0 {
            let at = next as usize;
            let words = self.nodes.get(at..at.wrapping_add(HEADED));
            let Some([children, head, data]) = words.and_then(|w| w.first_chunk()) else {
                break;
            };
            let head = head.load(Acquire);
            let bits = head as u32;
            let differ = (u64::from_be(data.load(Relaxed)) ^ key) | end;
            if bits < least || differ.leading_zeros() < bits {
                break;
            }
            if head & JOINT == 0 {
                found = next;
            }
            least = bits.wrapping_add(1);
            let side = key.wrapping_shl(bits) >> 63;
            next = (children.load(Acquire) >> (side << 5)) as u32;
        }
        self.node(some(found)?)
    }

    /// The node that `key` finds, as `use_it` sees it while it is in the trie.
    #[inline]
    fn find<T>(&self, key: Bytes<'_>, mut use_it: impl FnMut(Node<'_>) -> T) -> Result<Option<T>> {
        let Some(prefix) = self.prefix(key) else {
            return Ok(None);
        };
        let first = (prefix.word)(0);
        for walk in 0..MORE_WALKS {
            let version = self.version();
            let got = match self.data_words {
                1 => self.walk_word(prefix.bits, first),
                _ => self.walk(&prefix),
            };
            let got = got.map(&mut use_it);
            if self.unchanged_since(version) {
                return Ok(got);
            }
            if walk >= WALKS {
                if let Ok(_guard) = self.lock.lock() {
                    return Ok(self.walk(&prefix).map(use_it));
                }
            }
            spin_loop();
        }
        Err(EBUSY)
    }

    /// Address of the value that `key` finds; 0 for none.
    #[inline]
    pub(super) fn lookup_addr(&self, key: Bytes<'_>) -> usize {
        let addr = |n: Node<'_>| n.value().map_or(0, |v| v.as_ptr() as usize);
        self.find(key, addr).ok().flatten().unwrap_or(0)
    }

    /// Copies the value that `key` finds.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EBUSY` when others were always faster.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8]) -> Result {
        let copy = |n: Node<'_>| words::load(n.value().unwrap_or(&[]), out);
        self.find(key, copy)?.ok_or(ENOENT)
    }

    fn get(&self, slot: Slot) -> Option<u32> {
        match slot {
            Slot::Root => some(self.root.load(Acquire)),
            Slot::Child(parent, side) => self.node(parent)?.child(side),
        }
    }

    /// Hangs a node there, or, with 0, none.
    fn set(&self, slot: Slot, node: u32) {
        match slot {
            Slot::Root => self.root.store(node, Release),
            Slot::Child(parent, side) => {
                if let Some(p) = self.node(parent) {
                    p.set_child(side, node);
                }
            }
        }
    }

    /// Goes down to where `key` is or would be: the slots of its parent and of itself, the node
    /// that hangs there, and how many bits that has in common. The lock is held.
    fn locate<F: Fn(usize) -> u64>(&self, key: &Prefix<F>) -> (Slot, Slot, Option<(u32, u32)>) {
        let (mut above, mut slot) = (Slot::Root, Slot::Root);
        while let Some(i) = self.get(slot) {
            let Some(node) = self.node(i) else { break };
            let common = node.common(key);
            let bits = node.bits();
            if common != bits || bits == key.bits {
                return (above, slot, Some((i, common)));
            }
            above = slot;
            slot = Slot::Child(i, key.bit(bits));
        }
        (above, slot, None)
    }

    /// Whether a new value may be added.
    fn may_add(&self, how: Update) -> Result {
        how.allows(false)?;
        match self.len.load(Relaxed) >= self.entries {
            true => Err(ENOSPC),
            false => Ok(()),
        }
    }

    /// Sets the value of a prefix.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a prefix that is longer than the data; `EEXIST`, `ENOENT` as `how` wants;
    /// `ENOSPC` when the map is full; `EBUSY` inside another map operation on this CPU.
    pub(super) fn update(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update) -> Result {
        let bits = self.prefix(key).ok_or(EINVAL)?.bits;
        let guard = self.lock.lock()?;
        let cpu = guard.cpu();
        // The spare node gets everything first, so that the key is read once.
        let name = self.name(self.pool.spare(cpu).ok_or(ENOMEM)?);
        let new = self.node(name).ok_or(ENOMEM)?;
        let data = key.part(HEAD, key.len().wrapping_sub(HEAD)).ok_or(EINVAL)?;
        // A reader that sees any of this in a node it came to before sees the version change.
        fence(Release);
        new.store(0, 0);
        new.store(1, bits.into());
        words::store(new.data().ok_or(ENOMEM)?, data);
        words::store(new.value().ok_or(ENOMEM)?, value);
        let prefix = new.prefix();
        let (_, slot, at) = self.locate(&prefix);
        let Some((there, common)) = at else {
            self.may_add(how)?;
            self.set_spare(&guard)?;
            self.set(slot, name);
            self.add();
            return Ok(());
        };
        let node = self.node(there).ok_or(ENOMEM)?;
        if common == node.bits() {
            // The same prefix: the new node takes the old one's place and children.
            match node.is_joint() {
                true => {
                    self.may_add(how)?;
                    self.add();
                }
                false => how.allows(true)?,
            }
            let old = self.index(there).ok_or(ENOMEM)?;
            new.store(0, node.load(0));
            self.set(slot, name);
            self.took_out();
            self.pool.set_spare(cpu, old);
            return Ok(());
        }
        self.may_add(how)?;
        if common == bits {
            // The new prefix is the beginning of the one there.
            self.set_spare(&guard)?;
            new.set_child(node.prefix().bit(common), there);
            self.set(slot, name);
            self.add();
            return Ok(());
        }
        let joint = self.name(self.pool.take(cpu).ok_or(ENOMEM)?);
        if let Err(e) = self.set_spare(&guard) {
            self.give(cpu, joint);
            return Err(e);
        }
        if let Some(j) = self.node(joint) {
            let side = prefix.bit(common);
            j.store(0, 0);
            j.store(1, u64::from(common) | JOINT);
            for (to, from) in j
                .data()
                .unwrap_or(&[])
                .iter()
                .zip(node.data().unwrap_or(&[]))
            {
                to.store(from.load(Relaxed), Relaxed);
            }
            j.set_child(side, name);
            j.set_child(!side, there);
        }
        self.set(slot, joint);
        self.add();
        Ok(())
    }

    /// The spare node is about to be used: takes another one for that.
    fn set_spare(&self, guard: &MapGuard<'_>) -> Result {
        let e = self.pool.take(guard.cpu()).ok_or(ENOMEM)?;
        self.pool.set_spare(guard.cpu(), e);
        Ok(())
    }

    fn add(&self) {
        self.len
            .store(self.len.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Removes a prefix.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a prefix that is longer than the data; `ENOENT` when it is not there; `EBUSY`
    /// inside another map operation on this CPU.
    pub(super) fn delete(&self, key: Bytes<'_>) -> Result {
        let prefix = self.prefix(key).ok_or(EINVAL)?;
        let guard = self.lock.lock()?;
        let (above, slot, at) = self.locate(&prefix);
        let (there, common) = at.ok_or(ENOENT)?;
        let node = self.node(there).ok_or(ENOENT)?;
        if node.bits() != prefix.bits || common != prefix.bits || node.is_joint() {
            return Err(ENOENT);
        }
        self.len
            .store(self.len.load(Relaxed).wrapping_sub(1), Relaxed);
        let (left, right) = (node.child(false), node.child(true));
        if left.is_some() && right.is_some() {
            node.store(1, node.load(1) | JOINT);
            return Ok(());
        }
        // A joint above a leaf that goes has one child left, which takes its place.
        if let (Slot::Child(p, side), None, None) = (slot, left, right) {
            if let Some(parent) = self.node(p).filter(|n| n.is_joint()) {
                let other = parent.child(!side).unwrap_or(0);
                self.set(above, other);
                self.took_out();
                self.give(guard.cpu(), there);
                self.give(guard.cpu(), p);
                return Ok(());
            }
        }
        self.set(slot, left.or(right).unwrap_or(0));
        self.took_out();
        self.give(guard.cpu(), there);
        Ok(())
    }

    /// The prefix after `key`, longer ones before those that they begin with; the first one without
    /// a key, or when it is not there.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last one; `EBUSY` inside another map operation on this CPU.
    pub(super) fn next_key(&self, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
        let _guard = self.lock.lock()?;
        let root = self.get(Slot::Root).ok_or(ENOENT)?;
        let next = match key.and_then(|k| self.after(&self.prefix(k)?)) {
            Some(next) => next.ok_or(ENOENT)?,
            None => self.first_below(root),
        };
        let node = self.node(next).ok_or(ENOENT)?;
        if let Some((bits, data)) = out.split_first_chunk_mut::<HEAD>() {
            *bits = node.bits().to_ne_bytes();
            words::load(node.data().ok_or(ENOENT)?, data);
        }
        Ok(())
    }

    /// The node that comes first at or below node `i`: a leaf.
    fn first_below(&self, mut i: u32) -> u32 {
        while let Some(c) = self.node(i).and_then(|n| n.child(false).or(n.child(true))) {
            i = c;
        }
        i
    }

    /// The node after `key`'s, or none after the last; none at all when `key` is not there.
    fn after<F: Fn(usize) -> u64>(&self, key: &Prefix<F>) -> Option<Option<u32>> {
        // What comes next is decided by the lowest node above that has something left: the other
        // side, or its own value.
        let mut next = None;
        let mut at = self.get(Slot::Root)?;
        loop {
            let node = self.node(at)?;
            let bits = node.bits();
            if node.common(key) != bits {
                return None;
            }
            if bits == key.bits {
                return (!node.is_joint()).then_some(next);
            }
            let side = key.bit(bits);
            match node.child(true) {
                Some(other) if !side => next = Some(self.first_below(other)),
                _ if !node.is_joint() => next = Some(at),
                _ => {}
            }
            at = node.child(side)?;
        }
    }
}
