//! What is where in one event: one walk through what the reader has noted.

use super::escape;
use super::json::{Kind, Tree};
use super::path::BELOW;
use super::plan::{FilterPlan, LaneRule, Role};
use super::select::{Answers, Route, all_hold};

/// A string that belongs to a lane; where that goes deep, or a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) rule: usize,
    pub(super) node: u32,
    /// How many members of the same name are before it in the same object.
    pub(super) duplicate: u32,
    /// Where the lane's path ends; above `node` where the lane goes deep.
    pub(super) place: u32,
}

/// The values of one event by what they are there for, each by its index in the tree.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) hits: Vec<Hit>,
    pub(super) names: Vec<(usize, u32)>,
    pub(super) ends: Vec<(usize, u32)>,
    pub(super) models: Vec<u32>,
    pub(super) usage: Vec<(usize, u32)>,
    pub(super) usage_members: Vec<u32>,
    pub(super) finish: Vec<u32>,
    pub(super) captured: Vec<(usize, u32)>,
    pub(super) sequence: Option<u32>,
    pub(super) scrub: Vec<u32>,
    pub(super) scrub_after: Vec<u32>,
    pub(super) once: Vec<u32>,
    pub(super) answers: Answers,
    /// The object and the count of the last hit of each lane.
    duplicates: Vec<Option<(u32, u32)>>,
}

impl View {
    pub(super) fn look(&mut self, plan: &FilterPlan, tree: &Tree<'_>) {
        self.clear(plan);
        for node in 0..tree.nodes.len() as u32 {
            let value = &tree.nodes[node as usize];
            if value.step == BELOW {
                continue;
            }
            for role in plan.roles(value.step) {
                self.take(plan, tree, node, *role);
            }
        }
    }

    fn clear(&mut self, plan: &FilterPlan) {
        self.hits.clear();
        self.names.clear();
        self.ends.clear();
        self.models.clear();
        self.usage.clear();
        self.usage_members.clear();
        self.finish.clear();
        self.captured.clear();
        self.sequence = None;
        self.scrub.clear();
        self.scrub_after.clear();
        self.once.clear();
        self.answers.reset(plan.slots);
        self.duplicates.clear();
        self.duplicates.resize(plan.lanes.len(), None);
    }

    fn take(&mut self, plan: &FilterPlan, tree: &Tree<'_>, node: u32, role: Role) {
        match role {
            Role::Lane(rule) => self.lane(&plan.lanes[rule], rule, tree, node),
            Role::ToolName(call) => {
                let is_name = tree.nodes[node as usize].kind == Kind::String;
                if is_name && all_hold(&plan.calls[call].conditions, tree, node, &mut self.answers) {
                    self.names.push((call, node));
                }
            }
            Role::End(end) => {
                if all_hold(&plan.ends[end].conditions, tree, node, &mut self.answers) {
                    self.ends.push((end, node));
                }
            }
            Role::Model => self.models.push(node),
            Role::Usage(kind) => self.usage.push((kind, node)),
            Role::UsageMember => self.usage_members.push(node),
            Role::Finish => self.finish.push(node),
            Role::Captured(name) => self.captured.push((name, node)),
            Role::Sequence => self.sequence = Some(node),
            Role::Scrub => self.scrub.push(node),
            Role::ScrubAfter => self.scrub_after.push(node),
            Role::Once => self.once.push(node),
        }
    }

    fn lane(&mut self, lane: &LaneRule, rule: usize, tree: &Tree<'_>, place: u32) {
        let value = &tree.nodes[place as usize];
        if lane.deep {
            if all_hold(&lane.conditions, tree, place, &mut self.answers) {
                self.hits.extend(tree.texts(place).map(|node| Hit { rule, node, duplicate: 0, place }));
            }
            return;
        }
        if value.kind != Kind::String || !all_hold(&lane.conditions, tree, place, &mut self.answers) {
            return;
        }
        let duplicate = match self.duplicates[rule] {
            Some((parent, count)) if parent == value.parent && value.member != value.start => count + 1,
            _ => 0,
        };
        self.duplicates[rule] = Some((value.parent, duplicate));
        self.hits.push(Hit { rule, node: place, duplicate, place });
    }
}

/// The text of a scalar; of null, and of what is none, it is empty.
pub(super) fn scalar(tree: &Tree<'_>, node: u32, out: &mut String) {
    let value = &tree.nodes[node as usize];
    match value.kind {
        Kind::String if value.escaped => {
            escape::decode(tree.content(node), out);
        }
        Kind::String => out.push_str(tree.content(node)),
        Kind::Number | Kind::True | Kind::False => out.push_str(tree.raw(node)),
        Kind::Null | Kind::Array | Kind::Object => {}
    }
}

/// Ends each part of a key, so that a key that begins with another has all parts of it.
pub(super) const PART_END: char = '\0';

/// Appends the key that `routes` lead to. Its parts are indices, and one that is left out is the first.
pub(super) fn key(routes: &[Route], tree: &Tree<'_>, from: u32, out: &mut String) {
    for route in routes {
        let before = out.len();
        if let Some(node) = route.last(tree, from) {
            scalar(tree, node, out);
        }
        if out.len() == before {
            out.push('0');
        }
        out.push(PART_END);
    }
}

/// The parts of a key.
pub(super) fn parts(key: &str) -> Vec<String> {
    key.split_terminator(PART_END).map(str::to_owned).collect()
}
