//! How many sessions to one peer are begun at once.
//!
//! A burst of connections to one peer would otherwise be as many handshakes, and look like a flood to it. Whoever waits for
//! its turn may find a session that another connection has given back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More at once do not make it faster: a handshake is computing, and both sides have few threads.
const MOST: usize = 64;

#[derive(Default)]
pub struct Dialling {
    peers: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

impl Dialling {
    /// Waits for a turn, which ends when it is dropped.
    pub async fn turn(&self, peer: IpAddr) -> Option<OwnedSemaphorePermit> {
        let turns = Arc::clone(self.peers().entry(peer).or_insert_with(|| Arc::new(Semaphore::new(MOST))));
        // None only if it were closed, which nobody does.
        turns.acquire_owned().await.ok()
    }

    /// Forgets peers that nobody dials just now.
    pub fn expire(&self) {
        self.peers().retain(|_, turns| Arc::strong_count(turns) > 1);
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[tokio::test]
    async fn turns_are_limited_for_each_peer_and_forgotten_when_nobody_has_one() {
        let dialling = Dialling::default();
        let mut turns = Vec::new();
        for _ in 0..MOST {
            turns.push(dialling.turn(PEER).await);
        }
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, dialling.turn(PEER)).await.is_err());
        assert!(tokio::time::timeout(soon, dialling.turn("10.0.0.8".parse().unwrap())).await.is_ok());
        turns.pop();
        assert!(tokio::time::timeout(soon, dialling.turn(PEER)).await.is_ok());
        dialling.expire();
        assert_eq!(dialling.peers().len(), 1);
        turns.clear();
        dialling.expire();
        assert_eq!(dialling.peers().len(), 0);
    }
}
