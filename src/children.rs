//! The children that this program has started and waits for itself. Others may come to it: as process 1 of a container it gets
//! whoever loses his parent.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

static OURS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A child that somebody here waits for, until this is dropped.
#[derive(Debug)]
pub struct Ours(u32);

impl Ours {
    /// To be made before anything else can run that reaps children.
    pub fn new(pid: u32) -> Self {
        ours().insert(pid);
        Self(pid)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        ours().remove(&self.0);
    }
}

/// Whether somebody waits for this child.
pub fn is_ours(pid: u32) -> bool {
    ours().contains(&pid)
}

fn ours() -> MutexGuard<'static, BTreeSet<u32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}
