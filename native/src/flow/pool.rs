//! Sessions that wait for their next stream.
//!
//! Last in, first out, so that those not needed grow old and expire. A session belongs to the identity it was made
//! under: after a renewal the old ones are dropped as they come back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Shorter than the other side's patience with an idle session, so that it is always we who end it.
pub const IDLE_FOR: Duration = Duration::from_secs(60);
const KEPT_PER_PEER: usize = 128;

struct Idle<S> {
    session: S,
    generation: u64,
    expires: i64,
    since: Instant,
}

pub struct Pool<S> {
    idle: Mutex<HashMap<IpAddr, Vec<Idle<S>>>>,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self { idle: Mutex::default() }
    }
}

impl<S> Pool<S> {
    /// The youngest session to `peer` that `usable` accepts; those that it does not are dropped.
    pub fn take(&self, peer: IpAddr, generation: u64, mut usable: impl FnMut(&mut S) -> bool) -> Option<S> {
        loop {
            let idle = self.idle().get_mut(&peer)?.pop()?;
            let mut session = idle.session;
            let fresh = idle.generation == generation && idle.since.elapsed() < IDLE_FOR && now() < idle.expires;
            if fresh && usable(&mut session) {
                return Some(session);
            }
        }
    }

    /// `expires`: the end of the peer's certificate, seconds since the epoch.
    pub fn put(&self, peer: IpAddr, session: S, generation: u64, expires: i64) {
        let mut idle = self.idle();
        let sessions = idle.entry(peer).or_default();
        if sessions.len() < KEPT_PER_PEER {
            sessions.push(Idle { session, generation, expires, since: Instant::now() });
        }
    }

    /// Drops what has been idle too long. Returns how many are left.
    pub fn expire(&self) -> usize {
        let mut idle = self.idle();
        for sessions in idle.values_mut() {
            sessions.retain(|idle| idle.since.elapsed() < IDLE_FOR);
        }
        idle.retain(|_, sessions| !sessions.is_empty());
        idle.values().map(Vec::len).sum()
    }

    pub fn idle_sessions(&self) -> usize {
        self.idle().values().map(Vec::len).sum()
    }

    pub fn clear(&self) {
        self.idle().clear();
    }

    pub fn forget(&self, peer: IpAddr) {
        self.idle().remove(&peer);
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Idle<S>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since the epoch, as certificates count.
pub fn now() -> i64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn the_youngest_comes_first_and_each_only_once() {
        let pool = Pool::default();
        pool.put(PEER, 'a', 1, i64::MAX);
        pool.put(PEER, 'b', 1, i64::MAX);
        assert_eq!(pool.take(PEER, 1, |_| true), Some('b'));
        assert_eq!(pool.take(PEER, 1, |_| true), Some('a'));
        assert_eq!(pool.take(PEER, 1, |_| true), None);
    }

    #[test]
    fn sessions_of_an_old_identity_expired_or_dead_are_dropped() {
        let pool = Pool::default();
        pool.put(PEER, 'a', 2, i64::MAX);
        pool.put(PEER, 'b', 1, i64::MAX);
        pool.put(PEER, 'c', 2, now() - 1);
        pool.put(PEER, 'd', 2, i64::MAX);
        assert_eq!(pool.take(PEER, 2, |session| *session != 'd'), Some('a'));
        assert_eq!(pool.idle_sessions(), 0);
    }

    #[test]
    fn a_pool_is_capped() {
        let pool = Pool::default();
        for _ in 0..2 * KEPT_PER_PEER {
            pool.put(PEER, 'a', 1, i64::MAX);
        }
        assert_eq!(pool.idle_sessions(), KEPT_PER_PEER);
    }
}
