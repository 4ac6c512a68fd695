//! The texts of one answer that have begun and not ended.

use std::sync::Arc;

use super::json::Tree;
use super::lanes::Text;
use super::plan::{FilterPlan, LaneRule};
use super::template::Template;
use super::view::{self, Hit};

/// Texts of one answer at a time. Of what is more, each piece is a text of its own.
const MOST: usize = 1024;

/// A text and where it stands.
pub(super) struct Lane {
    pub(super) rule: usize,
    pub(super) key: String,
    duplicate: u32,
    begins: String,
    /// The number of the call of a tool that it is of.
    pub(super) call: Option<u64>,
    pub(super) text: Text,
    /// What may be sent when the arguments of a call are known to be allowed.
    pub(super) waiting: Option<Vec<u8>>,
    /// The event that what is held back came with.
    pub(super) template: Template,
    /// The last piece of it: the number of the event, and which of its changed strings it is.
    pub(super) last: Option<(u64, usize)>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) lanes: Vec<Lane>,
    /// Where the next one is looked for first: pieces of several texts come in turns.
    likely: usize,
    pub(super) key: String,
    pub(super) begins: String,
}

impl Lane {
    pub(super) fn new(index: usize, rule: &LaneRule, hash_key: &Arc<[u8]>) -> Self {
        Self {
            rule: index,
            key: String::new(),
            duplicate: 0,
            begins: String::new(),
            call: None,
            text: Text::new(rule, hash_key),
            waiting: None,
            template: Template::default(),
            last: None,
        }
    }
}

impl Store {
    /// Notes under which key a hit stands, and what begins with it.
    pub(super) fn look_at(&mut self, rule: &LaneRule, tree: &Tree<'_>, hit: &Hit) {
        self.key.clear();
        self.begins.clear();
        view::key(&rule.key, tree, hit.place, &mut self.key);
        if let Some(node) = rule.begins.as_ref().and_then(|route| route.last(tree, hit.place)) {
            view::scalar(tree, node, &mut self.begins);
        }
    }

    /// Finds the text that the hit which was looked at is a piece of, or begins one if there is room. A text that ends with
    /// that goes to `ended`.
    pub(super) fn owner(
        &mut self,
        plan: &FilterPlan,
        (hit, call): (&Hit, Option<u64>),
        hash_key: &Arc<[u8]>,
        ended: &mut Vec<Lane>,
    ) -> Option<usize> {
        let found = self.find(hit);
        if let Some(at) = found
            && (self.begins.is_empty() || self.begins == self.lanes[at].begins || call.is_some())
            && self.lanes[at].call == call
        {
            return found;
        }
        if found.is_none() && self.lanes.len() >= MOST {
            return None;
        }
        let mut lane = Lane::new(hit.rule, &plan.lanes[hit.rule], hash_key);
        lane.duplicate = hit.duplicate;
        lane.call = call;
        lane.key.push_str(&self.key);
        lane.begins.push_str(&self.begins);
        match found {
            Some(at) => ended.push(std::mem::replace(&mut self.lanes[at], lane)),
            None => {
                self.lanes.push(lane);
                self.likely = self.lanes.len() - 1;
            }
        }
        Some(self.likely)
    }

    fn find(&mut self, hit: &Hit) -> Option<usize> {
        let count = self.lanes.len();
        let order = (0..count).map(|step| (self.likely + step) % count);
        let is_it = |at: &usize| {
            let lane = &self.lanes[*at];
            lane.rule == hit.rule && lane.duplicate == hit.duplicate && lane.key == self.key
        };
        let found = order.into_iter().find(is_it)?;
        self.likely = found;
        Some(found)
    }

    /// Takes the texts out whose keys begin with one of `ends`.
    pub(super) fn take_ended(&mut self, ends: &[String], ended: &mut Vec<Lane>) {
        if ends.is_empty() {
            return;
        }
        let is_ended = |lane: &mut Lane| has_ended(&lane.key, ends);
        ended.extend(self.lanes.extract_if(.., is_ended));
    }
}

/// Whether one of `ends` is the key or the beginning of it.
pub(super) fn has_ended(key: &str, ends: &[String]) -> bool {
    ends.iter().any(|end| key.starts_with(end.as_str()))
}
