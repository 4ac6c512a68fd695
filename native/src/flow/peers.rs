//! What is known of peers that may or may not be enrolled.
//!
//! A peer that refuses the tunnel port and was never seen enrolled is spoken to in clear for a moment; one that was seen
//! enrolled never is, unless the watcher says that it left.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::tunnel::identity::PeerIdentity;

/// A refusal costs one round trip, so it is remembered only to keep a burst of connections from asking one by one.
pub const REFUSED_FOR: Duration = Duration::from_millis(250);
/// Silence costs the whole wait, so it is remembered longer.
pub const SILENT_FOR: Duration = Duration::from_secs(10);

/// More addresses than this are not remembered; the oldest knowledge about peers that are not enrolled goes first.
const REMEMBERED: usize = 65_536;
/// A report has to fit into one message; those that are enrolled come first.
const REPORTED: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Unknown,
    /// Not enrolled, and asked so recently that it need not be asked again.
    Clear,
    Enrolled,
}

#[derive(Default)]
struct Peer {
    enrolled: bool,
    bad: bool,
    clear_until: Option<Instant>,
    identity: Option<Arc<PeerIdentity>>,
    tunnelled: u64,
    clear: u64,
    refused: u64,
}

impl Peer {
    fn set_not_enrolled(&mut self, remembered: Duration) {
        (self.enrolled, self.bad, self.identity) = (false, false, None);
        self.clear_until = Some(Instant::now() + remembered);
    }
}

/// `PeerReport` of the Python side.
#[derive(Serialize)]
pub struct PeerReport {
    address: String,
    state: &'static str,
    /// Also of one whose certificate was not accepted lately.
    enrolled: bool,
    spiffe_id: String,
    cipher: &'static str,
    key_exchange: &'static str,
    certificate_expires: f64,
    tunnelled: u64,
    clear: u64,
    refused: u64,
}

#[derive(Default)]
pub struct Peers {
    table: Mutex<HashMap<IpAddr, Peer>>,
}

impl Peers {
    pub fn standing(&self, address: IpAddr) -> Standing {
        match self.table().get(&address) {
            Some(peer) if peer.enrolled => Standing::Enrolled,
            Some(peer) if peer.clear_until.is_some_and(|until| Instant::now() < until) => Standing::Clear,
            _ => Standing::Unknown,
        }
    }

    /// A session with a valid certificate stands.
    pub fn enrolled(&self, address: IpAddr, identity: Option<Arc<PeerIdentity>>) {
        self.change(address, |peer| {
            (peer.enrolled, peer.bad, peer.clear_until) = (true, false, None);
            if identity.is_some() {
                peer.identity = identity;
            }
        });
    }

    pub fn not_enrolled(&self, address: IpAddr, remembered: Duration) {
        self.change(address, |peer| peer.set_not_enrolled(remembered));
    }

    /// Nobody answers as its gateway. False, and nothing changes, if it has shown meanwhile that it is enrolled.
    pub fn unanswered(&self, address: IpAddr, remembered: Duration) -> bool {
        let mut is_unknown = true;
        self.change(address, |peer| {
            is_unknown = !peer.enrolled;
            if is_unknown {
                peer.set_not_enrolled(remembered);
            }
        });
        is_unknown
    }

    /// Its certificate was not accepted, or ours was not.
    pub fn bad(&self, address: IpAddr) {
        self.change(address, |peer| peer.bad = true);
    }

    pub fn count_tunnelled(&self, address: IpAddr) {
        self.change(address, |peer| peer.tunnelled += 1);
    }

    pub fn count_clear(&self, address: IpAddr) {
        self.change(address, |peer| peer.clear += 1);
    }

    pub fn count_refused(&self, address: IpAddr) {
        self.change(address, |peer| peer.refused += 1);
    }

    /// What an earlier worker knew: a restart must not make a peer that is silent look like one that is not enrolled.
    pub fn remember_enrolled(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            self.enrolled(address, None);
        }
    }

    /// Forgets who is enrolled and who is not; the counters stay.
    pub fn forget(&self) {
        for peer in self.table().values_mut() {
            (peer.enrolled, peer.bad, peer.clear_until) = (false, false, None);
        }
    }

    pub fn report(&self) -> Vec<PeerReport> {
        let report = |(address, peer): (&IpAddr, &Peer)| {
            let identity = peer.identity.as_deref();
            PeerReport {
                address: address.to_string(),
                state: if peer.bad {
                    "refused"
                } else if peer.enrolled {
                    "enrolled"
                } else {
                    "clear"
                },
                enrolled: peer.enrolled,
                spiffe_id: identity.map(|identity| identity.spiffe_id.clone()).unwrap_or_default(),
                cipher: identity.map_or("", |identity| identity.cipher),
                key_exchange: identity.map_or("", |identity| identity.key_exchange),
                #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit a double exactly")]
                certificate_expires: identity.map_or(0.0, |identity| identity.not_after as f64),
                tunnelled: peer.tunnelled,
                clear: peer.clear,
                refused: peer.refused,
            }
        };
        let mut reports: Vec<_> = self.table().iter().map(report).collect();
        reports.sort_by_key(|report| (report.state == "clear", std::cmp::Reverse(report.tunnelled + report.clear)));
        reports.truncate(REPORTED);
        reports
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, address: IpAddr, change: impl FnOnce(&mut Peer)) {
        let mut table = self.table();
        if table.len() >= REMEMBERED && !table.contains_key(&address) {
            let now = Instant::now();
            table.retain(|_, peer| peer.enrolled || peer.clear_until.is_some_and(|until| now < until));
            if table.len() >= REMEMBERED {
                return;
            }
        }
        change(table.entry(address).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn a_refusal_is_forgotten_after_its_time() {
        let peers = Peers::default();
        peers.not_enrolled(PEER, Duration::from_millis(20));
        assert_eq!(peers.standing(PEER), Standing::Clear);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(peers.standing(PEER), Standing::Unknown);
    }

    #[test]
    fn an_enrolled_peer_stays_enrolled_until_it_is_said_to_have_left() {
        let peers = Peers::default();
        peers.enrolled(PEER, None);
        peers.bad(PEER);
        assert_eq!(peers.standing(PEER), Standing::Enrolled);
        peers.not_enrolled(PEER, REFUSED_FOR);
        assert_eq!(peers.standing(PEER), Standing::Clear);
    }

    #[test]
    fn one_that_shows_that_it_is_enrolled_while_others_wait_for_an_answer_stays_enrolled() {
        let peers = Peers::default();
        assert!(peers.unanswered(PEER, SILENT_FOR));
        assert_eq!(peers.standing(PEER), Standing::Clear);
        peers.enrolled(PEER, None);
        assert!(!peers.unanswered(PEER, SILENT_FOR));
        assert_eq!(peers.standing(PEER), Standing::Enrolled);
    }

    #[test]
    fn one_whose_certificate_is_refused_is_still_reported_as_enrolled() {
        let peers = Peers::default();
        peers.enrolled(PEER, None);
        peers.bad(PEER);
        let reports = peers.report();
        assert_eq!((reports[0].state, reports[0].enrolled), ("refused", true));
    }

    #[test]
    fn a_report_is_bounded_and_has_the_enrolled_first() {
        let peers = Peers::default();
        for number in 0..2 * u32::try_from(REPORTED).unwrap() {
            peers.count_clear(IpAddr::V4(number.into()));
        }
        peers.enrolled(PEER, None);
        let reports = peers.report();
        assert_eq!(reports.len(), REPORTED);
        assert_eq!((reports[0].address.as_str(), reports[0].state), ("10.0.0.9", "enrolled"));
    }

    #[test]
    fn memory_is_bounded() {
        let peers = Peers::default();
        for number in 0..=u32::try_from(REMEMBERED).unwrap() {
            peers.count_clear(IpAddr::V4(number.into()));
        }
        assert!(peers.table().len() <= REMEMBERED);
    }
}
