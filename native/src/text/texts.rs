//! What becomes of the texts in an event.

use std::sync::Arc;

use super::calls::{self, Told};
use super::escape;
use super::events::{Engine, Event};
use super::frames::Framing;
use super::lanes::Text;
use super::outcome::Outcome;
use super::plan::{FilterPlan, LaneRule};
use super::select::all_hold;
use super::store::Lane;
use super::view::{self, Hit};

/// Named as what ended the answer, in the place of a rule.
const TRANSFORM: &str = "transform";

/// That the answer ends here.
pub(super) struct Denied {
    /// What ends it: a pattern, a rule for tools.
    id: String,
    /// What has been made of this string up to there may still be sent.
    keeps: bool,
}

impl From<calls::Denied> for Denied {
    fn from(denied: calls::Denied) -> Self {
        Self { id: denied.0, keeps: false }
    }
}

/// Matchers for texts that stand in one string as a whole, by lane.
#[derive(Default)]
pub(super) struct Whole {
    texts: Vec<Option<Text>>,
}

impl Whole {
    fn text(&mut self, rule: usize, lane: &LaneRule, hash_key: &Arc<[u8]>) -> &mut Text {
        if self.texts.len() <= rule {
            self.texts.resize_with(rule + 1, || None);
        }
        self.texts[rule].get_or_insert_with(|| Text::new(lane, hash_key))
    }

    pub(super) fn count(&self, plan: &FilterPlan, outcome: &mut Outcome) {
        for (text, lane) in self.texts.iter().zip(&plan.lanes) {
            if let Some(text) = text {
                lane.count(text, outcome);
            }
        }
    }
}

impl LaneRule {
    /// Adds the matches of a text. What repeats another was counted there; what nobody changes was only looked at.
    pub(super) fn count(&self, text: &Text, outcome: &mut Outcome) {
        if self.copy && text.denied().is_none() {
            return;
        }
        let matched =
            if self.immutable && text.denied().is_none() { &mut outcome.shadow_matches } else { &mut outcome.matches };
        text.matches().for_each(|(id, count)| *matched.entry(id) += count);
        text.shadow_matches().for_each(|(id, count)| *outcome.shadow_matches.entry(id) += count);
    }
}

impl Engine {
    /// Works on all strings of the event, and sends what texts that end with it still hold. A denial ends the answer.
    pub(super) fn texts(&mut self, event: &mut Event<'_>, out: &mut Vec<u8>) {
        self.new.clear();
        self.made.clear();
        let mut ended = Vec::new();
        for index in 0..event.view.hits.len() {
            let hit = event.view.hits[index];
            let from = self.made.len();
            let result = if self.ended { Ok(()) } else { self.text(event, &hit, &mut ended) };
            if let Err(denied) = result {
                if !denied.keeps {
                    self.made.truncate(from);
                }
                self.deny(&denied.id);
                self.is_partial = self.made.len() > from;
            }
            self.new.push((hit.node, from..self.made.len()));
        }
        if self.ended {
            return;
        }
        self.store.take_ended(&event.ends, &mut ended);
        let followed = std::mem::take(&mut self.calls.followed);
        if !followed.is_empty() {
            let is_followed = |lane: &mut Lane| lane.call.is_some_and(|call| followed.contains(&call));
            ended.extend(self.store.lanes.extract_if(.., is_followed));
        }
        self.end(ended, event.sequence, out);
        self.end_calls(&event.ends);
    }

    /// Judges calls that end without ever having had arguments.
    pub(super) fn end_calls(&mut self, ends: &[String]) {
        if self.ended || ends.is_empty() {
            return;
        }
        if let Err(denied) = self.calls.all_ended(&self.plan, ends, &mut self.outcome) {
            self.deny(&denied.0);
        }
    }

    /// Ends texts: what they hold goes into their last string, if that is in this event, or into an event before it.
    pub(super) fn end(&mut self, ended: Vec<Lane>, sequence: Option<i64>, out: &mut Vec<u8>) {
        for mut lane in ended {
            let from = self.made.len();
            if let Err(denied) = self.rest(&mut lane) {
                self.deny(&denied.id);
                return;
            }
            let plan = Arc::clone(&self.plan);
            plan.lanes[lane.rule].count(&lane.text, &mut self.outcome);
            if from == self.made.len() {
                continue;
            }
            match lane.last.filter(|(event, _)| *event == self.outcome.events) {
                Some((_, index)) => {
                    let before = self.new[index].1.clone();
                    let start = self.made.len();
                    self.made.extend_from_within(before);
                    self.made.extend_from_within(from..start);
                    self.new[index].1 = start..self.made.len();
                }
                None => self.add(&lane.template, from..self.made.len(), sequence, out),
            }
        }
    }

    /// Appends what a text still holds to `made`.
    fn rest(&mut self, lane: &mut Lane) -> Result<(), Denied> {
        let plan = Arc::clone(&self.plan);
        let rule = &plan.lanes[lane.rule];
        if let Some(call) = lane.call {
            self.calls.ended(&plan, call, &mut self.outcome)?;
        }
        self.made.append(&mut lane.waiting.take().unwrap_or_default());
        let from = self.made.len();
        lane.text.feed("", true, &mut self.scratch, &mut self.made);
        if rule.immutable {
            self.made.truncate(from);
        } else if let Some(id) = lane.text.denied() {
            return Err(Denied { id: id.to_owned(), keeps: false });
        } else {
            self.transform(rule, &lane.key, from, true)?;
        }
        self.collect(rule, from);
        Ok(())
    }

    /// Works on one string.
    fn text(&mut self, event: &mut Event<'_>, hit: &Hit, ended: &mut Vec<Lane>) -> Result<(), Denied> {
        let plan = Arc::clone(&self.plan);
        let rule = &plan.lanes[hit.rule];
        if rule.complete || self.start.framing == Framing::Whole {
            return self.whole(event, hit, rule);
        }
        self.store.look_at(rule, &event.tree, hit);
        let call = self.call(event, hit, rule)?;
        let owner = self.store.owner(&plan, (hit, call), &self.start.hash_key, ended);
        let waits = match call {
            Some(call) => self.calls.arguments(&plan, call, event.tree.content(hit.node), &mut self.outcome)?,
            None => false,
        };
        match (owner, call) {
            (Some(lane), _) => self.piece(event, hit, rule, (lane, waits)),
            (None, Some(call)) => {
                self.calls.ended(&plan, call, &mut self.outcome)?; // nobody would send later what waits
                self.whole(event, hit, rule)
            }
            (None, None) => self.whole(event, hit, rule),
        }
    }

    /// The number of the call whose arguments this string is a piece of, if rules for tools want to know.
    fn call(&mut self, event: &mut Event<'_>, hit: &Hit, rule: &LaneRule) -> Result<Option<u64>, Denied> {
        let Some((call, conditions)) = &rule.tool else { return Ok(None) };
        if !all_hold(conditions, &event.tree, hit.node, &mut event.view.answers) {
            return Ok(None);
        }
        let name = rule.named.as_ref().and_then(|route| route.last(&event.tree, hit.node));
        let told = Told {
            rule: *call,
            key: &self.store.key,
            begins: &self.store.begins,
            named: name.map(|node| (self.outcome.events, node)),
        };
        Ok(Some(self.calls.of(&self.plan, &told, &mut self.outcome)?))
    }

    fn whole(&mut self, event: &Event<'_>, hit: &Hit, rule: &LaneRule) -> Result<(), Denied> {
        let content = event.tree.text(hit.node);
        let from = self.made.len();
        let text = self.whole.text(hit.rule, rule, &self.start.hash_key);
        let characters = text.feed(content, true, &mut self.scratch, &mut self.made);
        let denied = text.denied().map(str::to_owned);
        self.said(rule, characters);
        if rule.immutable {
            self.made.truncate(from);
            self.made.extend_from_slice(content.as_bytes());
        }
        if let Some(id) = denied {
            return Err(Denied { id, keeps: !rule.immutable && self.start.transform.is_none() });
        }
        if !rule.immutable {
            let mut key = String::new();
            if self.start.transform.is_some() {
                view::key(&rule.key, &event.tree, hit.place, &mut key);
            }
            self.transform(rule, &key, from, true)?;
        }
        self.collect(rule, from);
        Ok(())
    }

    /// Works on a string of the text `index`; `waits`: what is made of it must not be sent yet.
    fn piece(
        &mut self,
        event: &Event<'_>,
        hit: &Hit,
        rule: &LaneRule,
        (index, waits): (usize, bool),
    ) -> Result<(), Denied> {
        let content = event.tree.content(hit.node);
        let from = self.made.len();
        self.note_open(index);
        let lane = &mut self.store.lanes[index];
        lane.last = Some((self.outcome.events, self.new.len()));
        let characters = lane.text.feed(content, false, &mut self.scratch, &mut self.made);
        let denied = lane.text.denied().map(str::to_owned);
        self.said(rule, characters);
        if rule.immutable {
            self.made.truncate(from);
            self.made.extend_from_slice(content.as_bytes());
        }
        if let Some(id) = denied {
            return Err(Denied { id, keeps: !rule.immutable && !waits && self.start.transform.is_none() });
        }
        if !rule.immutable {
            let key = std::mem::take(&mut self.store.lanes[index].key);
            let result = self.transform(rule, &key, from, false);
            self.store.lanes[index].key = key;
            result?;
        }
        self.collect(rule, from);
        let lane = &mut self.store.lanes[index];
        if waits {
            lane.waiting.get_or_insert_default().extend(self.made.drain(from..));
        } else if let Some(waiting) = lane.waiting.take() {
            self.made.splice(from..from, waiting);
        }
        if lane.text.holds() || waits || self.start.transform.is_some() {
            lane.template.set(event.frames, event.raw.clone(), hit.node);
        }
        Ok(())
    }

    fn note_open(&mut self, index: usize) {
        let key = &self.store.lanes[index].key;
        if !self.open.contains(key) {
            self.open.push(key.clone());
        }
    }

    fn said(&mut self, rule: &LaneRule, characters: u64) {
        if !rule.copy {
            *self.outcome.characters.entry(&rule.name) += characters;
        }
    }

    /// Has what was made from `from` on changed by the caller's own means.
    fn transform(&mut self, rule: &LaneRule, key: &str, from: usize, last: bool) -> Result<(), Denied> {
        let Some(transform) = &mut self.start.transform else { return Ok(()) };
        self.decoded.clear();
        let made = std::str::from_utf8(&self.made[from..]).unwrap_or_default(); // made of whole strings
        escape::decode(made, &mut self.decoded);
        let key = view::parts(key).join(".");
        let denied = || Denied { id: TRANSFORM.to_owned(), keeps: false };
        let new = transform.apply(&rule.name, &key, &self.decoded, last).ok_or_else(denied)?;
        if new != self.decoded {
            self.made.truncate(from);
            escape::escape(&new, &mut self.made);
        }
        Ok(())
    }

    /// Keeps what was made from `from` on for whoever wants to read it.
    fn collect(&mut self, rule: &LaneRule, from: usize) {
        if self.start.collect == 0 || rule.copy {
            return;
        }
        self.decoded.clear();
        escape::decode(std::str::from_utf8(&self.made[from..]).unwrap_or_default(), &mut self.decoded);
        let kept = self.outcome.texts.entry(&rule.name);
        let room = self.start.collect.saturating_sub(kept.len());
        let fits = |(at, character): &(usize, char)| at + character.len_utf8() <= room;
        kept.extend(self.decoded.char_indices().take_while(fits).map(|(_, character)| character));
    }
}
