//! One document, known when it has ended.

use super::{Buffer, Parts, Piece};

#[derive(Debug, Default)]
pub(super) struct Whole {
    /// It is too long, and passes.
    passing: bool,
}

impl Whole {
    pub(super) fn next(&mut self, buffer: &mut Buffer, parts: &mut Parts, longest: usize) -> Option<Piece> {
        buffer.at = buffer.bytes.len();
        if self.passing {
            return buffer.take_all().map(Piece::Other);
        }
        if buffer.waiting() > longest {
            self.passing = true;
            return buffer.take_all().map(Piece::TooLong);
        }
        if !buffer.ended {
            return None;
        }
        let raw = buffer.take_all()?;
        parts.push(raw.clone());
        Some(Piece::Event { before: raw.start..raw.start, raw })
    }
}
