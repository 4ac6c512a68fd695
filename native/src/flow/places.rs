//! Places that are limited as a whole and for each source, so that one source cannot take all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub struct Places {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    sources: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
pub struct Place<'a> {
    places: &'a Places,
    source: IpAddr,
}

impl Places {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Mutex::default() }
    }

    pub fn take(&self, source: IpAddr) -> Option<Place<'_>> {
        let mut taken = self.taken();
        if taken.total >= self.most || taken.sources.get(&source).is_some_and(|count| *count >= self.most_of_one) {
            return None;
        }
        taken.total += 1;
        *taken.sources.entry(source).or_default() += 1;
        Some(Place { places: self, source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= 1;
        if let Some(count) = taken.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn one_source_leaves_room_for_others_and_what_ends_makes_room_again() {
        let places = Places::new(4, 3);
        let mut taken: Vec<_> = (0..3).filter_map(|_| places.take(ONE)).collect();
        assert_eq!(taken.len(), 3);
        assert!(places.take(ONE).is_none());
        let other = places.take(OTHER);
        assert!(other.is_some());
        assert!(places.take(OTHER).is_none(), "all are taken");
        taken.pop();
        assert!(places.take(ONE).is_some());
        drop((taken, other));
        let left = places.taken();
        assert_eq!((left.total, left.sources.len()), (0, 0));
    }
}
