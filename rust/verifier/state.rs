// SPDX-License-Identifier: GPL-2.0

//! The abstract machine state at one point of one path.

pub(crate) mod frame;
pub(crate) mod refs;
pub(crate) mod reg;
pub(crate) mod stack;

use frame::Frame;
use kernel::prelude::*;
use refs::{Lock, Refs};
use reg::{Regs, Val};

/// All call frames.
#[derive(Debug)]
pub(crate) struct State {
    /// The frames that wait for a return, the main program's first.
    pub(crate) callers: KVec<KBox<Frame>>,
    /// The running frame.
    pub(crate) top: KBox<Frame>,
    /// What the program holds and must give back.
    pub(crate) refs: Refs,
    /// The spin lock that it holds.
    pub(crate) lock: Option<Lock>,
    /// How many callbacks were entered on the way.
    pub(crate) rounds: u32,
}

/// Frames that are not in use, kept to save allocations.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: KVec<KBox<Frame>>,
}

impl Pool {
    /// Frames kept at most.
    const KEEP: usize = 64;

    /// An empty frame.
    pub(crate) fn frame(&mut self) -> Result<KBox<Frame>> {
        match self.free.pop() {
            Some(mut f) => {
                f.regs = Regs::new();
                f.stack.clear();
                f.callsite = 0;
                f.subprog = 0;
                f.run = 0;
                f.rounds = 0;
                f.callback = false;
                Ok(f)
            }
            None => Ok(KBox::new(Frame::new(), GFP_KERNEL)?),
        }
    }

    /// A copy of `f`.
    pub(crate) fn copy_frame(&mut self, f: &Frame) -> Result<KBox<Frame>> {
        let mut new = match self.free.pop() {
            Some(f) => f,
            None => KBox::new(Frame::new(), GFP_KERNEL)?,
        };
        new.copy_from(f)?;
        Ok(new)
    }

    /// A copy of `s`.
    pub(crate) fn copy(&mut self, s: &State) -> Result<State> {
        let mut callers = KVec::with_capacity(s.callers.len(), GFP_KERNEL)?;
        for f in s.callers.iter() {
            callers.push(self.copy_frame(f)?, GFP_KERNEL)?;
        }
        Ok(State {
            callers,
            top: self.copy_frame(&s.top)?,
            refs: s.refs.copy()?,
            lock: s.lock,
            rounds: s.rounds,
        })
    }

    /// Takes a frame back.
    pub(crate) fn put_frame(&mut self, f: KBox<Frame>) {
        if self.free.len() < Self::KEEP {
            // When the list cannot grow the frame is freed instead, which is as good.
            let _ = self.free.push(f, GFP_KERNEL);
        }
    }

    /// Takes a state back.
    pub(crate) fn put(&mut self, mut s: State) {
        while let Some(f) = s.callers.pop() {
            self.put_frame(f);
        }
        self.put_frame(s.top);
    }
}

impl State {
    /// Depth of the running frame, 0 for the main program.
    pub(crate) fn depth(&self) -> usize {
        self.callers.len()
    }

    /// Frame number `n`.
    pub(crate) fn frame(&self, n: usize) -> Option<&Frame> {
        if n == self.callers.len() {
            return Some(&self.top);
        }
        self.callers.get(n).map(|f| &**f)
    }

    /// Frame number `n`.
    pub(crate) fn frame_mut(&mut self, n: usize) -> Option<&mut Frame> {
        if n == self.callers.len() {
            return Some(&mut self.top);
        }
        self.callers.get_mut(n).map(|f| &mut **f)
    }

    /// All frames, the main program's first.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        Iterator::chain(
            self.callers.iter().map(|f| &**f),
            core::iter::once(&*self.top),
        )
    }

    /// The program is in a callback of a helper, or in what that calls.
    pub(crate) fn in_callback(&self) -> bool {
        self.frames().any(|f| f.callback)
    }

    /// The same runs of helpers that call back are under way in all frames.
    pub(crate) fn same_runs(&self, other: &State) -> bool {
        self.frames()
            .map(|f| f.run)
            .eq(other.frames().map(|f| f.run))
    }

    /// Runs `f` on every register and spilled register of every frame.
    ///
    /// # Errors
    ///
    /// The first that `f` returns.
    pub(crate) fn for_each(&mut self, mut f: impl FnMut(&mut Val) -> Result) -> Result {
        let top = core::iter::once(&mut *self.top);
        for frame in Iterator::chain(self.callers.iter_mut().map(|f| &mut **f), top) {
            for v in frame.regs.values_mut() {
                f(v)?;
            }
            for s in frame.stack.slots_mut() {
                if s.is_spill() {
                    f(&mut s.val)?;
                }
            }
        }
        Ok(())
    }
}
