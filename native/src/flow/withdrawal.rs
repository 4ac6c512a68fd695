//! Ends a stream from outside, without a cost to those that stand: they look at a flag, and are woken when it is set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

#[derive(Default)]
pub struct Withdrawal {
    withdrawn: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Withdrawal {
    /// Ends the stream; false if that was done before.
    pub fn withdraw(&self) -> bool {
        let first = !self.withdrawn.swap(true, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
        first
    }

    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::SeqCst)
    }

    /// Whether the stream is to end; if not, the task is woken once it is. `known` is the caller's, for nothing else.
    pub fn poll(&self, cx: &Context<'_>, known: &mut Option<Waker>) -> bool {
        if !known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
            *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        // Behind the waker: whoever withdraws in between has found it, or is found here.
        self.is_withdrawn()
    }
}
