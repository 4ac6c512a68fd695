//! The source of a JSON document that is itself the text of a string: patterns are to see what its escapes stand for,
//! and what is not masked is to keep them as they were written.

use std::ops::Range;

/// Text that arrives piece by piece, decoded, with the source beside it. An escape that is not complete yet is in the
/// source only.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) source: String,
    pub(super) decoded: String,
    escapes: Vec<Escape>,
    /// How much of `source` is decoded.
    read: usize,
}

/// An escape in `decoded`; both lengths in bytes.
#[derive(Clone, Copy)]
struct Escape {
    at: usize,
    decoded: usize,
    source: usize,
}

enum Unit {
    /// A character and the bytes that its escape takes.
    Escape(char, usize),
    /// A backslash that begins no escape of JSON.
    Backslash,
    Incomplete,
}

impl Inner {
    /// Adds a piece. `ended`: nothing follows, so what is incomplete is no escape.
    pub(super) fn push(&mut self, piece: &str, ended: bool) {
        self.source.push_str(piece);
        while let Some(distance) = memchr::memchr(b'\\', &self.source.as_bytes()[self.read..]) {
            let at = self.read + distance;
            self.decoded.push_str(&self.source[self.read..at]);
            self.read = at;
            match unit(&self.source.as_bytes()[at..], ended) {
                Unit::Escape(character, length) => {
                    let (at, decoded) = (self.decoded.len(), character.len_utf8());
                    self.escapes.push(Escape { at, decoded, source: length });
                    self.decoded.push(character);
                    self.read += length;
                }
                Unit::Incomplete => return,
                Unit::Backslash => {
                    self.decoded.push('\\');
                    self.read += 1;
                }
            }
        }
        self.decoded.push_str(&self.source[self.read..]);
        self.read = self.source.len();
    }

    /// Whether an escape stands for the character at this place of what is decoded.
    pub(super) fn is_escape(&self, at: usize) -> bool {
        self.escapes.binary_search_by_key(&at, |escape| escape.at).is_ok()
    }

    /// Forgets the first `length` bytes of what is decoded, and their source.
    pub(super) fn forget(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        let mut cursor = Cursor::default();
        let source = cursor.pass(self, length).end;
        self.decoded.drain(..length);
        self.source.drain(..source);
        self.read -= source;
        self.escapes.drain(..cursor.escape);
        for escape in &mut self.escapes {
            escape.at -= length;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Follows a walk through the decoded text in its source.
#[derive(Default)]
pub(super) struct Cursor {
    pub(super) decoded: usize,
    source: usize,
    escape: usize,
}

impl Cursor {
    /// Goes on to the character at `to` in the decoded text; returns the range of what was passed in the source.
    pub(super) fn pass(&mut self, inner: &Inner, to: usize) -> Range<usize> {
        let from = self.source;
        while let Some(escape) = inner.escapes.get(self.escape).filter(|escape| escape.at < to) {
            self.source += escape.at - self.decoded + escape.source;
            self.decoded = escape.at + escape.decoded;
            self.escape += 1;
        }
        self.source += to - self.decoded;
        self.decoded = to;
        from..self.source
    }
}

/// What begins with the backslash at the beginning of `text`; with `ended`, never what is incomplete. Half of a surrogate pair alone stands for U+FFFD.
fn unit(text: &[u8], ended: bool) -> Unit {
    let Some(kind) = text.get(1) else {
        return if ended { Unit::Backslash } else { Unit::Incomplete };
    };
    let character = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return by_number(text, ended),
        _ => return Unit::Backslash,
    };
    Unit::Escape(character, 2)
}

fn by_number(text: &[u8], ended: bool) -> Unit {
    match code_unit(text) {
        Ok(high @ 0xD800..=0xDBFF) => match code_unit(&text[6..]) {
            Ok(low @ 0xDC00..=0xDFFF) => {
                let number = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                Unit::Escape(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            Err(Some(digits)) if !ended && could_be_low(digits) => Unit::Incomplete,
            _ => Unit::Escape(char::REPLACEMENT_CHARACTER, 6),
        },
        Ok(number) => Unit::Escape(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        Err(Some(_)) if !ended => Unit::Incomplete,
        Err(_) => Unit::Backslash,
    }
}

/// The number of a `\uXXXX` at the beginning of `text`; its digits so far where it is not complete, None where it is none.
fn code_unit(text: &[u8]) -> Result<u32, Option<&[u8]>> {
    let start = text.len().min(2);
    if text[..start] != b"\\u"[..start] {
        return Err(None);
    }
    let digits = &text[start..text.len().min(6)];
    let mut number = 0;
    for digit in digits {
        number = number * 16 + char::from(*digit).to_digit(16).ok_or(None)?;
    }
    if digits.len() == 4 { Ok(number) } else { Err(Some(digits)) }
}

/// Whether the digits of an incomplete escape can become the second half of a surrogate pair.
fn could_be_low(digits: &[u8]) -> bool {
    digits.first().is_none_or(|digit| matches!(digit, b'd' | b'D'))
        && digits.get(1).is_none_or(|digit| matches!(digit, b'c'..=b'f' | b'C'..=b'F'))
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Inner};

    fn decoded(pieces: &[&str]) -> Vec<String> {
        let mut inner = Inner::default();
        let push = |piece: &&str| {
            inner.push(piece, false);
            inner.decoded.clone()
        };
        pieces.iter().map(push).collect()
    }

    #[test]
    fn escapes_are_decoded_when_they_are_complete() {
        assert_eq!(decoded(&["a\\", "u", "00", "62", "c"]), ["a", "a", "a", "ab", "abc"]);
        assert_eq!(decoded(&["\\\\u0062\\\"\\/\\n"]), ["\\u0062\"/\n"]);
        assert_eq!(decoded(&["\\ud83d", "\\", "ude", "00", "."]), ["", "", "", "😀", "😀."]);
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        assert_eq!(decoded(&["\\x", "\\u00g0", "é\\"]), ["\\x", "\\x\\u00g0", "\\x\\u00g0é"]);
        let mut inner = Inner::default();
        inner.push("a\\ud83d\\ude", true);
        assert_eq!(inner.decoded, "a\u{fffd}\\ude");
    }

    #[test]
    fn half_of_a_pair_alone_is_a_replacement_character() {
        assert_eq!(decoded(&["\\ud83d", "x"]), ["", "\u{fffd}x"]);
        assert_eq!(decoded(&["\\ud83d\\u", "0", "061"]), ["", "\u{fffd}", "\u{fffd}a"]);
        assert_eq!(decoded(&["\\ude00"]), ["\u{fffd}"]);
        assert_eq!(decoded(&["\\ud83d\\ud83d", "\\ude00"]), ["\u{fffd}", "\u{fffd}😀"]);
    }

    #[test]
    fn places_in_the_text_are_found_in_its_source() {
        let mut inner = Inner::default();
        inner.push("a\\u0062c\\n\\", false);
        let mut cursor = Cursor::default();
        assert_eq!(cursor.pass(&inner, 1), 0..1);
        assert_eq!(cursor.pass(&inner, 2), 1..7);
        assert_eq!(cursor.pass(&inner, 4), 7..10);
        inner.forget(3);
        assert_eq!((inner.decoded.as_str(), inner.source.as_str()), ("\n", "\\n\\"));
        inner.push("tx", false);
        assert_eq!(inner.decoded, "\n\tx");
        assert_eq!(Cursor::default().pass(&inner, 2), 0..4);
    }
}
