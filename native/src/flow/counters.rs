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
    denied_inbound, denied_outbound, authorization_denied, authorization_would_deny, authorization_ended, malformed_inbound, handshakes_failed,
    revoked_refused, revoked_ended, over_limit,
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
/// Of one peer, so that what it makes us say does not keep us from speaking of others.
const REMEMBERED_OF_ONE: usize = 32;

#[derive(Default)]
pub struct LogOnce {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    total: usize,
    peers: HashMap<IpAddr, HashMap<String, Instant>>,
}

impl Seen {
    /// Whether `text` is news of `peer`.
    fn note(&mut self, peer: IpAddr, text: &str, now: Instant) -> bool {
        if self.total >= REMEMBERED {
            for said in self.peers.values_mut() {
                forget(said, now);
            }
            self.peers.retain(|_, said| !said.is_empty());
            self.total = self.peers.values().map(HashMap::len).sum();
        }
        let full = self.total >= REMEMBERED;
        let said = self.peers.entry(peer).or_default();
        if let Some(at) = said.get_mut(text) {
            let old = now.duration_since(*at) >= SILENCE;
            if old {
                *at = now;
            }
            return old;
        }
        if said.len() >= REMEMBERED_OF_ONE {
            self.total -= forget(said, now);
        }
        let is_news = !full && said.len() < REMEMBERED_OF_ONE;
        if is_news {
            said.insert(text.to_owned(), now);
            self.total += 1;
        } else if said.is_empty() {
            self.peers.remove(&peer);
        }
        is_news
    }
}

/// Forgets what was said long ago, and returns how much that was.
fn forget(said: &mut HashMap<String, Instant>, now: Instant) -> usize {
    let before = said.len();
    said.retain(|_, at| now.duration_since(*at) < SILENCE);
    before - said.len()
}

impl LogOnce {
    /// Writes `text` about `peer` to the log unless the same was said within the last minute.
    pub fn warn(&self, peer: IpAddr, text: &str) {
        let is_news = self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(peer, text, Instant::now());
        if is_news {
            crate::log::warn(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));

    #[test]
    fn a_thing_is_news_once_a_minute() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert!(seen.note(PEER, "a", now));
        assert!(!seen.note(PEER, "a", now + SILENCE / 2));
        assert!(seen.note(OTHER, "a", now));
        assert!(seen.note(PEER, "a", now + SILENCE));
    }

    #[test]
    fn a_peer_that_makes_us_say_ever_new_things_does_not_silence_others() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let said = (0..100_000).filter(|number| seen.note(PEER, &number.to_string(), now)).count();
        assert_eq!(said, REMEMBERED_OF_ONE);
        assert!(seen.note(OTHER, "a", now));
        assert!(seen.note(PEER, "later", now + SILENCE));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for number in 0..50_000 {
            seen.note(IpAddr::V4(number.into()), "a", now);
        }
        assert_eq!((seen.total, seen.peers.len()), (REMEMBERED, REMEMBERED));
        assert!(seen.note(PEER, "a", now + SILENCE));
        assert_eq!(seen.total, 1);
    }
}
