//! A deterministic automaton that runs from one place in a text and tells two things at every byte: which patterns match
//! up to here, and whether anything else can come of it. The second is what decides how long text is held back, and
//! what automata of the regex crate do not tell: they report a match one byte late. So theirs is built, each state is
//! asked what can be reached from it, and only what this needs is kept.

use std::collections::HashMap;
use std::mem::size_of;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::alphabet::ByteClasses;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use super::engine::BuildError;

/// The state from which nothing matches.
pub(super) const DEAD: u16 = 0;

/// What is known of a state. Sets are of patterns, by number; 0 is the empty one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Patterns that match up to the byte before the one that led here.
    pub(super) before: u32,
    /// Patterns that match up to here if the text ends.
    pub(super) at_end: u32,
    /// Nothing more can match, and what matches up to here does so whatever follows.
    pub(super) settled: bool,
}

pub(super) struct Automaton {
    classes: Box<[u8; 256]>,
    width: usize,
    next: Box<[u16]>,
    states: Box<[State]>,
    /// States below have something to tell on arrival.
    telling: u16,
    starts: [u16; KINDS],
    sets: Box<[Box<[u32]>]>,
}

/// What stands before the place that an automaton starts from, as far as patterns can tell.
pub(super) const KINDS: usize = 5;
pub(super) const BEFORE: [Option<u8>; KINDS] = [None, Some(b'\n'), Some(b'\r'), Some(b'a'), Some(b' ')];

pub(super) fn kind_of(before: Option<u8>) -> usize {
    match before {
        None => 0,
        Some(b'\n') => 1,
        Some(b'\r') => 2,
        Some(byte) if byte == b'_' || byte.is_ascii_alphanumeric() => 3,
        Some(_) => 4,
    }
}

impl Automaton {
    /// Builds the automaton of `nfa`, whose patterns have these numbers.
    pub(super) fn build(nfa: &NFA, numbers: &[u32], memory: usize) -> Result<Self, BuildError> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .accelerate(false)
            .dfa_size_limit(Some(memory))
            .determinize_size_limit(Some(memory));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(nfa).map_err(|error| {
            if error.is_size_limit_exceeded() { BuildError::TooLarge } else { BuildError::Other(error.to_string()) }
        })?;
        Survey::of(&dfa, numbers)?.keep()
    }

    pub(super) fn start(&self, before: Option<u8>) -> u16 {
        self.starts[kind_of(before)]
    }

    /// Whether a match can begin with this byte.
    pub(super) fn begins(&self, before: Option<u8>, first: u8) -> bool {
        let state = self.get(self.next(self.start(before), first));
        !state.settled || state.at_end != 0
    }

    pub(super) fn next(&self, state: u16, byte: u8) -> u16 {
        let class = usize::from(self.classes[usize::from(byte)]);
        self.next[usize::from(state) * self.width + class]
    }

    /// Whether `get` tells more of this state than that there may be something later.
    pub(super) fn tells(&self, state: u16) -> bool {
        state < self.telling
    }

    pub(super) fn get(&self, state: u16) -> State {
        self.states[usize::from(state)]
    }

    pub(super) fn set(&self, number: u32) -> &[u32] {
        &self.sets[number as usize]
    }

    /// In bytes.
    pub(super) fn memory(&self) -> usize {
        let sets: usize = self.sets.iter().map(|set| size_of::<Box<[u32]>>() + set.len() * size_of::<u32>()).sum();
        self.next.len() * size_of::<u16>() + self.states.len() * size_of::<State>() + sets + 256
    }
}

/// All states of a dense automaton, in the order in which they are reached, and what is to be known of them.
struct Survey {
    classes: ByteClasses,
    width: usize,
    starts: [u32; KINDS],
    next: Vec<u32>,
    states: Vec<State>,
    sets: Vec<Box<[u32]>>,
}

impl Survey {
    fn of(dfa: &dense::DFA<Vec<u32>>, numbers: &[u32]) -> Result<Self, BuildError> {
        let classes = *dfa.byte_classes();
        let bytes: Vec<u8> = classes.representatives(..).filter_map(|unit| unit.as_u8()).collect();
        let mut found = Found::new(dfa);
        let mut starts = [0; KINDS];
        for (start, before) in starts.iter_mut().zip(BEFORE) {
            let config = start::Config::new().anchored(Anchored::Yes).look_behind(before);
            let id = dfa.start_state(&config).map_err(|error| BuildError::Other(error.to_string()))?;
            *start = found.number(id);
        }
        let (mut next, mut states, mut sets) = (Vec::new(), Vec::new(), Sets::default());
        let mut at = 0;
        while let Some(id) = found.order.get(at).copied() {
            next.extend(bytes.iter().map(|byte| found.number(dfa.next_state(id, *byte))));
            let before = sets.number(dfa, id, numbers);
            let at_end = sets.number(dfa, dfa.next_eoi_state(id), numbers);
            states.push(State { before, at_end, settled: false });
            at += 1;
        }
        let mut survey = Self { classes, width: bytes.len(), starts, next, states, sets: sets.all };
        survey.settle();
        Ok(survey)
    }

    fn successors(&self, state: usize) -> &[u32] {
        &self.next[state * self.width..][..self.width]
    }

    /// Finds the states that are settled: from no successor can a match be reached, and all successors and the end of the
    /// text tell the same.
    fn settle(&mut self) {
        let promising = self.promising();
        for state in 0..self.states.len() {
            let at_end = self.states[state].at_end;
            self.states[state].settled = self
                .successors(state)
                .iter()
                .all(|next| !promising[*next as usize] && self.states[*next as usize].before == at_end);
        }
    }

    /// Whether there is a match to be told after each state: at a successor, at the end of the text, or further on.
    fn promising(&self) -> Vec<bool> {
        let mut predecessors = vec![Vec::new(); self.states.len()];
        let mut promising = vec![false; self.states.len()];
        let mut waiting = Vec::new();
        for (state, known) in self.states.iter().enumerate() {
            let mut successors = self.successors(state).to_vec();
            successors.sort_unstable();
            successors.dedup();
            for next in &successors {
                predecessors[*next as usize].push(state);
            }
            let told = |next: &u32| self.states[*next as usize].before != 0;
            if known.at_end != 0 || successors.iter().any(told) {
                promising[state] = true;
                waiting.push(state);
            }
        }
        while let Some(state) = waiting.pop() {
            for previous in &predecessors[state] {
                if !std::mem::replace(&mut promising[*previous], true) {
                    waiting.push(*previous);
                }
            }
        }
        promising
    }

    /// Keeps what can be reached without going on from where all is settled; those that tell something come first.
    fn keep(self) -> Result<Automaton, BuildError> {
        let is_dead = |state: usize| self.states[state] == State { settled: true, ..State::default() };
        let mut seen = vec![false; self.states.len()];
        let mut order: Vec<usize> = Vec::new();
        let mut waiting: Vec<usize> = self.starts.iter().map(|start| *start as usize).collect();
        while let Some(state) = waiting.pop() {
            if std::mem::replace(&mut seen[state], true) || is_dead(state) {
                continue;
            }
            order.push(state);
            let is_start = self.starts.iter().any(|start| *start as usize == state);
            if is_start || !self.states[state].settled {
                waiting.extend(self.successors(state).iter().map(|next| *next as usize));
            }
        }
        let tells = |state: &usize| self.states[*state].before != 0 || self.states[*state].settled;
        order.sort_by_key(|state| !tells(state));
        let telling = 1 + order.iter().filter(|state| tells(state)).count();
        let mut numbers = vec![DEAD; self.states.len()];
        for (number, state) in (1..).zip(&order) {
            numbers[*state] = u16::try_from(number).map_err(|_| BuildError::TooLarge)?;
        }
        let mut next = vec![DEAD; self.width];
        let mut states = vec![State { settled: true, ..State::default() }];
        for state in order {
            next.extend(self.successors(state).iter().map(|next| numbers[*next as usize]));
            states.push(self.states[state]);
        }
        let mut classes = Box::new([0; 256]);
        for (byte, class) in (0..=255).zip(classes.iter_mut()) {
            *class = self.classes.get(byte);
        }
        Ok(Automaton {
            classes,
            width: self.width,
            next: next.into_boxed_slice(),
            states: states.into_boxed_slice(),
            telling: u16::try_from(telling).map_err(|_| BuildError::TooLarge)?,
            starts: self.starts.map(|start| numbers[start as usize]),
            sets: self.sets.into_boxed_slice(),
        })
    }
}

/// Numbers states in the order in which they are found.
struct Found {
    numbers: Vec<Option<u32>>,
    order: Vec<StateID>,
    shift: usize,
}

impl Found {
    fn new(dfa: &dense::DFA<Vec<u32>>) -> Self {
        Self { numbers: Vec::new(), order: Vec::new(), shift: dfa.stride2() }
    }

    fn number(&mut self, id: StateID) -> u32 {
        let index = id.as_usize() >> self.shift;
        if index >= self.numbers.len() {
            self.numbers.resize(index + 1, None);
        }
        let next = self.order.len() as u32; // the memory of an automaton is bounded, so the number of its states is
        *self.numbers[index].get_or_insert_with(|| {
            self.order.push(id);
            next
        })
    }
}

struct Sets {
    numbers: HashMap<Box<[u32]>, u32>,
    all: Vec<Box<[u32]>>,
}

impl Default for Sets {
    fn default() -> Self {
        Self { numbers: HashMap::from([(Box::default(), 0)]), all: vec![Box::default()] }
    }
}

impl Sets {
    /// The number of the set of patterns whose match this state tells, in ascending order.
    fn number(&mut self, dfa: &dense::DFA<Vec<u32>>, id: StateID, numbers: &[u32]) -> u32 {
        if !dfa.is_match_state(id) {
            return 0;
        }
        let mut set: Vec<u32> =
            (0..dfa.match_len(id)).map(|index| numbers[dfa.match_pattern(id, index).as_usize()]).collect();
        set.sort_unstable();
        let next = self.all.len() as u32;
        *self.numbers.entry(set.clone().into_boxed_slice()).or_insert_with(|| {
            self.all.push(set.into_boxed_slice());
            next
        })
    }
}
