//! The rules in force, the peers' streams that stand under them, and what was denied lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::authorization::{Authorization, Decision, Verdict};
use super::withdrawal::Withdrawal;
use crate::tunnel::identity::PeerIdentity;

/// Different denials that are remembered; beyond, the one that is longest ago is forgotten.
const REMEMBERED: usize = 256;
/// A report has to fit into one message: the latest.
const REPORTED: usize = 20;

#[derive(Default)]
struct Rules {
    name: String,
    authorization: Authorization,
}

/// A peer as far as it has proved who it is, and the address it comes from.
#[derive(Clone)]
pub struct Caller {
    pub identity: Option<Arc<PeerIdentity>>,
    pub address: IpAddr,
}

impl Caller {
    fn spiffe_id(&self) -> Option<&str> {
        self.identity.as_deref().map(|identity| identity.spiffe_id.as_str())
    }

    /// For logs and reports.
    pub fn name(&self) -> String {
        self.spiffe_id().map_or_else(|| format!("{} (without proof)", self.address), ToOwned::to_owned)
    }
}

struct Stream {
    caller: Caller,
    port: u16,
    withdrawal: Arc<Withdrawal>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Denied {
    caller: String,
    address: IpAddr,
    port: u16,
    verdict: Verdict,
    dry_run: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    count: u64,
    last: f64,
}

/// `Denial` of the Python side.
#[derive(Serialize)]
struct Denial {
    peer: String,
    address: String,
    port: u16,
    policy: String,
    rule: usize,
    dry_run: bool,
    count: u64,
    last: f64,
}

/// `AccessReport` of the Python side.
#[derive(Serialize)]
pub struct AccessReport {
    rules: String,
    denials: Vec<Denial>,
}

#[derive(Default)]
struct Streams {
    next: u64,
    standing: HashMap<u64, Stream>,
}

#[derive(Default)]
pub struct Access {
    rules: ArcSwap<Rules>,
    streams: Mutex<Streams>,
    denials: Mutex<HashMap<Denied, Seen>>,
}

/// A stream for as long as it stands.
pub struct Standing<'a> {
    access: &'a Access,
    number: u64,
    pub withdrawal: Arc<Withdrawal>,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.access.streams().standing.remove(&self.number);
    }
}

impl Access {
    /// Has a stream looked at again whenever the rules change. To be called before it is decided on: what changes in
    /// between is then not missed.
    pub fn stands(&self, caller: Caller, port: u16) -> Standing<'_> {
        let withdrawal = Arc::<Withdrawal>::default();
        let mut streams = self.streams();
        streams.next += 1;
        let number = streams.next;
        streams.standing.insert(number, Stream { caller, port, withdrawal: Arc::clone(&withdrawal) });
        Standing { access: self, number, withdrawal }
    }

    pub fn decide(&self, caller: &Caller, port: u16) -> Decision {
        self.rules.load().authorization.decide(caller.spiffe_id(), port)
    }

    /// Puts rules in force, and ends the streams that they do not allow. Returns whose those were, to which port, and why.
    pub fn set(&self, name: String, authorization: Authorization) -> Vec<(Caller, u16, Verdict)> {
        self.rules.store(Arc::new(Rules { name, authorization }));
        let rules = self.rules.load();
        let mut ended = Vec::new();
        let streams = self.streams();
        // Thousands of streams are of few peers to few ports, and rules may be long.
        let mut verdicts = HashMap::new();
        for stream in streams.standing.values() {
            let caller = stream.caller.spiffe_id();
            let verdict = verdicts
                .entry((caller, stream.port))
                .or_insert_with(|| rules.authorization.decide(caller, stream.port).verdict);
            if !verdict.allowed && stream.withdrawal.withdraw() {
                ended.push((stream.caller.clone(), stream.port, verdict.clone()));
            }
        }
        ended
    }

    /// Remembers a denial, or what would have been one without a dry run.
    pub fn remember(&self, caller: &Caller, port: u16, verdict: Verdict, dry_run: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let denied = Denied { caller: caller.name(), address: caller.address, port, verdict, dry_run };
        let mut denials = self.denials();
        if denials.len() >= REMEMBERED && !denials.contains_key(&denied) {
            let oldest = denials.iter().min_by(|a, b| a.1.last.total_cmp(&b.1.last)).map(|(denied, _)| denied.clone());
            oldest.map(|denied| denials.remove(&denied));
        }
        let seen = denials.entry(denied).or_insert(Seen { count: 0, last: now });
        (seen.count, seen.last) = (seen.count + 1, now);
    }

    /// `None` for a pod that no policy has ever been about.
    pub fn report(&self) -> Option<AccessReport> {
        let rules = self.rules.load().name.clone();
        let mut latest: Vec<_> = self.denials().iter().map(|(denied, seen)| (denied.clone(), *seen)).collect();
        if rules.is_empty() && latest.is_empty() {
            return None;
        }
        latest.sort_by(|a, b| b.1.last.total_cmp(&a.1.last));
        latest.truncate(REPORTED);
        let denial = |(denied, seen): (Denied, Seen)| Denial {
            peer: denied.caller,
            address: denied.address.to_string(),
            port: denied.port,
            policy: denied.verdict.policy.as_ref().to_owned(),
            rule: denied.verdict.rule,
            dry_run: denied.dry_run,
            count: seen.count,
            last: seen.last,
        };
        Some(AccessReport { rules, denials: latest.into_iter().map(denial).collect() })
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denials(&self) -> MutexGuard<'_, HashMap<Denied, Seen>> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &[u8] = br#"{"policies":[{"policy":"a/b","dry_run":false,"default":"allow",
        "rules":[{"action":"deny","anyone":true,"peers":[],"ports":[[80,80]]}]}]}"#;

    fn caller(number: u8) -> Caller {
        Caller { identity: None, address: IpAddr::from([10, 0, 0, number]) }
    }

    #[test]
    fn a_change_ends_what_is_no_longer_allowed_once_and_nothing_else() {
        let access = Access::default();
        let (web, other) = (access.stands(caller(1), 80), access.stands(caller(1), 81));
        let ended = access.set("x".to_owned(), Authorization::parse(DENY).unwrap());
        assert_eq!(ended.iter().map(|(_, port, _)| *port).collect::<Vec<_>>(), [80]);
        assert!(web.withdrawal.is_withdrawn() && !other.withdrawal.is_withdrawn());
        assert!(access.set("x".to_owned(), Authorization::parse(DENY).unwrap()).is_empty());
    }

    #[test]
    fn a_stream_that_has_ended_is_forgotten() {
        let access = Access::default();
        drop(access.stands(caller(1), 80));
        assert!(access.streams().standing.is_empty());
        assert!(access.set("x".to_owned(), Authorization::parse(DENY).unwrap()).is_empty());
    }

    #[test]
    fn denials_are_counted_and_bounded() {
        let access = Access::default();
        let verdict = || Verdict { allowed: false, policy: "a/b".into(), rule: 1 };
        for port in 0..2 * u16::try_from(REMEMBERED).unwrap() {
            access.remember(&caller(1), port, verdict(), false);
        }
        access.remember(&caller(1), 2 * u16::try_from(REMEMBERED).unwrap() - 1, verdict(), false);
        assert_eq!(access.denials().len(), REMEMBERED);
        let report = access.report().unwrap();
        assert_eq!(report.denials.len(), REPORTED);
        assert_eq!((report.denials[0].port, report.denials[0].count), (511, 2));
    }
}
