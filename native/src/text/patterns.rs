//! Patterns as the policy has them, compiled once and shared by all who search with them.

use std::collections::HashMap;
use std::mem::size_of;

use regex_syntax::hir::Hir;
use serde::Deserialize;

use super::checks::Check;
use super::engine::{BuildError, Engine};
use super::groups::Groups;
use super::replacement::Replacement;
use super::starts::Starts;
use super::syntax;

#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("the list of patterns: {0}")]
    List(String),
    #[error("pattern {id:?}: {reason}")]
    Pattern { id: String, reason: String },
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    #[default]
    Mask,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    id: String,
    literal: Option<String>,
    regex: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    words: bool,
    check: Option<Check>,
    #[serde(default)]
    action: Action,
    #[serde(default = "stars")]
    replacement: String,
    #[serde(default)]
    expand: bool,
}

fn stars() -> String {
    "***".to_owned()
}

impl From<BuildError> for String {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::TooLarge => "it is too large, smaller bounds of its repetitions would help".to_owned(),
            BuildError::Other(reason) => reason,
        }
    }
}

impl Described {
    fn expression(&self) -> Result<Hir, String> {
        let expression = match (&self.literal, &self.regex) {
            (Some(literal), None) => syntax::literal(literal, self.ignore_case)?,
            (None, Some(regex)) => syntax::parse(regex, self.ignore_case)?,
            _ => return Err("exactly one of literal and regex is needed".to_owned()),
        };
        Ok(if self.words { syntax::as_words(expression) } else { expression })
    }

    fn replacement(&self) -> Result<Replacement, String> {
        let text = self.replacement.clone();
        match &self.regex {
            Some(regex) if self.expand => {
                let groups = Groups::new(regex, self.ignore_case, &text)?;
                Ok(Replacement::with_groups(text, groups))
            }
            _ => Ok(Replacement::new(text)),
        }
    }

    fn error(&self, reason: impl Into<String>) -> PatternError {
        PatternError::Pattern { id: self.id.clone(), reason: reason.into() }
    }
}

/// What to do about a match. `id` is a number in `Patterns::ids`: several patterns may share one.
pub(super) struct Rule {
    pub(super) id: u32,
    pub(super) check: Option<Check>,
    pub(super) action: Action,
    pub(super) replacement: Replacement,
}

/// Compiled patterns; immutable, so that any number of maskers share them.
pub struct Patterns {
    pub(super) rules: Vec<Rule>,
    pub(super) ids: Vec<String>,
    pub(super) engines: Vec<Engine>,
    pub(super) starts: Starts,
    warnings: Vec<String>,
}

impl Patterns {
    /// Compiles a JSON list of `kube_gateway.ai.pattern.Pattern`.
    pub fn compile(json: &[u8]) -> Result<Self, PatternError> {
        let described: Vec<Described> =
            serde_json::from_slice(json).map_err(|error| PatternError::List(error.to_string()))?;
        let mut expressions = Vec::with_capacity(described.len());
        let mut replacements = Vec::with_capacity(described.len());
        let mut warnings = Vec::new();
        for pattern in &described {
            let expression = pattern.expression().map_err(|reason| pattern.error(reason))?;
            if syntax::starts_slowly(&expression) {
                warnings.push(format!(
                    "pattern {:?}: it begins with a repetition without a bound, so that every place in a text has to be \
                     tried; a word boundary (\\b) before it, or a bound, makes it cheap",
                    pattern.id
                ));
            }
            if syntax::is_lazy(&expression) {
                warnings.push(format!(
                    "pattern {:?}: a lazy repetition (as .*?) ends no sooner than another, as the longest match counts; \
                     say what may not be in it (as [^<]*)",
                    pattern.id
                ));
            }
            expressions.push(expression);
            replacements.push(pattern.replacement().map_err(|reason| pattern.error(reason))?);
        }
        let engines = build(&described, &expressions, &mut warnings)?;
        let mut ids = Ids::default();
        let rules = described.into_iter().zip(replacements);
        let rules = rules.map(|(pattern, replacement)| ids.rule(pattern, replacement)).collect();
        Ok(Self { rules, ids: ids.names, starts: Starts::of(&engines), engines, warnings })
    }

    /// What is allowed but slow, or means something else than its author is likely to think; a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the compiled form takes, in bytes, about.
    pub fn memory(&self) -> usize {
        let engines: usize = self.engines.iter().map(Engine::memory).sum();
        engines + self.rules.len() * size_of::<Rule>() + Starts::MEMORY
    }
}

/// Above this, several regular expressions share an automaton.
const MOST_AUTOMATA: usize = 32;
/// For an automaton of regular expressions while it is built, in bytes. What is kept is a fraction of it.
const MEMORY: usize = 8 << 20;
/// For one of literals, which grows with their length only.
const MEMORY_OF_LITERALS: usize = 64 << 20;

type Numbered<'a> = ((u32, &'a Hir), &'a Described);

/// Literals together are a tree of words. Regular expressions together are more than the sum of them, up to the product,
/// so each has an automaton of its own while they are few, and those that share one are halved until they fit.
fn build(
    described: &[Described],
    expressions: &[Hir],
    warnings: &mut Vec<String>,
) -> Result<Vec<Engine>, PatternError> {
    let numbered = (0..).zip(expressions).zip(described);
    let (literals, others): (Vec<Numbered>, Vec<Numbered>) =
        numbered.partition(|(_, pattern)| pattern.literal.is_some());
    let share = others.len().div_ceil(MOST_AUTOMATA).max(1);
    let mut waiting: Vec<(&[Numbered], usize)> = others.chunks(share).map(|group| (group, MEMORY)).collect();
    if !literals.is_empty() {
        waiting.push((&literals, MEMORY_OF_LITERALS));
    }
    let mut engines = Vec::new();
    while let Some((group, memory)) = waiting.pop() {
        let patterns: Vec<(u32, &Hir)> = group.iter().map(|(pattern, _)| *pattern).collect();
        match (Engine::whole(&patterns, memory), group) {
            (Ok(engine), _) => engines.push(engine),
            (Err(BuildError::TooLarge), [(pattern, described)]) => {
                engines.push(Engine::lazy(*pattern).map_err(|error| described.error(error))?);
                warnings.push(format!(
                    "pattern {:?}: it is too large to be built as a whole, which makes it slower; smaller bounds of its \
                     repetitions, or ASCII classes such as (?-u:\\w), would help",
                    described.id
                ));
            }
            (Err(error), [(_, described)]) => return Err(described.error(error)),
            (Err(_), _) => {
                let (first, second) = group.split_at(group.len() / 2);
                waiting.extend([(first, memory), (second, memory)]);
            }
        }
    }
    Ok(engines)
}

#[derive(Default)]
struct Ids {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Ids {
    fn rule(&mut self, pattern: Described, replacement: Replacement) -> Rule {
        let next = self.names.len() as u32;
        let id = *self.numbers.entry(pattern.id).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        Rule { id, check: pattern.check, action: pattern.action, replacement }
    }
}
