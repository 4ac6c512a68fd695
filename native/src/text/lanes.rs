//! One text of an answer, put together from pieces that stand in the strings of its events.
//!
//! Matching works on what escapes stand for; what is sent is the source. So the source of what the matcher has not decided
//! on is kept beside it, and what it keeps goes out as it was written, half a surrogate pair included.

use std::sync::Arc;

use super::escape;
use super::masker::{Masker, Sink};
use super::plan::LaneRule;

/// The state of a text. Pieces go in as they stand between the quotes, and come out so.
pub(super) struct Text {
    masker: Option<Masker>,
    shadow: Option<Masker>,
    /// The source of what the matcher holds back.
    held: Vec<u8>,
    /// The first half of a surrogate pair, whose second one may be at the beginning of the next piece.
    half: Vec<u8>,
}

/// Memory that all texts use in turn.
#[derive(Default)]
pub(super) struct Scratch {
    source: Vec<u8>,
    decoded: String,
}

/// Copies the source as the matcher tells.
struct Copying<'a> {
    source: &'a [u8],
    out: &'a mut Vec<u8>,
}

impl Copying<'_> {
    fn take(&mut self, decoded: usize) -> &[u8] {
        let (taken, rest) = self.source.split_at(escape::raw_length(self.source, decoded));
        self.source = rest;
        taken
    }
}

impl Sink for Copying<'_> {
    fn keep(&mut self, source: &str) {
        let (taken, rest) = self.source.split_at(escape::raw_length(self.source, source.len()));
        self.source = rest;
        self.out.extend_from_slice(taken);
    }

    fn replace(&mut self, source: &str, with: &str) {
        self.take(source.len());
        escape::escape(with, self.out);
    }
}

/// Of a shadow matcher only the counts are of interest.
struct Nowhere;

impl Sink for Nowhere {
    fn keep(&mut self, _source: &str) {}
    fn replace(&mut self, _source: &str, _with: &str) {}
}

impl Text {
    pub(super) fn new(rule: &LaneRule, hash_key: &Arc<[u8]>) -> Self {
        let masker = |patterns: &Arc<_>| Masker::new(Arc::clone(patterns), rule.escaped, Arc::clone(hash_key));
        Self {
            masker: rule.patterns.as_ref().map(masker),
            shadow: rule.shadow.as_ref().map(masker),
            held: Vec::new(),
            half: Vec::new(),
        }
    }

    /// Appends to `out` what is certain after this piece; `last`: nothing follows. Returns how many code points it has.
    pub(super) fn feed(&mut self, piece: &str, last: bool, scratch: &mut Scratch, out: &mut Vec<u8>) -> u64 {
        let Scratch { source, decoded } = scratch;
        source.clear();
        source.extend_from_slice(&self.held);
        let before = source.len();
        source.append(&mut self.half);
        source.extend_from_slice(piece.as_bytes());
        decoded.clear();
        let fresh = std::str::from_utf8(&source[before..]).unwrap_or_default(); // whole strings of what was read as UTF-8
        let text = if memchr::memchr(b'\\', fresh.as_bytes()).is_none() {
            fresh
        } else {
            if escape::decode(fresh, decoded) && !last {
                self.half = source.split_off(source.len() - escape::HALF);
                decoded.truncate(decoded.len() - char::REPLACEMENT_CHARACTER.len_utf8());
            }
            decoded
        };
        if let Some(shadow) = &mut self.shadow {
            feed(shadow, text, last, &mut Nowhere);
        }
        if let Some(masker) = &mut self.masker {
            let mut copy = Copying { source, out };
            feed(masker, text, last, &mut copy);
            let rest = if masker.denied().is_some() { &[] } else { copy.source };
            self.held.clear();
            self.held.extend_from_slice(rest);
        } else {
            out.extend_from_slice(piece.as_bytes());
        }
        characters(text)
    }

    /// Whether something has come that has not gone out.
    pub(super) fn holds(&self) -> bool {
        self.masker.is_some() && (!self.held.is_empty() || !self.half.is_empty())
    }

    pub(super) fn denied(&self) -> Option<&str> {
        self.masker.as_ref().and_then(Masker::denied)
    }

    pub(super) fn matches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.masker.iter().flat_map(Masker::matches)
    }

    pub(super) fn shadow_matches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.shadow.iter().flat_map(Masker::matches)
    }
}

fn feed(masker: &mut Masker, text: &str, last: bool, out: &mut impl Sink) {
    masker.feed(text, out);
    if last {
        masker.finish(out);
    }
}

fn characters(text: &str) -> u64 {
    text.bytes().filter(|byte| (byte & 0xc0) != 0x80).count() as u64
}
