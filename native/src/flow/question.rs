//! One question to the watcher, and who waits for its answer.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The watcher is asked about a peer only when it went silent; without an answer it counts as still enrolled.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Question {
    waiting: Vec<oneshot::Sender<bool>>,
    asked: Option<Instant>,
}

impl Question {
    /// Adds one that waits, and says whether the watcher is to be asked: by the first, and again once an answer is overdue, as
    /// it may have been lost with its line while others wait.
    pub fn wait(&mut self, sender: oneshot::Sender<bool>, now: Instant) -> bool {
        self.waiting.retain(|sender| !sender.is_closed());
        let is_asked = self.asked.is_some_and(|asked| now.duration_since(asked) < ANSWER_WITHIN);
        let asks = self.waiting.is_empty() || !is_asked;
        self.waiting.push(sender);
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    pub fn answer(self, enrolled: bool) {
        for sender in self.waiting {
            // Whoever asked may have given up.
            let _ = sender.send(enrolled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_lost_is_asked_for_again_though_somebody_always_waits() {
        let mut question = Question::default();
        let mut asked = Vec::new();
        let mut waiting = Vec::new();
        let began = Instant::now();
        for number in 0..10 {
            let (sender, receiver) = oneshot::channel();
            asked.push(question.wait(sender, began + number * ANSWER_WITHIN * 2 / 5));
            waiting.push(receiver);
            // Each gives up after its time; by then others have come.
            if waiting.len() > 2 {
                waiting.remove(0);
            }
        }
        assert_eq!(asked, [true, false, false, true, false, false, true, false, false, true]);
        question.answer(true);
        assert_eq!(waiting.remove(1).try_recv(), Ok(true));
    }

    #[test]
    fn when_nobody_waits_any_more_the_next_one_asks() {
        let mut question = Question::default();
        let (sender, receiver) = oneshot::channel();
        assert!(question.wait(sender, Instant::now()));
        drop(receiver);
        let (sender, _receiver) = oneshot::channel();
        assert!(question.wait(sender, Instant::now()));
    }
}
