//! What a match becomes in the source of a JSON document, so that this stays one.
//!
//! Patterns know nothing of JSON: a match may lie in a string, be a number, or go from the name of a member into its value.
//! Quotes, brackets, colons, commas and the space between them stay whatever matches. Of a match over several strings the
//! replacement stands in each of them, but for names whose values are in it too. A number or a word is held until it is
//! whole, and becomes a string if anything in it is replaced.

use std::ops::Range;

use super::inner::{Cursor, Inner};
use super::masker::Sink;

/// Of a number or a word that is held, in bytes. What is longer passes, and what is replaced in it is not quoted.
const LONGEST: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quote,
    /// In a string.
    Inside,
    /// Of a number or a word.
    Token,
    Between,
}

/// A stretch of the decoded text.
type Part = (Kind, Range<usize>);

/// Where in the document the walk is.
#[derive(Default)]
pub(super) struct Structure {
    in_string: bool,
    /// A number or a word so far: as it was written, and what has become of it.
    token: String,
    new: String,
    changed: bool,
    passing: bool,
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'}' | b'[' | b']' | b',' | b':')
}

impl Structure {
    /// What is held of a number or a word, as it came.
    pub(super) fn held(&self) -> &str {
        &self.token
    }

    /// Everything up to `to` stays.
    pub(super) fn keep(&mut self, inner: &Inner, cursor: &mut Cursor, to: usize, out: &mut impl Sink) {
        while cursor.decoded < to {
            let (kind, range) = part(self.in_string, inner, cursor.decoded..to);
            let source = &inner.source[cursor.pass(inner, range.end)];
            self.take(kind, source, None, out);
        }
    }

    /// Up to `end` is a match, in whose place `with` goes, as it is written between quotes.
    pub(super) fn replace(
        &mut self,
        inner: &Inner,
        cursor: &mut Cursor,
        (end, with): (usize, &str),
        out: &mut impl Sink,
    ) {
        let parts = self.parts(inner, cursor.decoded..end);
        let last = parts.iter().rposition(|(kind, _)| matches!(kind, Kind::Inside | Kind::Token));
        for (index, (kind, range)) in parts.iter().enumerate() {
            let source = &inner.source[cursor.pass(inner, range.end)];
            let stays = last > Some(index) && is_name(inner, &parts[index..]);
            self.take(*kind, source, Some(with).filter(|_| !stays), out);
        }
    }

    /// Nothing follows. Another document may begin.
    pub(super) fn finish(&mut self, out: &mut impl Sink) {
        self.end_token(out);
        *self = Self::default();
    }

    fn parts(&self, inner: &Inner, mut range: Range<usize>) -> Vec<Part> {
        let mut in_string = self.in_string;
        let mut parts = Vec::new();
        while !range.is_empty() {
            let found = part(in_string, inner, range.clone());
            in_string ^= found.0 == Kind::Quote;
            range.start = found.1.end;
            parts.push(found);
        }
        parts
    }

    fn take(&mut self, kind: Kind, source: &str, with: Option<&str>, out: &mut impl Sink) {
        match (kind, with) {
            (Kind::Token, _) if !self.passing => {
                self.token.push_str(source);
                self.new.push_str(with.unwrap_or(source));
                self.changed |= with.is_some();
                if self.token.len() > LONGEST {
                    self.end_token(out);
                    self.passing = true;
                }
            }
            (Kind::Inside | Kind::Token, Some(with)) => out.replace(source, with),
            (Kind::Inside | Kind::Token, None) => out.keep(source),
            (Kind::Quote | Kind::Between, _) => {
                self.end_token(out);
                self.in_string ^= kind == Kind::Quote;
                out.keep(source);
            }
        }
    }

    fn end_token(&mut self, out: &mut impl Sink) {
        if self.changed {
            out.replace(&self.token, &format!("\"{}\"", self.new));
        } else if !self.token.is_empty() {
            out.keep(&self.token);
        }
        self.token.clear();
        self.new.clear();
        (self.changed, self.passing) = (false, false);
    }
}

/// The first part of what is in `range`, which is not empty.
fn part(in_string: bool, inner: &Inner, range: Range<usize>) -> Part {
    let text = &inner.decoded.as_bytes()[range.clone()];
    let is_quote = |at: usize| text[at] == b'"' && !inner.is_escape(range.start + at);
    let up_to = |length: usize| range.start..range.start + length;
    if is_quote(0) {
        return (Kind::Quote, up_to(1));
    }
    if in_string {
        let quote = memchr::memchr_iter(b'"', text).find(|at| is_quote(*at));
        return (Kind::Inside, up_to(quote.unwrap_or(text.len())));
    }
    let between = is_between(text[0]);
    let ends = |at: &usize| is_between(text[*at]) != between || is_quote(*at);
    let length = (1..text.len()).find(ends).unwrap_or(text.len());
    (if between { Kind::Between } else { Kind::Token }, up_to(length))
}

/// Whether the first of `parts` is the end of the name of a member.
fn is_name(inner: &Inner, parts: &[Part]) -> bool {
    let [(Kind::Inside, _), (Kind::Quote, _), (Kind::Between, between), ..] = parts else { return false };
    inner.decoded[between.clone()].trim_start().starts_with(':')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::text::masker::Masker;
    use crate::text::patterns::Patterns;

    fn masked(regex: &str, text: &str, length: usize) -> String {
        let patterns = format!(r##"[{{"id":"p","regex":{},"replacement":"*\""}}]"##, serde_json::json!(regex));
        let patterns = Arc::new(Patterns::compile(patterns.as_bytes()).unwrap());
        let mut masker = Masker::new(patterns, true, Arc::from([]));
        let mut out = String::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(length) {
            masker.feed(&piece.iter().collect::<String>(), &mut out);
        }
        masker.finish(&mut out);
        out
    }

    fn becomes(regex: &str, text: &str, expected: &str) {
        for length in [1, 3, 1000] {
            assert_eq!(masked(regex, text, length), expected, "{regex} in {text}");
        }
    }

    #[test]
    fn numbers_and_words_become_strings() {
        becomes("[0-9]{4}", r#"{"a": 1234}"#, r##"{"a": "*\""}"##);
        becomes("[0-9]{4}", r#"[-1234.5e7,12345678, 12,"1234"]"#, r##"["-*\".5e7","*\"*\"", 12,"*\""]"##);
        becomes("true|ul", "[true,null,false]", r##"["*\"","n*\"l",false]"##);
        becomes("[0-9]+", "12", r##""*\"""##);
    }

    #[test]
    fn what_is_between_values_stays() {
        becomes(r#"key": *"[a-z]+"#, r#"{"my_key" : 1, "my_key":  "abc1"}"#, r##"{"my_key" : 1, "my_key":  "*\"1"}"##);
        becomes(r#"key": *[0-9]+"#, r#"{"key": 12, "b": 3}"#, r##"{"key": "*\"", "b": 3}"##);
        becomes(r#"a.*b"#, r#"{"x":"1a2","y":{"z":[3,"b4"]}}"#, r##"{"x":"1*\"","y":{"z":["*\"","*\"4"]}}"##);
        becomes(r#""a""#, r#"{"a":"a"}"#, r##"{"*\"":"*\""}"##);
        becomes(r#"a": "#, r#"{"a": 1}"#, r##"{"*\"": 1}"##);
        becomes(r"[\]}]+", r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        becomes(r#"k":"[^"]*""#, r#"{"k":"","k":"v"}"#, r##"{"*\"":"","k":"*\""}"##);
    }

    #[test]
    fn quotes_that_are_escaped_end_no_string() {
        becomes(
            "[0-9]{4}",
            r#"{"a\"1234":"\\","b":1234,"c":"\u00221234\\\""}"#,
            r##"{"a\"*\"":"\\","b":"*\"","c":"\u0022*\"\\\""}"##,
        );
    }

    #[test]
    fn a_number_beyond_all_bounds_passes() {
        let long = "1".repeat(5000);
        becomes("2", &format!("[{long}2]"), &format!(r##"[{long}*\"]"##));
        assert_eq!(masked("x", &long, 7), long);
    }
}
