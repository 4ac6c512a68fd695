//! Masks text that arrives in pieces exactly as if it had come at once, and holds back only what has to be.
//!
//! What is masked is defined by a walk. At each place all patterns are tried; the longest match counts, of several of the
//! same length that of the pattern that comes first; one whose check digits are wrong is no match. A match is replaced
//! and the walk goes on behind it; without one it goes on with the next character. The walk stops where the text so far
//! leaves open what matches, and goes on from there, in the same states, when there is more. A match is at most
//! `LONGEST` bytes, so that no text can hold back more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::inner::{Cursor, Inner};
use super::patterns::{Action, Patterns, Rule};
use super::run::{Course, Match, Run};
use super::structure::Structure;
use super::trail::Trails;

/// Of a match, in bytes.
pub const LONGEST: usize = 64 << 10;
/// What a buffer may keep of its memory when it has become small again.
const SPARE: usize = 4 << 10;

/// Searches one text. Cheap to make: all that is compiled is shared.
pub struct Masker {
    held: Held,
    walk: Walk,
}

/// Takes what has become of a text, in order and without gaps.
pub trait Sink {
    /// This part of the text stays as it is.
    fn keep(&mut self, source: &str);
    /// This part of the text makes room for another.
    fn replace(&mut self, source: &str, with: &str);
}

impl Sink for String {
    fn keep(&mut self, source: &str) {
        self.push_str(source);
    }

    fn replace(&mut self, _source: &str, with: &str) {
        self.push_str(with);
    }
}

/// What is not decided yet.
enum Held {
    Plain(String),
    Escaped(Inner, Structure),
}

impl Masker {
    /// `escaped`: the text is the source of a JSON document; patterns see what its escapes stand for, and what they replace
    /// leaves it one, see `structure`. `hash_key` is for replacements with `{hash}`.
    pub fn new(patterns: Arc<Patterns>, escaped: bool, hash_key: Arc<[u8]>) -> Self {
        let held =
            if escaped { Held::Escaped(Inner::default(), Structure::default()) } else { Held::Plain(String::new()) };
        let walk = Walk {
            patterns,
            hash_key,
            before: None,
            runs: Vec::new(),
            trails: Vec::new(),
            decided: 0,
            counts: BTreeMap::new(),
            denied: None,
        };
        Self { held, walk }
    }

    /// Tells `out` what is certain after this piece. After a denial that is nothing.
    pub fn feed(&mut self, text: &str, out: &mut impl Sink) {
        self.go_on(text, false, out);
    }

    /// Tells `out` the rest: nothing follows. Another text may begin after it.
    pub fn finish(&mut self, out: &mut impl Sink) {
        self.go_on("", true, out);
        self.walk.before = None;
    }

    /// How many bytes of the text are held back.
    pub fn held(&self) -> usize {
        self.held_text().len()
    }

    /// What is held back, as it came.
    pub fn held_text(&self) -> Cow<'_, str> {
        match &self.held {
            Held::Plain(text) => Cow::Borrowed(text),
            Held::Escaped(inner, structure) => Cow::Owned(format!("{}{}", structure.held(), inner.source)),
        }
    }

    /// The id of the pattern that ended the text.
    pub fn denied(&self) -> Option<&str> {
        self.walk.denied.map(|id| self.walk.id(id))
    }

    /// Matches by id of pattern, the denied one included.
    pub fn matches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.walk.counts.iter().map(|(id, count)| (self.walk.id(*id), *count))
    }

    fn go_on(&mut self, text: &str, ended: bool, out: &mut impl Sink) {
        let walk = &mut self.walk;
        if walk.denied.is_some() {
            return;
        }
        match &mut self.held {
            Held::Plain(held) if held.is_empty() => {
                let decided = walk.go(text, ended, &mut Plain { text, at: 0, out });
                held.push_str(&text[decided..]);
            }
            Held::Plain(held) => {
                held.push_str(text);
                let decided = walk.go(held, ended, &mut Plain { text: held, at: 0, out });
                held.drain(..decided);
                shrink(held);
            }
            Held::Escaped(inner, structure) => {
                inner.push(text, ended);
                let cursor = Cursor::default();
                let decided = walk.go(&inner.decoded, ended, &mut Escaped { inner, structure, cursor, out });
                inner.forget(decided);
                if ended && walk.denied.is_none() {
                    structure.finish(out);
                }
                shrink(&mut inner.source);
                shrink(&mut inner.decoded);
            }
        }
        if walk.denied.is_some() {
            match &mut self.held {
                Held::Plain(held) => held.clear(),
                Held::Escaped(inner, structure) => {
                    inner.clear();
                    *structure = Structure::default();
                }
            }
        }
    }
}

fn shrink(buffer: &mut String) {
    if buffer.capacity() > SPARE && buffer.len() < SPARE / 2 {
        buffer.shrink_to(SPARE / 2);
    }
}

/// Where the walk writes to.
trait Output {
    /// Everything up to `to` in the text stays as it is.
    fn pass(&mut self, to: usize);
    /// From there to `end` is replaced.
    fn replace(&mut self, end: usize, rule: &Rule, key: &[u8]);
}

struct Plain<'a, S> {
    text: &'a str,
    at: usize,
    out: &'a mut S,
}

impl<S: Sink> Output for Plain<'_, S> {
    fn pass(&mut self, to: usize) {
        if to > self.at {
            self.out.keep(&self.text[self.at..to]);
            self.at = to;
        }
    }

    fn replace(&mut self, end: usize, rule: &Rule, key: &[u8]) {
        let matched = &self.text[self.at..end];
        let mut with = String::new();
        rule.replacement.write(matched, key, false, &mut with);
        self.out.replace(matched, &with);
        self.at = end;
    }
}

struct Escaped<'a, S> {
    inner: &'a Inner,
    structure: &'a mut Structure,
    cursor: Cursor,
    out: &'a mut S,
}

impl<S: Sink> Output for Escaped<'_, S> {
    fn pass(&mut self, to: usize) {
        self.structure.keep(self.inner, &mut self.cursor, to, self.out);
    }

    fn replace(&mut self, end: usize, rule: &Rule, key: &[u8]) {
        let start = self.cursor.decoded;
        let mut with = String::new();
        rule.replacement.write(&self.inner.decoded[start..end], key, true, &mut with);
        self.structure.replace(self.inner, &mut self.cursor, (end, &with), self.out);
    }
}

struct Walk {
    patterns: Arc<Patterns>,
    hash_key: Arc<[u8]>,
    /// The byte before what is not decided yet.
    before: Option<u8>,
    /// One for each engine that can match there, while there is something to decide.
    runs: Vec<Run>,
    /// By engine; empty unless there was a long run.
    trails: Vec<Trails>,
    /// How many bytes are decided.
    decided: u64,
    counts: BTreeMap<u32, u64>,
    denied: Option<u32>,
}

impl Walk {
    fn id(&self, id: u32) -> &str {
        &self.patterns.ids[id as usize]
    }

    /// Walks through `text`, which begins with what is not decided; returns how much of it is decided now.
    fn go(&mut self, text: &str, ended: bool, out: &mut impl Output) -> usize {
        let patterns = Arc::clone(&self.patterns);
        let bytes = text.as_bytes();
        let mut at = 0;
        loop {
            if self.runs.is_empty() {
                let start = patterns.starts.next(bytes, at, self.before);
                self.move_to(bytes, &mut at, start);
                if at == bytes.len() {
                    break;
                }
                let engines = patterns.starts.engines(self.before, bytes[at], patterns.engines.len());
                self.runs.extend(engines.filter_map(|number| {
                    Run::begin(number, &patterns.engines[number], self.before, self.decided, &bytes[at..])
                }));
            }
            if self.runs.is_empty() {
                self.move_on(bytes, &mut at);
                continue;
            }
            if !self.run(&patterns, &bytes[at..], ended) {
                break;
            }
            let Some(found) = longest(&self.runs) else {
                self.runs.clear();
                self.move_on(bytes, &mut at);
                continue;
            };
            self.runs.clear();
            self.trails.clear();
            out.pass(at);
            let rule = &patterns.rules[found.rule as usize];
            *self.counts.entry(rule.id).or_default() += 1;
            if rule.action == Action::Deny {
                self.denied = Some(rule.id);
                return at;
            }
            let end = at + found.length;
            out.replace(end, rule, &self.hash_key);
            self.move_to(bytes, &mut at, end);
        }
        out.pass(at);
        at
    }

    /// Leaves a place where nothing matches. No match begins within a character, so one byte further will do.
    fn move_on(&mut self, text: &[u8], at: &mut usize) {
        let next = *at + 1;
        self.move_to(text, at, next);
        if !self.trails.is_empty() {
            self.trails.iter_mut().for_each(|trails| trails.ended(self.decided));
            if self.trails.iter().all(Trails::is_empty) {
                self.trails.clear();
            }
        }
    }

    fn move_to(&mut self, text: &[u8], at: &mut usize, to: usize) {
        if to > *at {
            self.before = Some(text[to - 1]);
            self.decided += (to - *at) as u64;
            *at = to;
        }
    }

    /// Runs all engines as far as the text goes; whether everything is decided then.
    fn run(&mut self, patterns: &Patterns, text: &[u8], ended: bool) -> bool {
        let course = Course { text, ended, rules: &patterns.rules };
        let mut decided = true;
        for run in &mut self.runs {
            decided &= run.go(&patterns.engines[run.engine], course, &mut self.trails);
        }
        decided
    }
}

/// The longest match; of several, that of the first rule.
fn longest(runs: &[Run]) -> Option<Match> {
    runs.iter().filter_map(|run| run.longest).max_by_key(|found| (found.length, u32::MAX - found.rule))
}

#[cfg(test)]
#[path = "masker_tests.rs"]
mod tests;
