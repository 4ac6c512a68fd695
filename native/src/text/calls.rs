//! Calls of tools in one answer: which are allowed, and what has to be known of them before that can be said.

use super::escape;
use super::json::{Kind, Tree};
use super::outcome::Outcome;
use super::plan::FilterPlan;
use super::store::has_ended;
use super::tools::{Need, Verdict};
use super::view::{self, View};

/// Calls of one answer that are remembered.
const MOST: usize = 1024;
/// Bytes of arguments that are kept, of all calls; those that do not fit are judged by their beginning, which cannot be read.
const LONGEST: usize = 8 << 20;

#[derive(Debug)]
struct Call {
    number: u64,
    rule: usize,
    key: String,
    begins: String,
    name: String,
    /// The event that named it last, and the name there.
    named: Option<(u64, u32)>,
    need: Need,
    /// The source of the arguments so far, as it stands between quotes, where they are needed.
    arguments: String,
    is_decided: bool,
}

/// What an event tells about the call that something in it belongs to.
pub(super) struct Told<'a> {
    pub(super) rule: usize,
    pub(super) key: &'a str,
    pub(super) begins: &'a str,
    /// The event and the name in it, if the call is named there.
    pub(super) named: Option<(u64, u32)>,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    begun: u64,
    /// Numbers of the calls after which this event has begun another one under the same key.
    pub(super) followed: Vec<u64>,
    /// Bytes of arguments that are kept, of all calls.
    kept: usize,
    text: String,
}

/// That the rule with this id denies a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied(pub(super) String);

fn decide(plan: &FilterPlan, name: &str, arguments: Option<&str>, outcome: &mut Outcome) -> Result<(), Denied> {
    let verdict = plan.rules.decide(name, arguments, &mut |id| *outcome.shadow_matches.entry(id) += 1);
    match verdict {
        Verdict::Denied(id) => {
            *outcome.matches.entry(id) += 1;
            Err(Denied(id.to_owned()))
        }
        Verdict::Allowed | Verdict::Depends => Ok(()),
    }
}

impl Calls {
    /// Takes the names of calls in an event. `whole`: it is the only one.
    pub(super) fn named(
        &mut self,
        plan: &FilterPlan,
        tree: &Tree<'_>,
        view: &View,
        whole: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        self.followed.clear();
        for (index, node) in &view.names {
            let rule = &plan.calls[*index];
            let mut name = std::mem::take(&mut self.text);
            name.clear();
            view::scalar(tree, *node, &mut name);
            let result = if whole && rule.copy {
                Ok(())
            } else if whole || rule.complete {
                self.complete(plan, *index, (tree, *node), &name, outcome)
            } else {
                self.begin(plan, *index, (tree, *node), &name, outcome)
            };
            self.text = name;
            result?;
        }
        Ok(())
    }

    fn key(plan: &FilterPlan, rule: usize, (tree, node): (&Tree<'_>, u32)) -> (String, String) {
        let rule = &plan.calls[rule];
        let (mut key, mut begins) = (String::new(), String::new());
        view::key(&rule.key, tree, node, &mut key);
        if let Some(found) = rule.begins.as_ref().and_then(|route| route.last(tree, node)) {
            view::scalar(tree, found, &mut begins);
        }
        (key, begins)
    }

    /// A call that is in this event as a whole.
    fn complete(
        &mut self,
        plan: &FilterPlan,
        index: usize,
        (tree, node): (&Tree<'_>, u32),
        name: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        let rule = &plan.calls[index];
        if rule.copy {
            let (key, _) = Self::key(plan, index, (tree, node));
            if let Some(known) = self.calls.iter_mut().rev().find(|call| call.key == key) {
                if known.is_decided || !known.arguments.is_empty() {
                    return Ok(());
                }
                known.is_decided = true; // below: its arguments are here alone
            }
        }
        let mut decoded = String::new();
        let arguments = rule.arguments.last(tree, node).map(|arguments| {
            if tree.nodes[arguments as usize].kind != Kind::String {
                return tree.raw(arguments);
            }
            escape::decode(tree.content(arguments), &mut decoded);
            &decoded
        });
        decide(plan, name, Some(arguments.unwrap_or("{}")), outcome)
    }

    /// A call whose arguments follow. Another one may have the same key: servers are known that count all calls as the
    /// first. So another id begins another call, and so do another name and a second name in the same event.
    fn begin(
        &mut self,
        plan: &FilterPlan,
        index: usize,
        place: (&Tree<'_>, u32),
        name: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        let (key, begins) = Self::key(plan, index, place);
        let named = (outcome.events, place.1);
        let mut same_key = self.calls.iter_mut().rev().filter(|call| call.rule == index && call.key == key).peekable();
        let last = same_key.peek().map(|call| call.number);
        let is_it = |(back, call): &(usize, &mut Call)| {
            !call.is_judged()
                && call.named.is_none_or(|(event, _)| event != named.0)
                && if begins.is_empty() { *back == 0 } else { call.begins == begins }
                && call.name == name
        };
        if name.is_empty() && last.is_some() {
            return Ok(());
        }
        if let Some((_, known)) = same_key.enumerate().find(is_it) {
            known.named = Some(named);
            return Ok(());
        }
        self.followed.extend(last);
        let call = Call { named: Some(named), ..Call::new(plan, index, key, begins, name) };
        self.remember(plan, call, outcome).map(|_| ())
    }

    /// Returns the number of the call.
    fn remember(&mut self, plan: &FilterPlan, mut call: Call, outcome: &mut Outcome) -> Result<u64, Denied> {
        if self.calls.len() >= MOST {
            let first = self.calls.iter().position(|call| call.is_decided).unwrap_or(0);
            let number = self.calls[first].number;
            self.ended(plan, number, outcome)?;
            self.calls.remove(first);
        }
        self.begun += 1;
        call.number = self.begun;
        call.is_decided = call.need == Need::Nothing;
        let result = if call.is_decided { decide(plan, &call.name, None, outcome) } else { Ok(()) };
        self.calls.push(call);
        result.map(|()| self.begun)
    }

    /// The number of the call that arguments belong to.
    pub(super) fn of(&mut self, plan: &FilterPlan, told: &Told<'_>, outcome: &mut Outcome) -> Result<u64, Denied> {
        let is_named = |call: &&Call| call.rule == told.rule && call.named == told.named;
        if told.named.is_some()
            && let Some(call) = self.calls.iter().find(is_named)
        {
            return Ok(call.number);
        }
        let same_key = || self.calls.iter().rev().filter(|call| call.rule == told.rule && call.key == told.key);
        let is_it = |call: &&Call| !call.is_judged() && (told.begins.is_empty() || call.begins == told.begins);
        if let Some(call) = same_key().find(is_it) {
            return Ok(call.number);
        }
        // Clients that go by the key alone take it for more of the last call.
        let name = same_key().next().map(|call| call.name.clone()).unwrap_or_default();
        let call = Call::new(plan, told.rule, told.key.to_owned(), told.begins.to_owned(), &name);
        self.remember(plan, call, outcome)
    }

    /// Takes a piece of the arguments of a call; whether they must not be sent yet.
    pub(super) fn arguments(
        &mut self,
        plan: &FilterPlan,
        number: u64,
        piece: &str,
        outcome: &mut Outcome,
    ) -> Result<bool, Denied> {
        let is_it = |call: &&mut Call| call.number == number && !call.is_decided;
        let Some(call) = self.calls.iter_mut().find(is_it) else { return Ok(false) };
        call.arguments.push_str(piece);
        let waits = call.need == Need::Hold;
        self.kept += piece.len();
        if self.kept > LONGEST {
            return self.ended(plan, number, outcome).map(|()| false);
        }
        Ok(waits)
    }

    /// The arguments of this call are whole.
    pub(super) fn ended(&mut self, plan: &FilterPlan, number: u64, outcome: &mut Outcome) -> Result<(), Denied> {
        let is_it = |call: &&mut Call| call.number == number && !call.is_decided;
        let Some(call) = self.calls.iter_mut().find(is_it) else { return Ok(()) };
        call.is_decided = true;
        let mut arguments = String::new();
        self.kept = self.kept.saturating_sub(call.arguments.len());
        escape::decode(&std::mem::take(&mut call.arguments), &mut arguments);
        decide(plan, &call.name, Some(&arguments), outcome)
    }

    /// Calls whose keys begin with one of `ends` have ended: those that had no arguments have none.
    pub(super) fn all_ended(
        &mut self,
        plan: &FilterPlan,
        ends: &[String],
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        let is_it = |call: &&mut Call| !call.is_decided && call.arguments.is_empty() && has_ended(&call.key, ends);
        for call in self.calls.iter_mut().filter(is_it) {
            call.is_decided = true;
            decide(plan, &call.name, Some("{}"), outcome)?;
        }
        Ok(())
    }

    /// What has not been decided on will not be: nothing more is sent.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Call {
    fn new(plan: &FilterPlan, rule: usize, key: String, begins: String, name: &str) -> Self {
        let need = plan.rules.need(name);
        let (number, name) = (0, name.to_owned());
        Self { number, rule, key, begins, name, named: None, need, arguments: String::new(), is_decided: false }
    }

    /// Decided by its arguments, so that more of them are another call's.
    fn is_judged(&self) -> bool {
        self.is_decided && self.need != Need::Nothing
    }
}
