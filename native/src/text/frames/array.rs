//! The elements of an array that is the document, one after the other as they arrive.
//!
//! An answer that is no array after all, such as an error, is one event.

use super::whole::Whole;
use super::{Buffer, Parts, Piece};

#[derive(Debug, Default)]
enum Place {
    /// Before the opening bracket.
    #[default]
    Before,
    /// Between elements; they are separated by what has been read and not handed out.
    Between,
    /// In an element.
    Element(Scan),
    /// In an element that is too long, and passes.
    Passing(Scan),
    /// Behind the closing bracket.
    After,
    /// It is no array.
    Other(Whole),
}

/// How far an element has been read.
#[derive(Debug, Default, Clone, Copy)]
struct Scan {
    /// Where it begins, from the first byte not handed out.
    start: usize,
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    /// A number or a word: it ends before a separator.
    is_bare: bool,
}

/// How many bytes at the beginning of `text` are between elements.
pub(in crate::text) fn separators(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count()
}

#[derive(Debug, Default)]
pub(super) struct Array {
    place: Place,
}

impl Array {
    /// Whether the opening bracket has been handed out.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.place, Place::Before | Place::Other(_))
    }

    pub(super) fn next(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        match &mut self.place {
            Place::Before => self.before(buffer, parts, longest),
            Place::Between => self.between(buffer, parts, longest),
            Place::Element(scan) => {
                let mut scan = *scan;
                let is_whole = scan.go(buffer);
                self.place = Place::Element(scan);
                self.element(buffer, parts, scan, is_whole, longest)
            }
            Place::Passing(scan) => {
                if scan.go(buffer) {
                    self.place = Place::Between;
                }
                (buffer.done < buffer.at).then(|| Piece::Other(buffer.take(buffer.at)))
            }
            Place::After => buffer.take_all().map(Piece::Other),
            Place::Other(whole) => whole.next(buffer, parts, longest),
        }
    }

    fn before(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf);
        let blank = buffer.bytes[buffer.done..].iter().take_while(|byte| is_blank(byte)).count();
        match buffer.bytes.get(buffer.done + blank) {
            None => buffer.take_all().map(Piece::Other),
            Some(b'[') => {
                self.place = Place::Between;
                Some(Piece::Other(buffer.take(buffer.done + blank + 1)))
            }
            Some(_) if blank > 0 => Some(Piece::Other(buffer.take(buffer.done + blank))),
            Some(_) => {
                self.place = Place::Other(Whole::default());
                self.next(buffer, parts, longest)
            }
        }
    }

    fn between(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        buffer.at += separators(&buffer.bytes[buffer.at..]);
        match buffer.bytes.get(buffer.at) {
            None if buffer.ended || buffer.waiting() > longest => buffer.take_all().map(Piece::Other),
            None => None,
            Some(b']') => {
                self.place = Place::After;
                let before = buffer.take(buffer.at);
                Some(Piece::Close { before, raw: buffer.take(buffer.at + 1) })
            }
            Some(_) => {
                self.place = Place::Element(Scan { start: buffer.at - buffer.done, ..Scan::default() });
                self.next(buffer, parts, longest)
            }
        }
    }

    fn element(
        &mut self,
        buffer: &mut Buffer,
        parts: &mut Parts,
        scan: Scan,
        is_whole: bool,
        longest: usize,
    ) -> Option<Piece> {
        if is_whole || buffer.ended {
            self.place = Place::Between;
            let before = buffer.take(buffer.done + scan.start);
            let raw = buffer.take(buffer.at);
            parts.push(raw.clone());
            return Some(Piece::Event { before, raw });
        }
        if buffer.waiting() > longest {
            self.place = Place::Passing(Scan { start: 0, ..scan });
            return buffer.take_all().map(Piece::TooLong);
        }
        None
    }
}

impl Scan {
    /// Reads on in the element; returns whether it has ended, right before `buffer.at`.
    fn go(&mut self, buffer: &mut Buffer) -> bool {
        while let Some(byte) = buffer.bytes.get(buffer.at).copied() {
            if self.in_string {
                self.go_through_string(buffer);
                if self.depth == 0 && !self.in_string {
                    return true;
                }
                continue;
            }
            match byte {
                b'"' if !self.is_bare => self.in_string = true,
                b'{' | b'[' if !self.is_bare => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        buffer.at += 1;
                        return true;
                    }
                }
                b',' | b']' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 => return true,
                _ => self.is_bare = self.depth == 0,
            }
            buffer.at += 1;
        }
        false
    }

    fn go_through_string(&mut self, buffer: &mut Buffer) {
        if std::mem::take(&mut self.after_backslash) {
            buffer.at += 1;
            return;
        }
        let Some(distance) = memchr::memchr2(b'"', b'\\', &buffer.bytes[buffer.at..]) else {
            buffer.at = buffer.bytes.len();
            return;
        };
        self.in_string = buffer.bytes[buffer.at + distance] == b'\\';
        self.after_backslash = self.in_string;
        buffer.at += distance + 1;
    }
}
