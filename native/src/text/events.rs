//! What happens to each event: it is read, looked at, changed where a rule says so, and sent; or held back in part.

use std::ops::Range;
use std::sync::Arc;

use super::calls::Calls;
use super::edits::Edits;
use super::escape;
use super::filter::Start;
use super::frames::{Frames, Framing, Piece, separators};
use super::json::{Kind, Reader, Tree};
use super::lanes::Scratch;
use super::outcome::Outcome;
use super::plan::FilterPlan;
use super::select::all_hold;
use super::store::{Lane, Store, has_ended};
use super::template::Copier;
use super::texts::Whole;
use super::view::{self, View};

/// Named as what ended the answer, in the place of a rule.
const UNREADABLE: &str = "unreadable";

/// Everything about one answer. `texts` has what is done with its texts, `sending` how events are sent.
pub(super) struct Engine {
    pub(super) plan: Arc<FilterPlan>,
    pub(super) start: Start,
    pub(super) model: Option<Vec<u8>>,
    pub(super) outcome: Outcome,
    pub(super) ended: bool,
    /// It has ended in the middle of an event, whose text up to there is still to be sent.
    pub(super) is_partial: bool,
    pub(super) store: Store,
    pub(super) whole: Whole,
    pub(super) calls: Calls,
    /// What this event's strings become: content by node, in `made`.
    pub(super) new: Vec<(u32, Range<usize>)>,
    pub(super) made: Vec<u8>,
    pub(super) edits: Edits,
    pub(super) scratch: Scratch,
    pub(super) decoded: String,
    pub(super) copier: Copier,
    reader: Reader,
    view: View,
    /// A text was changed, now or before.
    pub(super) changed: bool,
    /// Events added less events left out: what numbers of events are off by.
    pub(super) shift: i64,
    /// Keys of texts that have begun, in that order.
    pub(super) open: Vec<String>,
    /// What comes before the next element of an array.
    pub(super) separator: Vec<u8>,
}

/// The event that is being looked at.
pub(super) struct Event<'a> {
    pub(super) frames: &'a Frames,
    pub(super) raw: Range<usize>,
    pub(super) tree: Tree<'a>,
    pub(super) view: &'a mut View,
    /// Its number as it came.
    pub(super) sequence: Option<i64>,
    /// Keys whose texts end with it.
    pub(super) ends: Vec<String>,
}

impl Engine {
    pub(super) fn new(plan: Arc<FilterPlan>, start: Start) -> Self {
        Self {
            plan,
            model: start.model.as_deref().map(escape::quote),
            start,
            outcome: Outcome::default(),
            ended: false,
            is_partial: false,
            store: Store::default(),
            whole: Whole::default(),
            calls: Calls::default(),
            new: Vec::new(),
            made: Vec::new(),
            edits: Edits::default(),
            scratch: Scratch::default(),
            decoded: String::new(),
            copier: Copier::default(),
            reader: Reader::default(),
            view: View::default(),
            changed: false,
            shift: 0,
            open: Vec::new(),
            separator: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, frames: &Frames, piece: Piece, at_end: bool, out: &mut Vec<u8>) {
        let bytes = frames.bytes();
        self.outcome.opened |= frames.is_open_array();
        match piece {
            Piece::Other(range) => {
                if at_end {
                    self.flush(out);
                }
                out.extend_from_slice(&bytes[range]);
            }
            Piece::TooLong(range) => {
                let text = &bytes[range];
                let is_array = self.start.framing == Framing::Array;
                let (between, raw) = text.split_at(if is_array { separators(text) } else { 0 });
                self.separate(between);
                self.outcome.events += 1;
                self.unreadable(raw, out);
            }
            Piece::Event { before, raw } => {
                self.separate(&bytes[before]);
                self.event(frames, raw, at_end, out);
            }
            Piece::Close { before, raw } => {
                self.outcome.done = true;
                self.separate(b",");
                self.flush(out);
                self.open.clear();
                out.extend_from_slice(&bytes[before]);
                out.extend_from_slice(&bytes[raw]);
            }
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.separate(b",");
        self.flush(out);
        let has_own_end = self.plan.last.is_some() || self.plan.ends.iter().any(|end| end.key.is_empty());
        self.outcome.done |= !has_own_end;
    }

    pub(super) fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        for lane in &self.store.lanes {
            self.plan.lanes[lane.rule].count(&lane.text, &mut outcome);
        }
        self.whole.count(&self.plan, &mut outcome);
        outcome.open_keys = self.open.iter().map(|key| view::parts(key)).collect();
        outcome
    }

    pub(super) fn deny(&mut self, id: &str) {
        self.outcome.denied = Some(id.to_owned());
        self.ended = true;
    }

    /// What cannot be looked at passes, or ends the answer.
    fn unreadable(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.outcome.unreadable += 1;
        if self.start.strict {
            self.deny(UNREADABLE);
        } else {
            self.send_as_it_is(raw, out);
        }
    }

    fn event(&mut self, frames: &Frames, raw: Range<usize>, at_end: bool, out: &mut Vec<u8>) {
        self.outcome.events += 1;
        let data = frames.data();
        if self.plan.last.as_ref().is_some_and(|last| last.as_bytes() == data.bytes.trim_ascii()) {
            self.outcome.done = true;
            self.flush(out);
            self.open.clear();
            if !self.ended {
                self.send_as_it_is(&frames.bytes()[raw], out);
            }
            return;
        }
        let plan = Arc::clone(&self.plan);
        let mut reader = std::mem::take(&mut self.reader);
        let mut view = std::mem::take(&mut self.view);
        match reader.read(data.bytes, &plan.steps) {
            Ok(tree) => {
                view.look(&plan, &tree);
                let sequence = view.sequence.and_then(|node| tree.raw(node).parse().ok());
                let ends = Vec::new();
                let event = Event { frames, raw, tree, view: &mut view, sequence, ends };
                self.readable(event, at_end, out);
            }
            Err(_) => {
                if at_end {
                    self.flush(out);
                }
                self.unreadable(&frames.bytes()[raw], out);
            }
        }
        self.reader = reader;
        self.view = view;
    }

    fn readable(&mut self, mut event: Event<'_>, at_end: bool, out: &mut Vec<u8>) {
        let plan = Arc::clone(&self.plan);
        let failed = self.observe(&mut event);
        let is_usage = |event: &mut Event<'_>| {
            !plan.usage_event.is_empty() && all_hold(&plan.usage_event, &event.tree, 0, &mut event.view.answers)
        };
        let whole = self.start.framing == Framing::Whole;
        if self.start.strip_usage && !whole && is_usage(&mut event) {
            self.shift -= 1;
            return;
        }
        self.find_ends(&mut event);
        let ends = event.ends.len();
        if at_end || failed {
            event.ends.push(String::new());
        }
        if let Err(denied) = self.calls.named(&plan, &event.tree, event.view, whole, &mut self.outcome) {
            self.deny(&denied.0);
            return;
        }
        self.texts(&mut event, out);
        if ends > 0 {
            self.open.retain(|key| !has_ended(key, &event.ends[..ends]));
        }
        if !self.ended || self.is_partial && !whole {
            self.send(&event, out);
        }
        if !self.ended && ends == 0 && self.is_too_much(&event) {
            self.cut(out);
        }
    }

    /// Notes usage and the like; whether the event reports a failure.
    fn observe(&mut self, event: &mut Event<'_>) -> bool {
        let (plan, tree) = (Arc::clone(&self.plan), event.tree);
        for (kind, node) in &event.view.usage {
            if let Ok(number) = tree.raw(*node).parse::<u64>() {
                *self.outcome.usage.entry(&plan.usage[*kind]) = number;
            }
        }
        for node in &event.view.finish {
            let mut reason = String::new();
            view::scalar(&tree, *node, &mut reason);
            self.outcome.note_finish(&reason);
        }
        let mut models = event.view.models.iter().filter(|node| tree.nodes[**node as usize].kind == Kind::String);
        if self.outcome.model.is_none()
            && let Some(model) = models.next()
        {
            let name = self.outcome.model.get_or_insert_default();
            view::scalar(&tree, *model, name);
        }
        let failed = !plan.error.is_empty() && all_hold(&plan.error, &tree, 0, &mut event.view.answers);
        self.outcome.failed |= failed;
        self.outcome.done |= self.start.framing == Framing::Whole;
        failed
    }

    fn find_ends(&mut self, event: &mut Event<'_>) {
        for (rule, node) in &event.view.ends {
            let mut end = String::new();
            view::key(&self.plan.ends[*rule].key, &event.tree, *node, &mut end);
            self.outcome.done |= end.is_empty();
            event.ends.push(end);
        }
    }

    fn is_too_much(&self, event: &Event<'_>) -> bool {
        let Some(most) = self.start.most_output.filter(|_| self.start.framing != Framing::Whole) else { return false };
        let is_output = |rule: usize| !self.plan.lanes[rule].copy;
        if !event.view.hits.iter().any(|hit| is_output(hit.rule)) {
            return false;
        }
        // Some servers tell the number in each event, some at the beginning and the end only, and some tell zero till then.
        let told = self.outcome.usage.get("output").copied().unwrap_or_default();
        let is_told_now = event.view.usage.iter().any(|(kind, _)| self.plan.usage[*kind] == "output");
        // Results of tools that the server runs are in the answer, and not made by the model.
        let results = self.outcome.characters.get("tool").copied().unwrap_or_default();
        let estimate = (self.outcome.characters.values().sum::<u64>() - results).div_ceil(4);
        let used = if is_told_now && told > 0 { told } else { told.max(estimate) };
        used >= most
    }

    /// Ends the stream at the limit: what is held back still goes out, but for arguments that are not whole.
    fn cut(&mut self, out: &mut Vec<u8>) {
        self.separate(b",");
        for lane in self.store.lanes.extract_if(.., |lane| lane.waiting.is_some()) {
            self.plan.lanes[lane.rule].count(&lane.text, &mut self.outcome);
        }
        self.calls.clear();
        self.flush(out);
        self.outcome.cut = true;
        self.ended = true;
    }

    /// Ends all texts, whose last events have been sent.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let mut ended: Vec<Lane> = self.store.lanes.drain(..).collect();
        ended.iter_mut().for_each(|lane| lane.last = None);
        self.end(ended, None, out);
        self.end_calls(&[String::new()]);
    }
}
