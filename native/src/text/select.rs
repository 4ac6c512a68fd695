//! Which of the values on a path are meant: conditions on, and keys from, values nearby.
//!
//! For each `[]` that two paths begin with, the same element is meant. From a value one climbs to that element, and goes
//! down from there along the other path.

use super::escape;
use super::json::{Kind, Node, Tree};
use super::path::{PathError, StepId, Steps, is_folded};
use super::shape::When;

/// The way from a value on one path to those on another.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where both are in the same value.
    shared: StepId,
    /// The steps down from there.
    down: Vec<StepId>,
}

/// A `When`, seen from values on one path.
#[derive(Debug, Clone)]
pub struct Condition {
    route: Route,
    any_of: Vec<String>,
    or_absent: bool,
    negated: bool,
    ignore_case: bool,
    /// Where the answer for one shared value is remembered.
    slot: usize,
}

/// Remembers answers: without it, a document with as many members of one name as it has room for would cost their square.
#[derive(Debug, Default)]
pub struct Answers {
    known: Vec<Option<(u32, bool)>>,
}

impl Answers {
    /// To be called for each document. `slots` is how many conditions there are.
    pub fn reset(&mut self, slots: usize) {
        self.known.clear();
        self.known.resize(slots, None);
    }
}

impl Route {
    pub fn new(steps: &Steps, from: StepId, to: StepId) -> Self {
        let shared = steps.shared(from, to);
        let down = steps.line(to).into_iter().skip_while(|step| *step != shared).skip(1).collect();
        Self { shared, down }
    }

    /// The value that both are in.
    pub fn climb(&self, tree: &Tree<'_>, from: u32) -> u32 {
        let mut at = from;
        while at != 0 && tree.nodes[at as usize].step != self.shared {
            at = tree.nodes[at as usize].parent;
        }
        at
    }

    /// Goes to each value at the end until `visit` returns true; returns whether it did.
    pub fn walk(&self, tree: &Tree<'_>, from: u32, visit: &mut dyn FnMut(u32) -> bool) -> bool {
        descend(tree, self.climb(tree, from), &self.down, visit)
    }

    /// The last value at the end: the one that most readers take.
    pub fn last(&self, tree: &Tree<'_>, from: u32) -> Option<u32> {
        let mut found = None;
        self.walk(tree, from, &mut |node| {
            found = Some(node);
            false
        });
        found
    }
}

fn descend(tree: &Tree<'_>, at: u32, down: &[StepId], visit: &mut dyn FnMut(u32) -> bool) -> bool {
    let Some((step, rest)) = down.split_first() else { return visit(at) };
    let mut children = tree.children(at).filter(|child| tree.nodes[*child as usize].step == *step);
    children.any(|child| descend(tree, child, rest, visit))
}

impl Condition {
    /// `slots` is how many conditions there are so far.
    pub fn new(steps: &mut Steps, from: StepId, when: &When, slots: &mut usize) -> Result<Self, PathError> {
        let to = steps.add(&when.path)?;
        let slot = *slots;
        *slots += 1;
        let route = Route::new(steps, from, to);
        let (any_of, ignore_case) = (when.any_of.clone(), steps.ignores_case());
        Ok(Self { route, any_of, or_absent: when.or_absent, negated: when.negated, ignore_case, slot })
    }

    pub fn holds(&self, tree: &Tree<'_>, from: u32, answers: &mut Answers) -> bool {
        let shared = self.route.climb(tree, from);
        if let Some(Some((known, holds))) = answers.known.get(self.slot)
            && *known == shared
        {
            return *holds;
        }
        let mut is_there = false;
        // Of members that occur twice one is enough, negated or not: nobody knows which of them a server takes.
        let found = descend(tree, shared, &self.route.down, &mut |node| {
            is_there = true;
            self.accepts(tree, node) != self.negated
        });
        let holds = found || !is_there && self.or_absent != self.negated;
        if let Some(answer) = answers.known.get_mut(self.slot) {
            *answer = Some((shared, holds));
        }
        holds
    }

    fn accepts(&self, tree: &Tree<'_>, node: u32) -> bool {
        let value = &tree.nodes[node as usize];
        if self.any_of.is_empty() {
            return !is_nothing(tree, value, node);
        }
        match value.kind {
            Kind::Array | Kind::Object | Kind::Null => false,
            Kind::String if value.escaped => {
                let mut text = String::new();
                escape::decode(tree.content(node), &mut text);
                self.names(&text)
            }
            Kind::String => self.names(tree.content(node)),
            Kind::True | Kind::False | Kind::Number => self.any_of.iter().any(|known| known == tree.raw(node)),
        }
    }

    /// Some servers take `System` for `system`, and to others it is a role that they do not know. Where case is ignored both
    /// are meant: it is one of `any_of`, and it is none of them.
    fn names(&self, text: &str) -> bool {
        let folds = self.ignore_case && !self.negated;
        self.any_of.iter().any(|known| known == text || folds && is_folded(known, text))
    }
}

/// Null, false, or empty.
fn is_nothing(tree: &Tree<'_>, value: &Node, node: u32) -> bool {
    match value.kind {
        Kind::Null | Kind::False => true,
        Kind::True | Kind::Number => false,
        Kind::String => value.end - value.start == 2,
        Kind::Array | Kind::Object => {
            let raw = tree.raw(node).as_bytes();
            raw[1..raw.len() - 1].iter().all(u8::is_ascii_whitespace)
        }
    }
}

/// Whether all of `conditions` hold for this value.
pub fn all_hold(conditions: &[Condition], tree: &Tree<'_>, from: u32, answers: &mut Answers) -> bool {
    conditions.iter().all(|condition| condition.holds(tree, from, answers))
}

/// Compiles several.
pub fn conditions(
    steps: &mut Steps,
    from: StepId,
    whens: &[When],
    slots: &mut usize,
) -> Result<Vec<Condition>, PathError> {
    whens.iter().map(|when| Condition::new(steps, from, when, slots)).collect()
}
