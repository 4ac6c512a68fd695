//! Which tools a model may call, and with which arguments.
//!
//! The first rule that applies decides: one whose `name` is the whole name of the tool and that has no `arguments`, or one
//! of whose `arguments` is found at its path. Where no rule applies, the call is allowed.

use regex_automata::meta::Regex;
use serde::Deserialize;

use super::escape;
use super::json::{Kind, Reader};
use super::path::{PathError, StepId, Steps};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    name: String,
    #[serde(default)]
    arguments: Vec<Argument>,
    allow: bool,
    #[serde(default)]
    shadow: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    path: String,
    regex: String,
    allow: Option<bool>,
}

struct CompiledRule {
    id: String,
    name: Regex,
    arguments: Vec<CompiledArgument>,
    allow: bool,
    shadow: bool,
}

struct CompiledArgument {
    step: StepId,
    regex: Regex,
    allow: bool,
}

/// The rules of a policy.
pub struct ToolRules {
    rules: Vec<CompiledRule>,
    steps: Steps,
}

#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("not a list of rules for tools: {0}")]
    NoList(#[from] serde_json::Error),
    #[error("tool rule {id}: {regex:?} is no regular expression: {source}")]
    Regex { id: String, regex: String, source: Box<regex_automata::meta::BuildError> },
    #[error("tool rule {id}: {source}")]
    Path { id: String, source: PathError },
}

/// What the rules say about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Allowed,
    /// By the rule with this id.
    Denied(&'a str),
    /// The arguments decide.
    Depends,
}

/// What has to be known of a call's arguments, by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// A shadow rule looks at them; nothing waits for that.
    Look,
    /// They must not be sent before they are whole.
    Hold,
}

impl ToolRules {
    /// From a JSON list, see `FilterPlan` in `_native.pyi`.
    pub fn parse(json: &[u8]) -> Result<Self, RuleError> {
        let rules: Vec<Rule> = serde_json::from_slice(json)?;
        let mut steps = Steps::new(false);
        let rules = rules.into_iter().map(|rule| compile(rule, &mut steps)).collect::<Result<_, _>>()?;
        Ok(Self { rules, steps })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn need(&self, name: &str) -> Need {
        let mut need = Need::Nothing;
        for rule in self.rules.iter().filter(|rule| rule.name.is_match(name)) {
            match (rule.shadow, rule.arguments.is_empty()) {
                (true, true) => {}
                (true, false) => need = Need::Look,
                (false, true) => break,
                (false, false) => return Need::Hold,
            }
        }
        need
    }

    /// Decides; `arguments` is the source of a JSON document, None where there is none (yet). Ids of shadow rules that would
    /// deny go to `shadow`.
    pub(super) fn decide<'a>(
        &'a self,
        name: &str,
        arguments: Option<&str>,
        shadow: &mut dyn FnMut(&'a str),
    ) -> Verdict<'a> {
        let mut reader = Reader::default();
        for rule in self.rules.iter().filter(|rule| rule.name.is_match(name)) {
            let allow = match arguments {
                _ if rule.arguments.is_empty() => Some(rule.allow),
                Some(arguments) => self.by_arguments(rule, arguments, &mut reader),
                None if rule.shadow => None,
                None => return Verdict::Depends,
            };
            match allow {
                Some(false) if rule.shadow => shadow(&rule.id),
                Some(false) => return Verdict::Denied(&rule.id),
                Some(true) if !rule.shadow => return Verdict::Allowed,
                _ => {}
            }
        }
        Verdict::Allowed
    }

    /// What the first argument of the rule that is found says. Of arguments that cannot be read none is known to be good.
    fn by_arguments(&self, rule: &CompiledRule, arguments: &str, reader: &mut Reader) -> Option<bool> {
        let Ok(tree) = reader.read(arguments.as_bytes(), &self.steps) else {
            return rule.arguments.iter().any(|argument| !argument.allow).then_some(false);
        };
        let mut text = String::new();
        let mut is_found = |argument: &&CompiledArgument| {
            (0..tree.nodes.len() as u32).filter(|node| tree.nodes[*node as usize].step == argument.step).any(|node| {
                if tree.nodes[node as usize].kind != Kind::String {
                    return argument.regex.is_match(tree.raw(node));
                }
                text.clear();
                escape::decode(tree.content(node), &mut text);
                argument.regex.is_match(&text)
            })
        };
        rule.arguments.iter().find(&mut is_found).map(|argument| argument.allow)
    }
}

fn compile(rule: Rule, steps: &mut Steps) -> Result<CompiledRule, RuleError> {
    let regex = |regex: &str, source: &str| {
        let error = |error| RuleError::Regex { id: rule.id.clone(), regex: source.to_owned(), source: Box::new(error) };
        Regex::new(regex).map_err(error)
    };
    let name = regex(&format!(r"\A(?:{})\z", rule.name), &rule.name)?;
    let mut arguments = Vec::with_capacity(rule.arguments.len());
    for argument in &rule.arguments {
        let step = steps.add(&argument.path).map_err(|source| RuleError::Path { id: rule.id.clone(), source })?;
        let allow = argument.allow.unwrap_or(rule.allow);
        arguments.push(CompiledArgument { step, regex: regex(&argument.regex, &argument.regex)?, allow });
    }
    Ok(CompiledRule { name, arguments, allow: rule.allow, shadow: rule.shadow, id: rule.id })
}
