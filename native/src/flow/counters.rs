//! Counters since the worker's start, and a log that says a thing once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

macro_rules! counters {
    ($counters:ident: $($name:ident),* $(,)?) => {
        /// Numbers of `GatewaySnapshot.counters`.
        #[derive(Default)]
        pub struct $counters { $(pub $name: std::sync::atomic::AtomicU64,)* }

        impl $counters {
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(std::sync::atomic::Ordering::Relaxed)),)*]
            }
        }
    };
}
pub(crate) use counters;

counters! {
    Counters:
    streams_outbound, streams_inbound, streams_active, bytes_sent, bytes_received,
    sessions_dialled, sessions_accepted, sessions_active, sessions_reused,
    clear_outbound, clear_active, refused_outbound, unknown_destination,
    services_resolved, services_unanswered, services_without_backends, own_outbound, own_active,
    denied_inbound, malformed_inbound, handshakes_failed, over_limit,
}

pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Counts something for as long as it is alive.
pub struct Active<'a>(&'a AtomicU64);

impl<'a> Active<'a> {
    pub fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A peer that does a thing a thousand times is one line, not a thousand.
const SILENCE: Duration = Duration::from_secs(60);
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub struct LogOnce {
    seen: Mutex<HashMap<(IpAddr, String), Instant>>,
}

impl LogOnce {
    /// Writes `text` about `peer` to the log unless the same was said within the last minute.
    pub fn warn(&self, peer: IpAddr, text: &str) {
        let now = Instant::now();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() >= REMEMBERED {
                seen.retain(|_, at| now.duration_since(*at) < SILENCE);
            }
            let key = (peer, text.to_owned());
            if seen.len() >= REMEMBERED || seen.get(&key).is_some_and(|at| now.duration_since(*at) < SILENCE) {
                return;
            }
            seen.insert(key, now);
        }
        crate::log::warn(text);
    }
}
