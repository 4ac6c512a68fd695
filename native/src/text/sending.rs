//! How events are sent: as they came, with changes, or added ones.

use std::ops::Range;

use super::events::{Engine, Event};
use super::frames::Framing;
use super::json::Kind;
use super::template::{Changes, Template};
use super::view;

impl Engine {
    /// What stands between this element of an array and the one before it.
    pub(super) fn separate(&mut self, between: &[u8]) {
        if self.start.framing != Framing::Array {
            return;
        }
        // What was before it is held back or left out.
        let is_first_now = self.outcome.sent == 0 && self.outcome.events > 0;
        self.separator.clear();
        self.separator.extend(between.iter().filter(|byte| !is_first_now || **byte != b','));
    }

    fn next_element(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.separator);
        self.outcome.sent += 1;
        if self.start.framing == Framing::Array {
            self.separator.push(b',');
        }
    }

    pub(super) fn send_as_it_is(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.next_element(out);
        out.extend_from_slice(raw);
    }

    /// Sends a copy of an earlier event with the text at `text` in `made`; `before`: the number of the event before which.
    pub(super) fn add(&mut self, template: &Template, text: Range<usize>, before: Option<i64>, out: &mut Vec<u8>) {
        self.next_element(out);
        let last = self.outcome.sequence;
        let sequence = before.map(|number| number + self.shift).or_else(|| last.map(|last| last + 1));
        self.shift += 1;
        self.outcome.sequence = sequence.or(last);
        let model = self.model.as_deref();
        let changes = Changes { text: &self.made[text], model, sequence, strip_usage: self.start.strip_usage };
        self.copier.copy(&self.plan, template, &changes, out);
        self.changed = true;
    }

    pub(super) fn send(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.edit_texts(event);
        self.edit_members(event);
        self.next_element(out);
        let raw = &event.frames.bytes()[event.raw.clone()];
        if self.edits.is_empty() {
            out.extend_from_slice(raw);
        } else {
            let data = event.frames.data();
            self.edits.apply_in(data.bytes, raw, |at| data.place(at) - event.raw.start, out);
        }
        self.note_sent(event);
    }

    fn edit_texts(&mut self, event: &Event<'_>) {
        self.edits.clear();
        let tree = &event.tree;
        for (node, range) in &self.new {
            let made = &self.made[range.clone()];
            if made == tree.text(*node).as_bytes() {
                continue;
            }
            let value = &tree.nodes[*node as usize];
            let span = value.range();
            if value.kind == Kind::String {
                self.edits.replace(span.start + 1..span.end - 1, made);
            } else {
                self.edits.replace(span, &[b"\"", made, b"\""].concat());
            }
        }
        let now = !self.edits.is_empty();
        self.changed |= now;
        let scrub = event.view.scrub.iter().filter(|_| now);
        for node in scrub.chain(event.view.scrub_after.iter().filter(|_| self.changed)) {
            let value = &tree.nodes[*node as usize];
            self.edits.remove(value.member as usize..value.end as usize);
        }
    }

    fn edit_members(&mut self, event: &Event<'_>) {
        let tree = &event.tree;
        let value = |node: u32| &tree.nodes[node as usize];
        if let Some(model) = &self.model {
            let is_other = |node: &&u32| value(**node).kind == Kind::String && tree.raw(**node).as_bytes() != model;
            event.view.models.iter().filter(is_other).for_each(|node| self.edits.replace(value(*node).range(), model));
        }
        if self.start.strip_usage {
            let is_null = |node: &&u32| value(**node).kind == Kind::Null;
            for node in event.view.usage_members.iter().filter(is_null) {
                self.edits.remove(value(*node).member as usize..value(*node).end as usize);
            }
        }
        if let (Some(node), Some(number)) = (event.view.sequence, event.sequence)
            && self.shift != 0
        {
            self.edits.replace(value(node).range(), (number + self.shift).to_string().as_bytes());
        }
        if self.ended {
            let is_there = |node: &&u32| value(**node).kind != Kind::Null;
            event
                .view
                .finish
                .iter()
                .filter(is_there)
                .for_each(|node| self.edits.replace(value(*node).range(), b"null"));
        }
    }

    fn note_sent(&mut self, event: &Event<'_>) {
        if let Some(number) = event.sequence {
            self.outcome.sequence = Some(number + self.shift);
        }
        for (name, node) in &event.view.captured {
            self.decoded.clear();
            view::scalar(&event.tree, *node, &mut self.decoded);
            let known = self.outcome.captured.entry(&self.plan.captured[*name]);
            if *known != self.decoded && !self.decoded.is_empty() {
                known.clone_from(&self.decoded);
            }
        }
        if self.ended {
            return; // its members that say why a choice has ended are gone
        }
        for (rule, node) in &event.view.ends {
            let mut end = String::new();
            view::key(&self.plan.ends[*rule].key, &event.tree, *node, &mut end);
            self.outcome.note_end(&end);
        }
    }
}
