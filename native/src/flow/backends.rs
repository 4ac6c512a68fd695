//! What is behind one port of a Service, and which of its backends a connection tries, in which order.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Services with affinity that are remembered; beyond, the one that was silent for longest is forgotten.
const REMEMBERED: usize = 4096;

/// `affinity` above zero: connections stay with one backend until there was no new one for so long.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub backends: Vec<SocketAddr>,
    pub affinity: Duration,
}

/// The backends for one connection: each at most once, in an order of chance behind the first.
pub struct Choice {
    service: Arc<Service>,
    preferred: Option<SocketAddr>,
    /// Made when the first did not do: most connections need no second.
    untried: Option<Vec<SocketAddr>>,
    random: fn(usize) -> usize,
}

impl Choice {
    pub fn new(service: Arc<Service>, preferred: Option<SocketAddr>, random: fn(usize) -> usize) -> Self {
        Self { service, preferred, untried: None, random }
    }

    /// Whether `next` has another.
    pub fn has_more(&self) -> bool {
        !self.untried.as_ref().unwrap_or(&self.service.backends).is_empty()
    }
}

impl Iterator for Choice {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        if !self.has_more() {
            return None;
        }
        if let Some(untried) = &mut self.untried {
            return Some(untried.swap_remove((self.random)(untried.len())));
        }
        let all = &self.service.backends;
        let preferred = self.preferred.filter(|backend| all.contains(backend));
        let first = preferred.unwrap_or_else(|| all[(self.random)(all.len())]);
        // One that remains is looked for again only if there is a second try.
        self.untried = Some(if all.len() == 1 { Vec::new() } else { others(all, first) });
        Some(first)
    }
}

fn others(all: &[SocketAddr], first: SocketAddr) -> Vec<SocketAddr> {
    all.iter().copied().filter(|backend| *backend != first).collect()
}

/// A number below `bound`, each as likely as another.
pub fn random_below(bound: usize) -> usize {
    // Each state has a key of its own, from the system's source of randomness.
    let bits = RandomState::new().hash_one(0_u8);
    usize::try_from(bits % (bound.max(1) as u64)).unwrap_or(0)
}

/// A Service, a port of it, and the family: the backends of the other one are others.
type Key = (String, u16, bool);

/// Which backend was last used of Services with affinity.
#[derive(Default)]
pub struct Affinities {
    table: Mutex<HashMap<Key, (SocketAddr, Instant)>>,
}

impl Affinities {
    /// The backend that a new connection to `destination`, a port of `service`, has to prefer.
    pub fn preferred(&self, service: &Service, destination: SocketAddr, now: Instant) -> Option<SocketAddr> {
        if service.affinity.is_zero() {
            return None;
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (backend, used) = table.get(&key(service, destination))?;
        (now.duration_since(*used) < service.affinity).then_some(*backend)
    }

    /// A connection has reached `backend`.
    pub fn used(&self, service: &Service, destination: SocketAddr, backend: SocketAddr, now: Instant) {
        if service.affinity.is_zero() {
            return;
        }
        let key = key(service, destination);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= REMEMBERED && !table.contains_key(&key) {
            let oldest = table.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            oldest.map(|key| table.remove(&key));
        }
        table.insert(key, (backend, now));
    }
}

fn key(service: &Service, destination: SocketAddr) -> Key {
    (service.name.clone(), destination.port(), destination.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn destination() -> SocketAddr {
        "10.96.0.1:80".parse().unwrap()
    }

    fn backend(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 8080))
    }

    fn service(name: &str, backends: u8, affinity: Duration) -> Arc<Service> {
        Arc::new(Service { name: name.to_owned(), backends: (0..backends).map(backend).collect(), affinity })
    }

    fn last(bound: usize) -> usize {
        bound - 1
    }

    #[test]
    fn each_backend_comes_once() {
        let mut choice = Choice::new(service("a", 4, Duration::ZERO), None, random_below);
        let mut seen = Vec::new();
        while choice.has_more() {
            seen.extend(choice.next());
        }
        assert_eq!(choice.next(), None);
        seen.sort();
        assert_eq!(seen, (0..4).map(backend).collect::<Vec<_>>());
    }

    #[test]
    fn chance_picks_the_first_and_every_later_one() {
        let order: Vec<_> = Choice::new(service("a", 3, Duration::ZERO), None, last).collect();
        assert_eq!(order, [backend(2), backend(1), backend(0)]);
    }

    #[test]
    fn a_service_without_backends_has_none() {
        let mut choice = Choice::new(service("a", 0, Duration::ZERO), None, random_below);
        assert!(!choice.has_more());
        assert_eq!(choice.next(), None);
    }

    #[test]
    fn the_preferred_one_comes_first_while_it_is_among_them() {
        let order: Vec<_> = Choice::new(service("a", 3, HOUR), Some(backend(1)), last).collect();
        assert_eq!(order, [backend(1), backend(2), backend(0)]);
        let order: Vec<_> = Choice::new(service("a", 3, HOUR), Some(backend(7)), last).collect();
        assert_eq!(order, [backend(2), backend(1), backend(0)]);
    }

    #[test]
    fn chance_is_even() {
        let service = service("a", 4, Duration::ZERO);
        let mut counts = HashMap::<_, u32>::new();
        for _ in 0..4000 {
            *counts.entry(Choice::new(Arc::clone(&service), None, random_below).next().unwrap()).or_default() += 1;
        }
        // Ten standard deviations around the mean of 1000.
        assert!(counts.len() == 4 && counts.values().all(|count| (726..1274).contains(count)), "{counts:?}");
    }

    #[test]
    fn affinity_lasts_from_the_last_use() {
        let (affinities, service, start) =
            (Affinities::default(), service("a", 3, Duration::from_secs(10)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(affinities.preferred(&service, destination(), start), None);
        affinities.used(&service, destination(), backend(1), start);
        assert_eq!(affinities.preferred(&service, destination(), after(9)), Some(backend(1)));
        affinities.used(&service, destination(), backend(2), after(9));
        assert_eq!(affinities.preferred(&service, destination(), after(18)), Some(backend(2)));
        assert_eq!(affinities.preferred(&service, destination(), after(19)), None);
    }

    #[test]
    fn affinity_is_of_one_port_and_one_family_of_one_service() {
        let (affinities, now) = (Affinities::default(), Instant::now());
        let one = service("a", 3, HOUR);
        affinities.used(&one, destination(), backend(1), now);
        // Another address of the same Service is the same Service.
        assert_eq!(affinities.preferred(&one, "192.0.2.1:80".parse().unwrap(), now), Some(backend(1)));
        assert_eq!(affinities.preferred(&one, "10.96.0.1:81".parse().unwrap(), now), None);
        assert_eq!(affinities.preferred(&one, "[fd00::1]:80".parse().unwrap(), now), None);
        assert_eq!(affinities.preferred(&service("b", 3, HOUR), destination(), now), None);
        assert_eq!(affinities.preferred(&service("a", 3, Duration::ZERO), destination(), now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (affinities, start) = (Affinities::default(), Instant::now());
        for number in 0..=REMEMBERED {
            let now = start + Duration::from_millis(number as u64);
            affinities.used(&service(&number.to_string(), 1, HOUR), destination(), backend(0), now);
        }
        assert_eq!(affinities.table.lock().unwrap().len(), REMEMBERED);
        assert_eq!(affinities.preferred(&service("0", 1, HOUR), destination(), start), None);
        assert_eq!(affinities.preferred(&service("1", 1, HOUR), destination(), start), Some(backend(0)));
    }
}
