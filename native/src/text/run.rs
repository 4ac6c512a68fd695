//! An engine on its way through a text, from one place on.

use super::automaton::{Automaton, DEAD};
use super::engine::Engine;
use super::lazy::{Lazy, Place};
use super::masker::LONGEST;
use super::patterns::Rule;
use super::trail::{SHORT, Trails};

pub(super) struct Run {
    pub(super) engine: usize,
    at: At,
    before: Option<u8>,
    /// Where in the text it began.
    origin: u64,
    /// How many bytes it has seen.
    seen: usize,
    pub(super) longest: Option<Match>,
}

enum At {
    Start,
    Whole(u16),
    Lazy(Place),
    End,
}

#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) rule: u32,
}

/// What a run goes through, and by which rules.
#[derive(Clone, Copy)]
pub(super) struct Course<'a> {
    /// Begins where the run began.
    pub(super) text: &'a [u8],
    pub(super) ended: bool,
    pub(super) rules: &'a [Rule],
}

impl Run {
    /// Begins where `text` does, at `origin` of the whole. None if it is soon plain that nothing matches there, as it is at
    /// most places.
    pub(super) fn begin(number: usize, engine: &Engine, before: Option<u8>, origin: u64, text: &[u8]) -> Option<Self> {
        let (at, seen) = match engine {
            Engine::Lazy(_) => (At::Start, 0),
            Engine::Whole(automaton) => {
                let mut state = automaton.start(before);
                let mut seen = 0;
                for byte in text.iter().take(SHORT) {
                    let next = automaton.next(state, *byte);
                    if automaton.tells(next) {
                        if next == DEAD {
                            return None;
                        }
                        break;
                    }
                    state = next;
                    seen += 1;
                }
                (At::Whole(state), seen)
            }
        };
        Some(Self { engine: number, at, before, origin, seen, longest: None })
    }

    /// Goes on; whether it has come to its end. `trails` are by engine.
    pub(super) fn go(&mut self, engine: &Engine, course: Course, trails: &mut Vec<Trails>) -> bool {
        match (engine, &self.at) {
            (_, At::End) => (),
            (Engine::Whole(automaton), At::Whole(state)) => self.go_whole(automaton, *state, course, trails),
            (Engine::Whole(automaton), _) => self.go_whole(automaton, automaton.start(self.before), course, trails),
            (Engine::Lazy(lazy), _) => self.go_lazy(lazy, course),
        }
        matches!(self.at, At::End)
    }

    fn go_whole(&mut self, automaton: &Automaton, mut state: u16, course: Course, trails: &mut Vec<Trails>) {
        while state != DEAD && self.seen < course.text.len().min(SHORT) {
            state = self.step(automaton, state, course).0;
        }
        if state != DEAD && self.seen < course.text.len() {
            if trails.len() <= self.engine {
                trails.resize_with(self.engine + 1, Trails::default);
            }
            state = self.go_far(automaton, state, course, &mut trails[self.engine]);
        }
        if course.ended && state != DEAD {
            self.take(automaton.set(automaton.get(state).at_end), course.rules, course.text);
            state = DEAD;
        }
        self.at = if state == DEAD { At::End } else { At::Whole(state) };
    }

    /// Goes on until the end of the text, or of what a match can be.
    fn go_far(&mut self, automaton: &Automaton, mut state: u16, course: Course, trails: &mut Trails) -> u16 {
        while state != DEAD && self.seen < course.text.len() {
            let (next, told) = self.step(automaton, state, course);
            state = next;
            if told {
                trails.restart();
            } else if let Some((further, end)) = trails.follow(self.origin + self.seen as u64, state) {
                self.seen += further;
                state = end;
            }
            if self.seen > LONGEST {
                return DEAD;
            }
        }
        state
    }

    /// Takes the next byte; returns the state after it, and whether a match was seen, right or wrong.
    #[inline]
    fn step(&mut self, automaton: &Automaton, state: u16, course: Course) -> (u16, bool) {
        let next = automaton.next(state, course.text[self.seen]);
        self.seen += 1;
        if !automaton.tells(next) || next == DEAD {
            return (next, false);
        }
        let known = automaton.get(next);
        self.take(automaton.set(known.before), course.rules, &course.text[..self.seen - 1]);
        if !known.settled {
            return (next, true);
        }
        if self.seen <= LONGEST {
            self.take(automaton.set(known.at_end), course.rules, &course.text[..self.seen]);
        }
        (DEAD, true)
    }

    fn go_lazy(&mut self, lazy: &Lazy, course: Course) {
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
        while !dead && self.seen < course.text.len() {
            let arrival = borrowed.next(&mut place, course.text[self.seen]);
            if arrival.matched {
                self.take(&[lazy.rule], course.rules, &course.text[..self.seen]);
            }
            self.seen += 1;
            dead = arrival.dead || self.seen > LONGEST;
        }
        if course.ended && !dead {
            if borrowed.end(&mut place).matched {
                self.take(&[lazy.rule], course.rules, course.text);
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
