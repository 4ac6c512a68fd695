//! Pods whose certificates count for nothing any more, though they have not expired.
//!
//! They are known by the uid in the certificate's subject: another pod may have the same SPIFFE id and, later, the same
//! address. What stands with one of them ends when its uid is learned, and nothing new begins.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::tunnel::identity::PeerIdentity;

pub struct Revocations {
    uids: watch::Sender<Arc<HashSet<String>>>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { uids: watch::Sender::new(Arc::default()) }
    }
}

impl Revocations {
    /// These, and no others, from now on.
    pub fn set(&self, uids: impl IntoIterator<Item = String>) {
        self.uids.send_replace(Arc::new(uids.into_iter().collect()));
    }

    /// Whether `peer` may not be spoken to. A certificate that names no pod cannot be revoked.
    pub fn contains(&self, peer: Option<&PeerIdentity>) -> bool {
        peer.is_some_and(|peer| self.uids.borrow().contains(&peer.uid))
    }

    /// Returns once `peer` is revoked; never for a peer without a certificate.
    pub async fn of(&self, peer: Option<Arc<PeerIdentity>>) {
        let Some(peer) = peer else { return std::future::pending().await };
        let mut uids = self.uids.subscribe();
        if uids.wait_for(|uids| uids.contains(&peer.uid)).await.is_err() {
            // The gateway itself is gone.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: &str) -> Arc<PeerIdentity> {
        Arc::new(PeerIdentity {
            spiffe_id: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            uid: uid.to_owned(),
            addresses: Vec::new(),
            not_after: i64::MAX,
            cipher: "",
            key_exchange: "",
            chain: Vec::new(),
        })
    }

    #[test]
    fn only_the_uids_that_were_said_last_are_revoked() {
        let revocations = Revocations::default();
        revocations.set(["a".to_owned(), "b".to_owned()]);
        revocations.set(["b".to_owned()]);
        assert!(!revocations.contains(Some(&peer("a"))));
        assert!(revocations.contains(Some(&peer("b"))));
        assert!(!revocations.contains(None));
    }

    #[tokio::test]
    async fn who_waits_is_told_of_its_own_peer_alone() {
        let revocations = Arc::new(Revocations::default());
        let waiting = |uid: &'static str| {
            let revocations = Arc::clone(&revocations);
            tokio::spawn(async move { revocations.of(Some(peer(uid))).await })
        };
        let (first, second) = (waiting("a"), waiting("b"));
        tokio::task::yield_now().await;
        revocations.set(["a".to_owned()]);
        assert!(first.await.is_ok());
        assert!(!second.is_finished());
        second.abort();
    }
}
