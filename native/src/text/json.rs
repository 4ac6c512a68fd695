//! A strict reader of JSON (RFC 8259) that notes where values are, and makes nothing of them.
//!
//! Other readers build values and lose what was written: the order and the duplicates of members, the digits of numbers,
//! escapes, white space. This one yields spans of the source, and only of values on the paths that it is given; all else
//! is checked and passed over. Depth costs no stack.

use super::escape;
use super::path::{BELOW, NOWHERE, StepId, Steps, TOP};

/// Deeper documents are refused: what comes after us would recurse on them.
pub const DEPTH: usize = 512;
/// More noted values than this are refused. A note takes 28 bytes, and what is made of it in Python some 200 more.
pub const NODES: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

/// A value that stands on a path. Positions are bytes of the source.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub start: u32,
    pub end: u32,
    /// Where the member begins, quote included; the same as `start` for what is not a member.
    pub member: u32,
    /// The noted value that this is in; itself for the first.
    pub parent: u32,
    /// The next noted value that is not in this one.
    pub next: u32,
    pub step: StepId,
    pub kind: Kind,
    /// A string with escapes.
    pub escaped: bool,
}

/// What is wrong with a document, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Invalid {
    pub what: &'static str,
    pub at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Container {
    is_array: bool,
    deep: bool,
    step: StepId,
    /// The noted value that its values are in, and whether that is the container itself.
    node: u32,
    noted: bool,
}

/// Where the next value goes.
#[derive(Debug, Clone, Copy)]
struct Place {
    step: StepId,
    deep: bool,
    parent: u32,
    member: Option<usize>,
}

/// Reads documents, one after the other, and holds the notes of the last.
#[derive(Debug, Default)]
pub struct Reader {
    nodes: Vec<Node>,
    stack: Vec<Container>,
    name: String,
}

/// The notes of one document.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    pub source: &'a str,
    pub nodes: &'a [Node],
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Node {
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl<'a> Tree<'a> {
    pub fn raw(&self, node: u32) -> &'a str {
        &self.source[self.nodes[node as usize].range()]
    }

    /// What is between the quotes of a string.
    pub fn content(&self, node: u32) -> &'a str {
        let range = self.nodes[node as usize].range();
        &self.source[range.start + 1..range.end - 1]
    }

    /// The text of a string, as it is written between the quotes, and of any other value as it is written.
    pub fn text(&self, node: u32) -> &'a str {
        if self.nodes[node as usize].kind == Kind::String { self.content(node) } else { self.raw(node) }
    }

    /// The strings and numbers in this value, itself included, that are noted.
    pub fn texts(&self, node: u32) -> impl Iterator<Item = u32> + use<'a> {
        let all = self.nodes;
        (node..all[node as usize].next).filter(move |at| matches!(all[*at as usize].kind, Kind::String | Kind::Number))
    }

    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> + use<'a> {
        let nodes = self.nodes;
        let end = nodes.get(node as usize).map_or(0, |node| node.next);
        let next = move |at: &u32| nodes.get(*at as usize).map(|node| node.next).filter(|next| *next < end);
        std::iter::successors(Some(node + 1).filter(|first| *first < end), next)
    }
}

impl Reader {
    /// Reads `source` and notes the values on `steps`; the document is always the first of them.
    pub fn read<'a>(&'a mut self, source: &'a [u8], steps: &Steps) -> Result<Tree<'a>, Invalid> {
        let text = std::str::from_utf8(source)
            .map_err(|error| Invalid { what: "bytes that are not UTF-8", at: error.valid_up_to() })?;
        if source.len() >= u32::MAX as usize {
            return Err(Invalid { what: "more than 4 GiB", at: source.len() });
        }
        self.nodes.clear();
        self.stack.clear();
        let mut pass = Pass { source: text, bytes: source, at: 0, steps, reader: self };
        pass.document()?;
        Ok(Tree { source: text, nodes: &self.nodes })
    }

    /// The notes of the last document again, if that was `source`.
    pub fn tree<'a>(&'a self, source: &'a str) -> Tree<'a> {
        Tree { source, nodes: &self.nodes }
    }
}

struct Pass<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    steps: &'a Steps,
    reader: &'a mut Reader,
}

impl Pass<'_> {
    fn document(&mut self) -> Result<(), Invalid> {
        let mut place = Place { step: TOP, deep: false, parent: 0, member: None };
        loop {
            self.skip_space();
            if let Some(first) = self.value(place)? {
                place = first;
                continue;
            }
            match self.after_value()? {
                Some(next) => place = next,
                None => break,
            }
        }
        self.skip_space();
        if self.at < self.bytes.len() { Err(self.wrong("something after the document")) } else { Ok(()) }
    }

    /// Reads a value, or the start of a container with something in it: then returns the place of the first value there.
    fn value(&mut self, place: Place) -> Result<Option<Place>, Invalid> {
        let start = self.at;
        let (kind, escaped) = match self.peek() {
            Some(b'{') => return self.open(place, false),
            Some(b'[') => return self.open(place, true),
            Some(b'"') => (Kind::String, self.string()?),
            Some(b't') => (Kind::True, self.word("true")?),
            Some(b'f') => (Kind::False, self.word("false")?),
            Some(b'n') => (Kind::Null, self.word("null")?),
            Some(b'-' | b'0'..=b'9') => (Kind::Number, self.number()?),
            Some(_) => return Err(self.wrong("no value")),
            None => return Err(self.wrong("the end instead of a value")),
        };
        if place.step != NOWHERE || place.deep && matches!(kind, Kind::String | Kind::Number) {
            self.note(place, start, kind, escaped)?;
        }
        Ok(None)
    }

    fn note(&mut self, place: Place, start: usize, kind: Kind, escaped: bool) -> Result<u32, Invalid> {
        if self.reader.nodes.len() >= NODES {
            return Err(self.wrong("too many values of interest"));
        }
        let index = position(self.reader.nodes.len());
        self.reader.nodes.push(Node {
            start: position(start),
            end: position(self.at),
            member: position(place.member.unwrap_or(start)),
            parent: place.parent,
            next: index + 1,
            step: if place.step == NOWHERE { BELOW } else { place.step },
            kind,
            escaped,
        });
        Ok(index)
    }

    fn open(&mut self, place: Place, is_array: bool) -> Result<Option<Place>, Invalid> {
        if self.reader.stack.len() >= DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        let noted = place.step != NOWHERE;
        let kind = if is_array { Kind::Array } else { Kind::Object };
        let node = if noted { self.note(place, self.at, kind, false)? } else { place.parent };
        let deep = place.deep || self.steps.is_deep(place.step);
        self.reader.stack.push(Container { is_array, deep, step: place.step, node, noted });
        self.at += 1;
        self.skip_space();
        match (self.peek(), is_array) {
            (Some(b']'), true) | (Some(b'}'), false) => {
                self.close();
                Ok(None)
            }
            _ => self.next_place().map(Some),
        }
    }

    /// Takes what may follow a value: the ends of containers, then a comma or the end of the document.
    fn after_value(&mut self) -> Result<Option<Place>, Invalid> {
        while let Some(container) = self.reader.stack.last() {
            let is_array = container.is_array;
            self.skip_space();
            match (self.peek(), is_array) {
                (Some(b','), _) => {
                    self.at += 1;
                    self.skip_space();
                    return self.next_place().map(Some);
                }
                (Some(b']'), true) | (Some(b'}'), false) => self.close(),
                (Some(_), true) => return Err(self.wrong("no comma or ] after a value")),
                (Some(_), false) => return Err(self.wrong("no comma or } after a value")),
                (None, _) => return Err(self.wrong("the end inside of an array or object")),
            }
        }
        Ok(None)
    }

    fn close(&mut self) {
        self.at += 1;
        let Some(container) = self.reader.stack.pop() else { return };
        if container.noted {
            let next = position(self.reader.nodes.len());
            if let Some(node) = self.reader.nodes.get_mut(container.node as usize) {
                node.end = position(self.at);
                node.next = next;
            }
        }
    }

    fn next_place(&mut self) -> Result<Place, Invalid> {
        let Some(container) = self.reader.stack.last().copied() else { return Err(self.wrong("no value")) };
        let (deep, parent) = (container.deep, container.node);
        if container.is_array {
            return Ok(Place { step: self.steps.element(container.step), deep, parent, member: None });
        }
        if self.peek() != Some(b'"') {
            return Err(self.wrong("no name of a member"));
        }
        let member = self.at;
        let escaped = self.string()?;
        let step = self.step_of(container.step, member, escaped);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.wrong("no colon after the name of a member"));
        }
        self.at += 1;
        Ok(Place { step, deep, parent, member: Some(member) })
    }

    fn step_of(&mut self, step: StepId, member: usize, escaped: bool) -> StepId {
        if !self.steps.has_members(step) {
            return NOWHERE;
        }
        let raw = &self.source[member + 1..self.at - 1];
        if !escaped {
            return self.steps.member(step, raw);
        }
        self.reader.name.clear();
        escape::decode(raw, &mut self.reader.name);
        self.steps.member(step, &self.reader.name)
    }

    /// Reads a string and returns whether it has escapes.
    fn string(&mut self) -> Result<bool, Invalid> {
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return Err(self.wrong("a control character in a string")),
                None => return Err(self.wrong("the end inside of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        let length = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.wrong("\\u without four hexadecimal digits"));
                }
                6
            }
            _ => return Err(self.wrong("an unknown escape")),
        };
        self.at += length;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<bool, Invalid> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong("no value"));
        }
        self.at += word.len();
        Ok(false)
    }

    fn number(&mut self) -> Result<bool, Invalid> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(false)
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(self.wrong("no digit in a number"));
        }
        self.at += digits;
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong(&self, what: &'static str) -> Invalid {
        Invalid { what, at: self.at }
    }
}

/// How many bytes there are before a quote, a backslash or a control character. Eight at a time: images are long strings.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let Ok(word) = chunk.try_into().map(u64::from_le_bytes) else { break };
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        if quote | backslash | control != 0 {
            break;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}
