//! Where a body of HTTP/1 ends (RFC 9112, 6 and 7).

use std::ops::Range;

use super::head::{BadHead, Request, Response};

/// Bytes of extensions and trailers; they are no place to keep a gateway busy in.
const LONGEST_LINES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk is malformed")]
pub struct BadChunk;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked(Chunks),
    UntilEnd,
}

pub const EMPTY: Framing = Framing::Length(0);

/// A step through a body: `used` bytes belong to it, and those in `data` are content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub used: usize,
    pub data: Range<usize>,
}

/// A request must not leave room for two opinions: one length, or chunks, and nothing else.
pub fn of_request(request: &Request) -> Result<Framing, BadHead> {
    let head = &request.head;
    let codings: Vec<&[u8]> = head.values("transfer-encoding").collect();
    match codings.as_slice() {
        [] => match head.values("content-length").collect::<Vec<_>>().as_slice() {
            [] => Ok(EMPTY),
            [length] => digits(length).map(Framing::Length).ok_or(BadHead("an improper Content-Length")),
            _ => Err(BadHead("more than one Content-Length")),
        },
        [_] if head.has("content-length") => Err(BadHead("both Content-Length and Transfer-Encoding")),
        [coding] if coding.eq_ignore_ascii_case(b"chunked") && request.is_1_1 => {
            Ok(Framing::Chunked(Chunks::default()))
        }
        _ => Err(BadHead("a Transfer-Encoding other than chunked")),
    }
}

/// `None`: clients may differ on where this answer ends.
pub fn of_response(method: &str, response: &Response) -> Option<Framing> {
    let Response { head, status, .. } = response;
    if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
        return Some(EMPTY);
    }
    let lengths: Vec<&[u8]> = head.values("content-length").collect();
    if head.has("transfer-encoding") {
        let is_chunked = head.list("transfer-encoding") == ["chunked"];
        return (is_chunked && lengths.is_empty()).then_some(Framing::Chunked(Chunks::default()));
    }
    match lengths.as_slice() {
        [] => Some(Framing::UntilEnd),
        [first, others @ ..] if others.iter().all(|other| other == first) => digits(first).map(Framing::Length),
        _ => None,
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

impl Framing {
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks { place: Place::Done, .. }))
    }

    /// What of `bytes`, the next ones, belongs to this body: one piece of content at most, so there may be more.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, BadChunk> {
        match self {
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= length as u64;
                Ok(Step { used: length, data: 0..length })
            }
            Self::Chunked(chunks) => chunks.step(bytes),
            Self::UntilEnd => Ok(Step { used: bytes.len(), data: 0..bytes.len() }),
        }
    }

    /// How many of `bytes` belong to this body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut used = 0;
        while used < bytes.len() && !self.is_done() {
            used += self.step(&bytes[used..])?.used;
        }
        Ok(used)
    }
}

/// Position in a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    /// Of the chunk.
    left: u64,
    /// Bytes of extensions and trailers so far.
    lines: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Size,
    Padding,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataLineFeed,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastLineFeed,
    Done,
}

impl Chunks {
    fn step(&mut self, bytes: &[u8]) -> Result<Step, BadChunk> {
        let mut used = 0;
        while used < bytes.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - used);
                self.left -= length as u64;
                if self.left == 0 {
                    self.place = Place::DataEnd;
                }
                return Ok(Step { used: used + length, data: used..used + length });
            }
            self.place = self.next(bytes[used])?;
            used += 1;
        }
        Ok(Step { used, data: used..used })
    }

    fn next(&mut self, byte: u8) -> Result<Place, BadChunk> {
        let place = match (self.place, byte) {
            (Place::Start | Place::Size, digit) if digit.is_ascii_hexdigit() => {
                let digit = char::from(digit).to_digit(16).unwrap_or(0);
                self.left = self.left.checked_mul(16).ok_or(BadChunk)? + u64::from(digit);
                Place::Size
            }
            (Place::Size | Place::Padding, b' ' | b'\t') => Place::Padding,
            (Place::Size | Place::Padding, b';') => Place::Extension,
            (Place::Size | Place::Padding | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, byte) if byte != b'\n' => Place::Extension,
            (Place::SizeEnd, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::DataEnd, b'\r') => Place::DataLineFeed,
            (Place::DataLineFeed, b'\n') => Place::Start,
            (Place::TrailerStart, b'\r') => Place::LastLineFeed,
            (Place::TrailerStart | Place::Trailer, byte) if byte != b'\r' && byte != b'\n' => Place::Trailer,
            (Place::Trailer, b'\r') => Place::TrailerEnd,
            (Place::TrailerEnd, b'\n') => Place::TrailerStart,
            (Place::LastLineFeed, b'\n') => Place::Done,
            _ => return Err(BadChunk),
        };
        if matches!(place, Place::Padding | Place::Extension | Place::Trailer) {
            self.lines += 1;
            if self.lines > LONGEST_LINES {
                return Err(BadChunk);
            }
        }
        Ok(place)
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
