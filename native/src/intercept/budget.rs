//! How much of bodies is held in memory at once, over all connections of the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Eight bodies of the default limit.
pub const MOST_HELD: usize = 512 * 1024 * 1024;

pub struct Budget {
    left: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MOST_HELD)
    }
}

/// Bytes that are held for as long as this is alive.
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }
}

impl Held {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Whether there was room for `bytes` more.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let left = &self.budget.left;
        let grown = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_can_be_held_again() {
        let budget = Arc::new(Budget::new(10));
        let mut first = Held::new(&budget);
        let mut second = Held::new(&budget);
        assert!(first.grow(6) && second.grow(4));
        assert!(!second.grow(1));
        drop(first);
        assert!(second.grow(6));
        assert!(!second.grow(1));
    }
}
