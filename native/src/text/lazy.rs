//! A pattern whose automaton would be too large to be kept: its states are made as texts need them, in a cache of bounded
//! size that all share. What it gives up: it does not know that a match is complete until it has seen the next byte, so
//! it may hold back one character that is certain already.

use std::sync::{Mutex, MutexGuard, PoisonError};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use super::engine::BuildError;

/// Of the cache, in bytes.
const CACHE: usize = 2 << 20;

pub(super) struct Lazy {
    dfa: DFA,
    cache: Mutex<Cache>,
    /// The number of the pattern.
    pub(super) rule: u32,
}

/// A state, valid until the cache is cleared once more.
#[derive(Clone, Copy)]
pub(super) struct Place {
    state: LazyStateID,
    clearings: usize,
}

/// What is known after a byte.
pub(super) struct Arrival {
    /// The pattern matches up to the byte before.
    pub(super) matched: bool,
    /// No match can come any more.
    pub(super) dead: bool,
}

impl Lazy {
    pub(super) fn build(nfa: NFA, rule: u32) -> Result<Self, BuildError> {
        let config = Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(None);
        let dfa = DFA::builder()
            .configure(config)
            .build_from_nfa(nfa)
            .map_err(|error| BuildError::Other(error.to_string()))?;
        let cache = Mutex::new(dfa.create_cache());
        Ok(Self { dfa, cache, rule })
    }

    /// Takes the cache for a while.
    pub(super) fn borrow(&self) -> Borrowed<'_> {
        Borrowed { dfa: &self.dfa, cache: self.cache.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(super) fn begins(&self, before: Option<u8>, first: u8) -> bool {
        let mut borrowed = self.borrow();
        borrowed.start(before).is_some_and(|mut place| !borrowed.next(&mut place, first).dead)
    }

    pub(super) fn memory(&self) -> usize {
        self.dfa.get_nfa().memory_usage() + self.borrow().cache.memory_usage()
    }
}

pub(super) struct Borrowed<'a> {
    dfa: &'a DFA,
    cache: MutexGuard<'a, Cache>,
}

impl Borrowed<'_> {
    pub(super) fn start(&mut self, before: Option<u8>) -> Option<Place> {
        let config = start::Config::new().anchored(Anchored::Yes).look_behind(before);
        let state = self.dfa.start_state(&mut self.cache, &config).ok()?;
        Some(Place { state, clearings: self.cache.clear_count() })
    }

    pub(super) fn is_valid(&self, place: Place) -> bool {
        place.clearings == self.cache.clear_count()
    }

    pub(super) fn next(&mut self, place: &mut Place, byte: u8) -> Arrival {
        let next = self.dfa.next_state(&mut self.cache, place.state, byte);
        self.arrive(place, next.ok())
    }

    pub(super) fn end(&mut self, place: &mut Place) -> Arrival {
        let next = self.dfa.next_eoi_state(&mut self.cache, place.state);
        self.arrive(place, next.ok())
    }

    /// There is a next state always: the cache is configured to be cleared as often as that takes, and no byte makes an
    /// automaton without Unicode word boundaries give up.
    fn arrive(&self, place: &mut Place, next: Option<LazyStateID>) -> Arrival {
        let Some(state) = next else { return Arrival { matched: false, dead: true } };
        *place = Place { state, clearings: self.cache.clear_count() };
        Arrival { matched: state.is_match(), dead: state.is_dead() || state.is_quit() }
    }
}
