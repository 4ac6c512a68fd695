//! Who may be in a handshake just now.
//!
//! Before it is done nobody has proved anything, so a place is not kept by who came first: where none is left, the oldest
//! one of the source that has most of them ends. An honest handshake takes milliseconds and is not the oldest for long; one
//! that stands still is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A flood of handshakes must not starve the connections that stand.
const MOST: usize = 512;
/// Twice what a gateway begins at once, so that two generations of it have room.
const MOST_OF_ONE: usize = 128;

#[derive(Default)]
struct Table {
    next: u64,
    total: usize,
    sources: HashMap<IpAddr, BTreeMap<u64, oneshot::Sender<()>>>,
}

pub struct Handshakes {
    most: usize,
    most_of_one: usize,
    table: Mutex<Table>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { most: MOST, most_of_one: MOST_OF_ONE, table: Mutex::default() }
    }
}

/// A place, until it is dropped or lost.
pub struct Place<'a> {
    handshakes: &'a Handshakes,
    source: IpAddr,
    number: u64,
    ended: oneshot::Receiver<()>,
    /// Whose oldest handshake had to end for this one.
    pub displaced: Option<IpAddr>,
}

impl Handshakes {
    pub fn enter(&self, source: IpAddr) -> Place<'_> {
        let mut table = self.table();
        let crowded = table.sources.get(&source).is_some_and(|places| places.len() >= self.most_of_one);
        let displaced = if crowded {
            Some(source)
        } else if table.total >= self.most {
            table.greediest()
        } else {
            None
        };
        if let Some(source) = displaced {
            table.end_oldest(source);
        }
        let number = table.next;
        let (held, ended) = oneshot::channel();
        table.next += 1;
        table.total += 1;
        table.sources.entry(source).or_default().insert(number, held);
        Place { handshakes: self, source, number, ended, displaced }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The source with most places; of several, the one that has been here longest.
    fn greediest(&self) -> Option<IpAddr> {
        let rank =
            |places: &BTreeMap<u64, _>| (places.len(), Reverse(places.first_key_value().map(|(number, _)| *number)));
        self.sources.iter().max_by_key(|(_, places)| rank(places)).map(|(source, _)| *source)
    }

    fn end_oldest(&mut self, source: IpAddr) {
        let oldest = self.sources.get(&source).and_then(|places| places.first_key_value()).map(|(number, _)| *number);
        if let Some(number) = oldest {
            self.remove(source, number);
        }
    }

    fn remove(&mut self, source: IpAddr, number: u64) {
        let Some(places) = self.sources.get_mut(&source) else { return };
        if places.remove(&number).is_some() {
            self.total -= 1;
        }
        if places.is_empty() {
            self.sources.remove(&source);
        }
    }
}

impl Place<'_> {
    /// Until another one needs the place.
    pub async fn lost(&mut self) {
        // Nothing is ever sent; what ends is the other half.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.table().remove(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn is_lost(place: &mut Place<'_>) -> bool {
        place.ended.try_recv() != Err(oneshot::error::TryRecvError::Empty)
    }

    #[test]
    fn one_source_has_only_its_own_part_and_loses_its_oldest() {
        let handshakes = Handshakes { most: 8, most_of_one: 3, ..Handshakes::default() };
        let mut honest = handshakes.enter(source(1));
        let mut flood: Vec<_> = (0..20).map(|_| handshakes.enter(source(2))).collect();
        assert!(!is_lost(&mut honest));
        assert_eq!(flood.iter_mut().map(is_lost).collect::<Vec<_>>(), [vec![true; 17], vec![false; 3]].concat());
        assert_eq!(flood[19].displaced, Some(source(2)));
    }

    #[test]
    fn when_all_places_are_taken_whoever_has_most_makes_room() {
        let handshakes = Handshakes { most: 4, most_of_one: 3, ..Handshakes::default() };
        let mut greedy: Vec<_> = (0..3).map(|_| handshakes.enter(source(1))).collect();
        let mut modest = handshakes.enter(source(2));
        let new = handshakes.enter(source(3));
        assert_eq!(new.displaced, Some(source(1)));
        assert!(is_lost(&mut greedy[0]) && !is_lost(&mut greedy[1]) && !is_lost(&mut modest));
    }

    #[test]
    fn of_many_sources_with_one_each_the_oldest_makes_room() {
        let handshakes = Handshakes { most: 4, most_of_one: 3, ..Handshakes::default() };
        let mut first: Vec<_> = (0..4).map(|number| handshakes.enter(source(number))).collect();
        let new = handshakes.enter(source(9));
        assert_eq!(new.displaced, Some(source(0)));
        assert_eq!(first.iter_mut().map(is_lost).collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let handshakes = Handshakes { most: 4, most_of_one: 2, ..Handshakes::default() };
        drop((0..10).map(|number| handshakes.enter(source(number % 3))).collect::<Vec<_>>());
        let table = handshakes.table();
        assert_eq!((table.total, table.sources.len()), (0, 0));
    }
}
