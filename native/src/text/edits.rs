//! Changes of a document by spans: every byte outside of them stays.

use std::ops::Range;

use super::escape;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Bytes of `texts` stand in the span's place.
    Replace { from: usize, to: usize },
    /// A member or element goes, with the comma that is then too many.
    Remove,
    /// A member is added; the span is the closing brace of the object, exclusive.
    Insert { from: usize, to: usize },
}

#[derive(Debug, Clone, Copy)]
struct Edit {
    start: usize,
    end: usize,
    change: Change,
}

/// Changes that are to be made in one document. Where two of them overlap, the outer one holds; of two of the same span the
/// later one.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<Edit>,
    texts: Vec<u8>,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn after_space(source: &[u8], at: usize) -> usize {
    at + source[at..].iter().take_while(|byte| is_space(**byte)).count()
}

fn before_space(source: &[u8], at: usize) -> usize {
    at - source[..at].iter().rev().take_while(|byte| is_space(**byte)).count()
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    pub fn clear(&mut self) {
        self.edits.clear();
        self.texts.clear();
    }

    /// Puts `raw` into the place of the span.
    pub fn replace(&mut self, span: Range<usize>, raw: &[u8]) {
        let (from, to) = self.keep(raw);
        self.push(span, Change::Replace { from, to });
    }

    /// Replaces the content of a string (the span is without its quotes) by `text`, but for what both begin and end with:
    /// that stays as it is written.
    pub fn replace_text(&mut self, source: &str, span: Range<usize>, text: &str) {
        let raw = &source[span.clone()];
        let mut old = String::new();
        escape::decode(raw, &mut old);
        let prefix = common_prefix(&old, text);
        let suffix = common_suffix(&old[prefix..], &text[prefix..]);
        let first = escape::raw_length(raw.as_bytes(), prefix);
        let last = escape::raw_length(raw.as_bytes(), old.len() - suffix);
        let mut new = Vec::new();
        escape::escape(&text[prefix..text.len() - suffix], &mut new);
        if first != last || !new.is_empty() {
            self.replace(span.start + first..span.start + last, &new);
        }
    }

    /// Takes a member (the span begins with its name) or an element out.
    pub fn remove(&mut self, span: Range<usize>) {
        self.push(span, Change::Remove);
    }

    /// Adds `"key": raw` as the last member of the object that ends at `end`.
    pub fn insert(&mut self, end: usize, key: &str, raw: &[u8]) {
        let mut member = escape::quote(key);
        member.push(b':');
        member.extend_from_slice(raw);
        let (from, to) = self.keep(&member);
        self.edits.push(Edit { start: end - 1, end: end - 1, change: Change::Insert { from, to } });
    }

    /// Appends `source` with all changes made to `out`.
    pub fn apply(&mut self, source: &[u8], out: &mut Vec<u8>) {
        self.apply_in(source, source, |at| at, out);
    }

    /// The same where `source` stands in `raw` in pieces: `place` says where a byte of it is. What is between the pieces
    /// stays, but for what a change spans.
    pub fn apply_in(&mut self, source: &[u8], raw: &[u8], place: impl Fn(usize) -> usize, out: &mut Vec<u8>) {
        self.settle();
        self.take_commas(source);
        let mut from = 0;
        for (index, edit) in self.edits.iter().enumerate() {
            let start = place(edit.start);
            let end = if edit.end > edit.start { place(edit.end - 1) + 1 } else { start };
            out.extend_from_slice(&raw[from..start]);
            match edit.change {
                Change::Replace { from, to } => out.extend_from_slice(&self.texts[from..to]),
                Change::Remove => {}
                Change::Insert { from, to } => {
                    if !self.is_first_member(source, index) {
                        out.push(b',');
                    }
                    out.extend_from_slice(&self.texts[from..to]);
                }
            }
            from = end;
        }
        out.extend_from_slice(&raw[from..]);
    }

    /// Sorts, and drops what lies within another change.
    fn settle(&mut self) {
        self.edits.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
        let mut kept = 0;
        for index in 0..self.edits.len() {
            let edit = self.edits[index];
            match self.edits[..kept].last_mut() {
                Some(last) if (last.start, last.end) == (edit.start, edit.end) && edit.end > edit.start => *last = edit,
                Some(last) if edit.start < last.end => {}
                _ => {
                    self.edits[kept] = edit;
                    kept += 1;
                }
            }
        }
        self.edits.truncate(kept);
    }

    /// Joins what is removed side by side, and adds the comma behind it or, at the end of a container, before it.
    fn take_commas(&mut self, source: &[u8]) {
        let is_neighbour = |last: &Edit, edit: &Edit| {
            let comma = after_space(source, last.end);
            source.get(comma) == Some(&b',') && after_space(source, comma + 1) == edit.start
        };
        self.edits.dedup_by(|edit, last| {
            let joins = edit.change == Change::Remove && last.change == Change::Remove && is_neighbour(last, edit);
            if joins {
                last.end = edit.end;
            }
            joins
        });
        for edit in self.edits.iter_mut().filter(|edit| edit.change == Change::Remove) {
            let behind = after_space(source, edit.end);
            let before = before_space(source, edit.start);
            if source.get(behind) == Some(&b',') {
                edit.end = after_space(source, behind + 1);
            } else if source[..before].ends_with(b",") {
                edit.start = before - 1;
            }
        }
    }

    /// Whether nothing is left in the object before the place of this insertion.
    fn is_first_member(&self, source: &[u8], index: usize) -> bool {
        let mut at = before_space(source, self.edits[index].start);
        for edit in self.edits[..index].iter().rev() {
            match edit.change {
                Change::Insert { .. } if edit.start == self.edits[index].start => return false,
                Change::Remove if edit.end >= at => at = before_space(source, edit.start),
                _ => break,
            }
        }
        source[..at].ends_with(b"{")
    }

    fn keep(&mut self, text: &[u8]) -> (usize, usize) {
        let from = self.texts.len();
        self.texts.extend_from_slice(text);
        (from, self.texts.len())
    }

    fn push(&mut self, span: Range<usize>, change: Change) {
        self.edits.push(Edit { start: span.start, end: span.end, change });
    }
}

/// Bytes of the longest common beginning, whole characters.
fn common_prefix(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|at| one.is_char_boundary(*at)).unwrap_or(0)
}

fn common_suffix(one: &str, other: &str) -> usize {
    let same = one.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|length| one.is_char_boundary(one.len() - length)).unwrap_or(0)
}
