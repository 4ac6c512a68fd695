//! Server-sent events: lines that end with CR, LF or both, and a blank line after each event.

use std::ops::Range;

use super::{BYTE_ORDER_MARK, Buffer, Parts, Piece};

#[derive(Debug, Default)]
pub(super) struct Sse {
    /// Something of the event's lines has been read.
    in_event: bool,
    /// The event is too long, and passes.
    passing: bool,
    /// Something of the line has been handed out already.
    line_begun: bool,
    /// The last byte was a carriage return: a line feed would belong to it. The event is not kept waiting for it.
    after_return: bool,
    /// Where the line starts, from the first byte not handed out.
    line: usize,
    /// Data lines of this event, from the first byte not handed out.
    data: Vec<Range<usize>>,
    started: bool,
}

impl Sse {
    pub(super) fn next(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        loop {
            if let Some(piece) = self.take_line_feed(buffer) {
                return Some(piece);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', &buffer.bytes[buffer.at..]).map(|at| buffer.at + at) else {
                buffer.at = buffer.bytes.len();
                return self.rest(buffer, parts, longest);
            };
            buffer.at = end + 1;
            self.after_return = buffer.bytes[end] == b'\r';
            if self.after_return && buffer.bytes.get(buffer.at) == Some(&b'\n') {
                buffer.at += 1;
                self.after_return = false;
            }
            if let Some(piece) = self.end_line(buffer, end, parts) {
                return Some(piece);
            }
            if buffer.at - buffer.done > longest && !self.passing {
                return Some(self.pass(buffer));
            }
        }
    }

    /// The line feed of a line whose carriage return came in an earlier piece.
    fn take_line_feed(&mut self, buffer: &mut Buffer) -> Option<Piece> {
        let byte = *buffer.bytes.get(buffer.at).filter(|_| self.after_return)?;
        self.after_return = false;
        if byte != b'\n' {
            return None;
        }
        buffer.at += 1;
        if buffer.at == buffer.done + 1 {
            return Some(Piece::Other(buffer.take(buffer.at)));
        }
        self.line = buffer.at - buffer.done;
        None
    }

    /// Takes a line that ends before `end`.
    fn end_line(&mut self, buffer: &mut Buffer, end: usize, parts: &mut Parts) -> Option<Piece> {
        let start = buffer.done + self.line;
        let is_blank = start == end && !self.line_begun;
        if is_blank || self.is_comment_outside(buffer, start, end) {
            return Some(self.end_event(buffer, parts));
        }
        if !self.passing {
            self.field(buffer, start, end);
        }
        self.in_event = true;
        self.line_begun = false;
        self.line = buffer.at - buffer.done;
        None
    }

    fn is_comment_outside(&self, buffer: &Buffer, start: usize, end: usize) -> bool {
        !self.in_event && !self.passing && buffer.bytes[start..end].starts_with(b":")
    }

    fn field(&mut self, buffer: &Buffer, start: usize, end: usize) {
        let mut line = start;
        if !std::mem::replace(&mut self.started, true) && buffer.bytes[line..end].starts_with(BYTE_ORDER_MARK) {
            line += BYTE_ORDER_MARK.len();
        }
        let Some(rest) = buffer.bytes[line..end].strip_prefix(b"data") else { return };
        let value = match rest {
            [] => end,
            [b':', b' ', ..] => line + 6,
            [b':', ..] => line + 5,
            _ => return,
        };
        self.data.push(value - buffer.done..end - buffer.done);
    }

    fn end_event(&mut self, buffer: &mut Buffer, parts: &mut Parts) -> Piece {
        let base = buffer.done;
        let raw = buffer.take(buffer.at);
        let is_event = self.in_event && !self.passing && !self.data.is_empty();
        parts.extend(self.data.drain(..).map(|part| base + part.start..base + part.end));
        *self = Self {
            data: std::mem::take(&mut self.data),
            after_return: self.after_return,
            started: true,
            ..Self::default()
        };
        if is_event { Piece::Event { before: raw.start..raw.start, raw } } else { Piece::Other(raw) }
    }

    /// What to do with what is no whole line.
    fn rest(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        if buffer.waiting() == 0 {
            return None;
        }
        if buffer.ended {
            let (start, end) = (buffer.done + self.line, buffer.bytes.len());
            if !self.passing && start < end {
                self.field(buffer, start, end);
                self.in_event = true;
            }
            return Some(self.end_event(buffer, parts));
        }
        (self.passing || buffer.waiting() > longest).then(|| self.pass(buffer))
    }

    /// Lets what there is of a long event pass; its end is still looked for.
    fn pass(&mut self, buffer: &mut Buffer) -> Piece {
        let is_first = !std::mem::replace(&mut self.passing, true);
        self.line_begun = buffer.done + self.line < buffer.at || self.line == 0 && self.line_begun;
        self.in_event = true;
        self.line = 0;
        self.data.clear();
        let raw = buffer.take(buffer.at);
        if is_first { Piece::TooLong(raw) } else { Piece::Other(raw) }
    }
}
