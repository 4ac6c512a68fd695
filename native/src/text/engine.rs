//! What finds the matches that begin at one place: an automaton that is known as a whole, or one that is made as it runs.

use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::hir::Hir;

use super::automaton::{Automaton, DEAD};
use super::lazy::{Lazy, Place};
use super::masker::LONGEST;
use super::patterns::Rule;

/// Of one nondeterministic automaton, in bytes: what a repetition of a repetition can grow to.
const MOST_STATES: usize = 16 << 20;

pub(super) enum BuildError {
    TooLarge,
    Other(String),
}

pub(super) enum Engine {
    Whole(Automaton),
    Lazy(Lazy),
}

impl Engine {
    /// Builds one for all `patterns`, with at most so much memory while it is built.
    pub(super) fn whole(patterns: &[(u32, &Hir)], memory: usize) -> Result<Self, BuildError> {
        let numbers: Vec<u32> = patterns.iter().map(|(number, _)| *number).collect();
        Automaton::build(&nfa(patterns)?, &numbers, memory).map(Self::Whole)
    }

    pub(super) fn lazy(pattern: (u32, &Hir)) -> Result<Self, BuildError> {
        Lazy::build(nfa(&[pattern])?, pattern.0).map(Self::Lazy)
    }

    /// Whether a match can begin with this byte.
    pub(super) fn begins(&self, before: Option<u8>, first: u8) -> bool {
        match self {
            Self::Whole(automaton) => automaton.begins(before, first),
            Self::Lazy(lazy) => lazy.begins(before, first),
        }
    }

    /// In bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Whole(automaton) => automaton.memory(),
            Self::Lazy(lazy) => lazy.memory(),
        }
    }
}

fn nfa(patterns: &[(u32, &Hir)]) -> Result<NFA, BuildError> {
    let expressions: Vec<&Hir> = patterns.iter().map(|(_, pattern)| *pattern).collect();
    thompson::Compiler::new()
        .configure(thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(MOST_STATES)))
        .build_many_from_hir(&expressions)
        .map_err(|error| match error.size_limit() {
            Some(_) => BuildError::TooLarge,
            None => BuildError::Other(error.to_string()),
        })
}

/// An engine on its way from the beginning of what is not decided.
pub(super) struct Run {
    pub(super) engine: usize,
    at: At,
    before: Option<u8>,
    /// How many bytes it has seen.
    seen: usize,
    pub(super) longest: Option<Match>,
}

enum At {
    Start,
    Whole(u32),
    Lazy(Place),
    End,
}

#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) rule: u32,
}

impl Run {
    pub(super) fn new(engine: usize, before: Option<u8>) -> Self {
        Self { engine, at: At::Start, before, seen: 0, longest: None }
    }

    /// Goes on through `text`, which begins where this run began; whether it has come to its end.
    pub(super) fn go(&mut self, engine: &Engine, rules: &[Rule], text: &[u8], ended: bool) -> bool {
        match (engine, &self.at) {
            (_, At::End) => (),
            (Engine::Whole(automaton), At::Whole(state)) => self.go_whole(automaton, *state, rules, text, ended),
            (Engine::Whole(automaton), _) => self.go_whole(automaton, automaton.start(self.before), rules, text, ended),
            (Engine::Lazy(lazy), _) => self.go_lazy(lazy, rules, text, ended),
        }
        matches!(self.at, At::End)
    }

    fn go_whole(&mut self, automaton: &Automaton, mut state: u32, rules: &[Rule], text: &[u8], ended: bool) {
        while state != DEAD && self.seen < text.len() {
            state = automaton.next(state, text[self.seen]);
            if automaton.tells(state) {
                let known = automaton.get(state);
                self.take(automaton.set(known.before), rules, &text[..self.seen]);
                if known.settled {
                    if self.seen < LONGEST {
                        self.take(automaton.set(known.at_end), rules, &text[..=self.seen]);
                    }
                    state = DEAD;
                }
            }
            self.seen += 1;
            if self.seen > LONGEST {
                state = DEAD;
            }
        }
        if ended && state != DEAD {
            self.take(automaton.set(automaton.get(state).at_end), rules, text);
            state = DEAD;
        }
        self.at = if state == DEAD { At::End } else { At::Whole(state) };
    }

    fn go_lazy(&mut self, lazy: &Lazy, rules: &[Rule], text: &[u8], ended: bool) {
        let mut borrowed = lazy.borrow();
        let mut place = match self.at {
            At::Lazy(place) if borrowed.is_valid(place) => place,
            _ => {
                (self.seen, self.longest) = (0, None);
                match borrowed.start(self.before) {
                    Some(place) => place,
                    None => {
                        self.at = At::End;
                        return;
                    }
                }
            }
        };
        let mut dead = false;
        while !dead && self.seen < text.len() {
            let arrival = borrowed.next(&mut place, text[self.seen]);
            if arrival.matched {
                self.take(&[lazy.rule], rules, &text[..self.seen]);
            }
            self.seen += 1;
            dead = arrival.dead || self.seen > LONGEST;
        }
        if ended && !dead {
            if borrowed.end(&mut place).matched {
                self.take(&[lazy.rule], rules, text);
            }
            dead = true;
        }
        self.at = if dead { At::End } else { At::Lazy(place) };
    }

    /// The first of the patterns in `set` whose check holds becomes the longest match, unless the match is empty.
    fn take(&mut self, set: &[u32], rules: &[Rule], matched: &[u8]) {
        let holds = |rule: &&u32| rules[**rule as usize].check.is_none_or(|check| check.holds(matched));
        if let Some(rule) = set.iter().find(holds).filter(|_| !matched.is_empty()) {
            self.longest = Some(Match { length: matched.len(), rule: *rule });
        }
    }
}
