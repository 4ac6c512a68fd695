//! The filter of one answer: bytes in as they arrive, bytes out as they may go on.

use std::sync::Arc;

use super::events::Engine;
use super::frames::{Frames, Framing};
use super::outcome::Outcome;
use super::plan::FilterPlan;

/// Bytes of an event of a stream that are still looked at.
pub const LONGEST_EVENT: usize = 8 << 20;
/// The same of an answer that is one document.
pub const LONGEST_WHOLE: usize = 64 << 20;

/// Changes texts in a way of its own. Called with the lane, the key (its parts joined by dots), what comes next of the
/// text after all masks, and whether it is the last; what it returns is sent. None ends the answer.
pub trait Transform: Send + Sync {
    fn apply(&mut self, lane: &str, key: &str, text: &str, last: bool) -> Option<String>;
}

/// How one answer is filtered.
pub struct Start {
    pub framing: Framing,
    /// Put into all names of the model.
    pub model: Option<String>,
    /// Usage was asked for by us, and is taken out again.
    pub strip_usage: bool,
    /// Tokens of output after which the stream is cut.
    pub most_output: Option<u64>,
    pub hash_key: Arc<[u8]>,
    /// Bytes of text to keep of each lane, as it was sent.
    pub collect: usize,
    /// An event that is no JSON, or too long, ends the answer instead of passing.
    pub strict: bool,
    pub transform: Option<Box<dyn Transform>>,
}

impl Start {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            model: None,
            strip_usage: false,
            most_output: None,
            hash_key: Arc::from([].as_slice()),
            collect: 0,
            strict: false,
            transform: None,
        }
    }
}

/// Filters one answer.
pub struct Filter {
    frames: Frames,
    engine: Engine,
    is_finished: bool,
}

impl FilterPlan {
    pub fn start(self: &Arc<Self>, start: Start) -> Filter {
        let longest = if start.framing == Framing::Whole { LONGEST_WHOLE } else { LONGEST_EVENT };
        let frames = Frames::new(start.framing, longest);
        Filter { frames, engine: Engine::new(Arc::clone(self), start), is_finished: false }
    }
}

impl Filter {
    /// Takes what has arrived and appends what may go on to `out`. After `ended` there is nothing more.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.engine.ended || self.is_finished {
            return;
        }
        self.frames.push(data);
        self.go_on(false, out);
    }

    /// The answer has ended; appends the rest to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.engine.ended || self.is_finished {
            return;
        }
        self.is_finished = true;
        self.frames.push(&[]);
        self.frames.end();
        self.go_on(true, out);
        if !self.engine.ended {
            self.engine.finish(out);
        }
    }

    /// Whether a rule or the limit has ended the answer: what the upstream still sends is of no interest.
    pub fn ended(&self) -> bool {
        self.engine.ended
    }

    /// Whether an event of a stream, or all of a document, has come.
    pub fn has_event(&self) -> bool {
        self.engine.outcome.events > 0
    }

    pub fn outcome(&self) -> Outcome {
        self.engine.outcome()
    }

    fn go_on(&mut self, at_end: bool, out: &mut Vec<u8>) {
        while !self.engine.ended
            && let Some(piece) = self.frames.next_piece()
        {
            self.frames.join();
            self.engine.take(&self.frames, piece, at_end, out);
        }
    }
}
