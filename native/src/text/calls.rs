//! Calls of tools in one answer: which are allowed, and what has to be known of them before that can be said.

use super::escape;
use super::json::{Kind, Tree};
use super::outcome::Outcome;
use super::plan::FilterPlan;
use super::tools::{Need, Verdict};
use super::view::{self, View};

/// Calls of one answer that are remembered.
const MOST: usize = 1024;
/// Bytes of arguments that are kept, of all calls; those that do not fit are judged by their beginning, which cannot be read.
const LONGEST: usize = 8 << 20;

#[derive(Debug)]
struct Call {
    rule: usize,
    key: String,
    begins: String,
    name: String,
    need: Need,
    /// The source of the arguments so far, as it stands between quotes, where they are needed.
    arguments: String,
    is_decided: bool,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
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
            if self.calls.iter().any(|call| call.key == key) {
                return Ok(());
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

    /// A call whose arguments follow.
    fn begin(
        &mut self,
        plan: &FilterPlan,
        index: usize,
        place: (&Tree<'_>, u32),
        name: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        let (key, begins) = Self::key(plan, index, place);
        let is_it = |call: &&Call| call.rule == index && call.key == key;
        if let Some(known) = self.calls.iter().find(is_it)
            && (begins.is_empty() || known.begins == begins)
            && (name.is_empty() || known.name == name)
        {
            return Ok(());
        }
        self.remember(plan, Call::new(plan, index, key, begins, name), outcome)
    }

    fn remember(&mut self, plan: &FilterPlan, mut call: Call, outcome: &mut Outcome) -> Result<(), Denied> {
        self.calls.retain(|known| known.rule != call.rule || known.key != call.key);
        if self.calls.len() >= MOST {
            self.calls.remove(0);
        }
        call.is_decided = call.need == Need::Nothing;
        let result = if call.is_decided { decide(plan, &call.name, None, outcome) } else { Ok(()) };
        self.calls.push(call);
        result
    }

    /// Takes a piece of the arguments of the call with this key; whether they must not be sent yet.
    pub(super) fn arguments(
        &mut self,
        plan: &FilterPlan,
        index: usize,
        key: &str,
        piece: &str,
        outcome: &mut Outcome,
    ) -> Result<bool, Denied> {
        let is_it = |call: &Call| call.key == key && !plan.calls[call.rule].complete && call.rule == index;
        let at = match self.calls.iter().position(is_it) {
            Some(at) => at,
            None => {
                self.remember(plan, Call::new(plan, index, key.to_owned(), String::new(), ""), outcome)?;
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.is_decided {
            return Ok(false);
        }
        call.arguments.push_str(piece);
        self.kept += piece.len();
        if self.kept > LONGEST {
            return self.ended(plan, index, key, outcome).map(|()| false);
        }
        Ok(call.need == Need::Hold)
    }

    /// The arguments of this call are whole.
    pub(super) fn ended(
        &mut self,
        plan: &FilterPlan,
        index: usize,
        key: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Denied> {
        let is_it = |call: &&mut Call| call.rule == index && call.key == key && !call.is_decided;
        let Some(call) = self.calls.iter_mut().find(is_it) else { return Ok(()) };
        call.is_decided = true;
        let mut arguments = String::new();
        self.kept = self.kept.saturating_sub(call.arguments.len());
        escape::decode(&std::mem::take(&mut call.arguments), &mut arguments);
        decide(plan, &call.name, Some(&arguments), outcome)
    }
}

impl Call {
    fn new(plan: &FilterPlan, rule: usize, key: String, begins: String, name: &str) -> Self {
        let need = plan.rules.need(name);
        Self { rule, key, begins, name: name.to_owned(), need, arguments: String::new(), is_decided: false }
    }
}
