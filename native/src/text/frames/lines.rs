//! One document a line.

use super::{Buffer, Parts, Piece};

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line is too long, and passes.
    passing: bool,
}

impl Lines {
    pub(super) fn next(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        let end = memchr::memchr(b'\n', &buffer.bytes[buffer.at..]).map(|at| buffer.at + at);
        buffer.at = end.map_or(buffer.bytes.len(), |end| end + 1);
        if buffer.waiting() == 0 {
            return None;
        }
        if self.passing {
            self.passing = end.is_none();
            return Some(Piece::Other(buffer.take(buffer.at)));
        }
        if end.is_none() && !buffer.ended {
            let too_long = buffer.waiting() > longest;
            self.passing = too_long;
            return too_long.then(|| Piece::TooLong(buffer.take(buffer.at)));
        }
        let raw = buffer.take(buffer.at);
        let line = buffer.bytes[raw.clone()].trim_ascii();
        if line.is_empty() {
            return Some(Piece::Other(raw));
        }
        if line.len() > longest {
            return Some(Piece::TooLong(raw));
        }
        let blank = buffer.bytes[raw.clone()].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = raw.start + blank;
        parts.push(start..start + line.len());
        Some(Piece::Event { before: raw.start..raw.start, raw })
    }
}
