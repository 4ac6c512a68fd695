//! What finds the matches that begin at one place: an automaton that is known as a whole, or one that is made as it runs.

use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::hir::Hir;

use super::automaton::Automaton;
use super::lazy::Lazy;

/// Of one nondeterministic automaton, in bytes: what a repetition of a repetition can grow to.
const MOST_STATES: usize = 16 << 20;

pub(super) enum BuildError {
    TooLarge,
    Other(String),
}

pub(super) enum Engine {
    Whole(Automaton),
    Lazy(Box<Lazy>),
}

impl Engine {
    /// Builds one for all `patterns`, with at most so much memory while it is built.
    pub(super) fn whole(patterns: &[(u32, &Hir)], memory: usize) -> Result<Self, BuildError> {
        let numbers: Vec<u32> = patterns.iter().map(|(number, _)| *number).collect();
        Automaton::build(&nfa(patterns)?, &numbers, memory).map(Self::Whole)
    }

    pub(super) fn lazy(pattern: (u32, &Hir)) -> Result<Self, BuildError> {
        Lazy::build(nfa(&[pattern])?, pattern.0).map(|lazy| Self::Lazy(Box::new(lazy)))
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
