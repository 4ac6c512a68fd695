//! Streams cut into their events by bytes: events come in any number of pieces, and several of them in one.
//!
//! What belongs to no event (comments, blank lines, the brackets of an array) is a piece of its own and passes. All pieces
//! together are the stream, byte by byte.

mod array;
mod lines;
mod sse;
mod whole;

use std::ops::Range;

use array::Array;
pub(super) use array::separators;
use lines::Lines;
use sse::Sse;
use whole::Whole;

/// May be at the beginning of a stream, where it means nothing.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the buffer may keep of its memory when a long event has gone.
const SPARE: usize = 256 << 10;

/// How events follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, 9.2).
    Sse,
    /// One JSON document a line.
    Lines,
    /// The elements of one array.
    Array,
    /// One document.
    Whole,
}

impl Framing {
    /// By its name in `kube_gateway.ai.shape.Framing`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sse" => Some(Self::Sse),
            "ndjson" => Some(Self::Lines),
            "array" => Some(Self::Array),
            "whole" => Some(Self::Whole),
            _ => None,
        }
    }
}

/// A piece of the stream. Ranges are in `Frames::bytes` until the next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Passes as it is.
    Other(Range<usize>),
    /// An event whose data is `Frames::data`. `before`: what separates it from the event before it, in an array.
    Event { before: Range<usize>, raw: Range<usize> },
    /// The beginning of an event that is too long to be looked at; what follows of it are other pieces.
    TooLong(Range<usize>),
    /// The end of an array, with what is before it.
    Close { before: Range<usize>, raw: Range<usize> },
}

/// What has been read and not been handed out.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Up to here all has been handed out.
    done: usize,
    /// Up to here all has been looked at.
    at: usize,
    ended: bool,
}

/// Where the data of an event is; each line of data is a part.
type Parts = Vec<Range<usize>>;

#[derive(Debug)]
enum Kind {
    Sse(Sse),
    Lines(Lines),
    Array(Array),
    Whole(Whole),
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Frames {
    kind: Kind,
    buffer: Buffer,
    parts: Parts,
    /// Where each part begins in the data.
    offsets: Vec<usize>,
    joined: Vec<u8>,
    longest: usize,
}

/// The data of an event and where it stands in the stream.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    pub bytes: &'a [u8],
    parts: &'a [Range<usize>],
    offsets: &'a [usize],
}

impl Data<'_> {
    /// Where in `Frames::bytes` this byte of the data is.
    pub fn place(&self, at: usize) -> usize {
        let index = self.offsets.partition_point(|offset| *offset <= at).saturating_sub(1);
        let before = self.offsets.get(index).copied().unwrap_or_default();
        self.parts.get(index).map_or(at, |part| part.start + at - before)
    }

    /// Where the data begins and ends in `Frames::bytes`.
    pub fn span(&self) -> Range<usize> {
        let start = self.parts.first().map_or(0, |part| part.start);
        start..self.parts.last().map_or(start, |part| part.end)
    }
}

impl Buffer {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.done
    }

    fn take(&mut self, to: usize) -> Range<usize> {
        let range = self.done..to;
        self.done = to;
        self.at = self.at.max(to);
        range
    }

    /// Hands out all that there is.
    fn take_all(&mut self) -> Option<Range<usize>> {
        let end = self.bytes.len();
        (self.done < end).then(|| self.take(end))
    }
}

impl Frames {
    /// `longest`: bytes of an event that are still looked at; memory is bounded by it.
    pub fn new(framing: Framing, longest: usize) -> Self {
        let kind = match framing {
            Framing::Sse => Kind::Sse(Sse::default()),
            Framing::Lines => Kind::Lines(Lines::default()),
            Framing::Array => Kind::Array(Array::default()),
            Framing::Whole => Kind::Whole(Whole::default()),
        };
        Self { kind, buffer: Buffer::default(), parts: Vec::new(), offsets: Vec::new(), joined: Vec::new(), longest }
    }

    /// Adds what has arrived. All pieces have to be taken before the next call.
    pub fn push(&mut self, data: &[u8]) {
        let done = std::mem::take(&mut self.buffer.done);
        self.buffer.bytes.drain(..done);
        self.buffer.at -= done;
        if self.buffer.bytes.capacity() > SPARE && self.buffer.bytes.len() + data.len() < SPARE / 2 {
            self.buffer.bytes.shrink_to(SPARE / 2);
        }
        self.buffer.bytes.extend_from_slice(data);
    }

    /// Nothing follows: what is there is taken as an event.
    pub fn end(&mut self) {
        self.buffer.ended = true;
    }

    pub fn next_piece(&mut self) -> Option<Piece> {
        self.parts.clear();
        let (buffer, parts) = (&mut self.buffer, &mut self.parts);
        match &mut self.kind {
            Kind::Sse(sse) => sse.next(buffer, parts, self.longest),
            Kind::Lines(lines) => lines.next(buffer, parts, self.longest),
            Kind::Array(array) => array.next(buffer, parts, self.longest),
            Kind::Whole(whole) => whole.next(buffer, parts, self.longest),
        }
    }

    /// Whether the beginning of an array has been handed out.
    pub fn is_open_array(&self) -> bool {
        matches!(&self.kind, Kind::Array(array) if array.is_open())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes
    }

    /// Puts the data of the event together that was handed out last.
    pub fn join(&mut self) {
        self.joined.clear();
        self.offsets.clear();
        let is_joined = self.parts.len() > 1;
        for part in &self.parts {
            self.offsets.push(self.joined.len());
            if is_joined {
                self.joined.extend_from_slice(&self.buffer.bytes[part.clone()]);
                self.joined.push(b'\n');
            }
        }
        self.joined.pop();
    }

    /// The data of the event that was handed out last, after `join`.
    pub fn data(&self) -> Data<'_> {
        let bytes = match self.parts.as_slice() {
            [] => &[],
            [one] => &self.buffer.bytes[one.clone()],
            _ => &self.joined[..],
        };
        Data { bytes, parts: &self.parts, offsets: &self.offsets }
    }
}
