//! What the watcher has said of destinations: whether they are a Service's, and what is behind it.
//!
//! A question is asked when somebody connects, so the cost grows with the destinations in use. An answer holds for good,
//! as the watcher tells each change of what was asked for.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backends::{Affinities, Choice, Service, random_below};

/// The supervisor remembers as many, in the same order, so that it can ask for them again.
const REMEMBERED: usize = 16_384;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A watcher that has not answered is not waited for again before this has passed. Its answer may still come.
const ASK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    NoService,
    Service(Arc<Service>),
}

struct Entry {
    answer: Option<Answer>,
    asked: Instant,
    waiting: Vec<oneshot::Sender<Answer>>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<SocketAddr, Entry>,
    /// Those of `entries`, the first asked first.
    order: VecDeque<SocketAddr>,
    watcher_is_there: bool,
}

/// What to do about a destination.
enum Step {
    Known(Answer),
    Wait { ask: bool, receiver: oneshot::Receiver<Answer>, within: Duration },
    GoOn { ask: bool },
}

#[derive(Default)]
pub struct Services {
    table: Mutex<Table>,
    affinities: Affinities,
}

impl Services {
    /// What is known of `destination`, or the watcher's answer if it comes in time. `ask` sends the question and says
    /// whether it could.
    pub async fn resolve(&self, destination: SocketAddr, ask: impl FnOnce() -> bool) -> Option<Answer> {
        let step = self.table().step(destination, Instant::now());
        let (asks, wait) = match step {
            Step::Known(answer) => return Some(answer),
            Step::Wait { ask, receiver, within } => (ask, Some((receiver, within))),
            Step::GoOn { ask } => (ask, None),
        };
        if asks && !ask() {
            self.table().forget(destination);
            return None;
        }
        let (receiver, within) = wait?;
        tokio::time::timeout(within, receiver).await.ok()?.ok()
    }

    /// Takes an answer, or a change of one. Of what was not asked for, or is forgotten, nothing is kept.
    pub fn answer(&self, destination: SocketAddr, answer: Answer) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(&destination) else { return };
        entry.answer = Some(answer.clone());
        for waiting in std::mem::take(&mut entry.waiting) {
            // Whoever asked may have given up.
            let _ = waiting.send(answer.clone());
        }
    }

    /// While the watcher is away nobody waits for its answers. When it is back, the supervisor asks for all again.
    pub fn set_watcher(&self, is_there: bool) {
        let mut table = self.table();
        table.watcher_is_there = is_there;
        let now = Instant::now();
        for entry in table.entries.values_mut() {
            entry.asked = now;
            entry.waiting.clear();
        }
    }

    pub fn watcher_is_there(&self) -> bool {
        self.table().watcher_is_there
    }

    /// The backends to try for a connection to `destination`, a port of `service`.
    pub fn choose(&self, service: &Arc<Service>, destination: SocketAddr) -> Choice {
        let preferred = self.affinities.preferred(service, destination, Instant::now());
        Choice::new(Arc::clone(service), preferred, random_below)
    }

    /// A connection to `destination`, a port of `service`, has reached `backend`.
    pub fn used(&self, service: &Service, destination: SocketAddr, backend: SocketAddr) {
        self.affinities.used(service, destination, backend, Instant::now());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn step(&mut self, destination: SocketAddr, now: Instant) -> Step {
        let is_there = self.watcher_is_there;
        if !self.entries.contains_key(&destination) {
            self.insert(destination, now);
            return self.wait(destination, true, ANSWER_WITHIN);
        }
        let Some(entry) = self.entries.get_mut(&destination) else { return Step::GoOn { ask: false } };
        if let Some(answer) = &entry.answer {
            return Step::Known(answer.clone());
        }
        let since = now.duration_since(entry.asked);
        if since >= ASK_AGAIN {
            entry.asked = now;
            return self.wait(destination, true, ANSWER_WITHIN);
        }
        match ANSWER_WITHIN.checked_sub(since) {
            Some(left) if is_there => self.wait(destination, false, left),
            _ => Step::GoOn { ask: false },
        }
    }

    fn wait(&mut self, destination: SocketAddr, ask: bool, within: Duration) -> Step {
        match self.entries.get_mut(&destination) {
            Some(entry) if self.watcher_is_there => {
                let (sender, receiver) = oneshot::channel();
                entry.waiting.retain(|sender| !sender.is_closed());
                entry.waiting.push(sender);
                Step::Wait { ask, receiver, within }
            }
            _ => Step::GoOn { ask },
        }
    }

    fn insert(&mut self, destination: SocketAddr, now: Instant) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(destination);
        self.entries.insert(destination, Entry { answer: None, asked: now, waiting: Vec::new() });
    }

    /// The question could not be sent: the next connection asks it again.
    fn forget(&mut self, destination: SocketAddr) {
        if self.entries.get(&destination).is_some_and(|entry| entry.answer.is_none()) {
            self.entries.remove(&destination);
            self.order.retain(|other| *other != destination);
        }
    }
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
