//! Keeps long runs from being run again. A pattern such as `[a-z]+@` runs to the end of a long word in vain, and then
//! again from the second letter, and the third. But two runs that are in the same state at the same place have the same
//! future, so the states of the last long run that found nothing are kept: one that meets them goes on where they end.

/// A shorter run is cheaper to make than to remember, in bytes. Tests remember short ones too, as their texts are short.
pub(super) const SHORT: usize = if cfg!(test) { 3 } else { 128 };

/// The states of a run, from some place on: behind what any match was tried for, as checks depend on where a run began.
#[derive(Default)]
struct Trail {
    /// The place in the text that the first state belongs to.
    from: u64,
    states: Vec<u16>,
}

impl Trail {
    fn at(&self, place: u64) -> Option<u16> {
        let index = usize::try_from(place.checked_sub(self.from)?).ok()?;
        self.states.get(index).copied()
    }

    fn end(&self) -> u64 {
        self.from + self.states.len() as u64
    }
}

/// Of one engine.
#[derive(Default)]
pub(super) struct Trails {
    last: Trail,
    own: Trail,
}

impl Trails {
    /// Remembers that the run is in `state` at `place`. If the last one was, too: how many bytes further on it ended, and
    /// in which state.
    pub(super) fn follow(&mut self, place: u64, state: u16) -> Option<(usize, u16)> {
        if self.last.at(place) != Some(state) {
            if self.own.states.is_empty() {
                self.own.from = place;
            }
            self.own.states.push(state);
            return None;
        }
        self.own = std::mem::take(&mut self.last);
        let end = self.own.states.last().copied()?;
        Some((usize::try_from(self.own.end() - 1 - place).ok()?, end))
    }

    /// What the run does from here on no other will do.
    pub(super) fn restart(&mut self) {
        self.own.states.clear();
    }

    /// The run has found nothing, and the next one begins at `place`.
    pub(super) fn ended(&mut self, place: u64) {
        if !self.own.states.is_empty() {
            self.last = std::mem::take(&mut self.own);
        }
        if self.last.end() <= place {
            self.last = Trail::default();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.states.is_empty() && self.own.states.is_empty()
    }
}
