//! Replacements that repeat parts of what they replace: `$1` and `${name}` stand for groups of the pattern, `$$` for a
//! dollar.
//!
//! Where a match begins and ends is known by then, so the groups are searched in the match alone, and without what the
//! pattern asks of the places around it.

use regex_automata::nfa::thompson::{Compiler, pikevm::PikeVM};
use regex_automata::util::primitives::PatternID;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

use super::syntax;

enum Part {
    Text(Box<str>),
    Group(usize),
}

pub(super) struct Groups {
    engine: PikeVM,
    parts: Vec<Part>,
}

impl Groups {
    pub(super) fn new(regex: &str, ignore_case: bool, template: &str) -> Result<Self, String> {
        let inner = syntax::parse_groups(regex, ignore_case)?;
        let whole = Hir::concat(vec![Hir::look(Look::Start), inner, Hir::look(Look::End)]);
        let nfa = Compiler::new().build_from_hir(&whole).map_err(|error| error.to_string())?;
        let engine = PikeVM::new_from_nfa(nfa).map_err(|error| error.to_string())?;
        let parts = parts(template, &engine)?;
        Ok(Self { engine, parts })
    }

    /// Appends the replacement of `matched` to `out`; `text` makes what stands between groups.
    pub(super) fn write(&self, matched: &str, text: impl Fn(&str) -> String, out: &mut String) {
        let mut captures = self.engine.create_captures();
        let input = Input::new(matched).anchored(Anchored::Yes);
        self.engine.captures(&mut self.engine.create_cache(), input, &mut captures);
        for part in &self.parts {
            match part {
                Part::Text(part) => out.push_str(&text(part)),
                Part::Group(group) => {
                    let span = captures.get_group(*group);
                    out.push_str(span.and_then(|span| matched.get(span.range())).unwrap_or_default());
                }
            }
        }
    }
}

fn parts(template: &str, engine: &PikeVM) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let digits = rest.len() - rest.trim_start_matches(|character: char| character.is_ascii_digit()).len();
        let (name, length) = if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = after.find('}') else {
                return Err("a `${` of the replacement has no `}`".to_owned());
            };
            (&after[..end], end + 2)
        } else if digits > 0 {
            (&rest[..digits], digits)
        } else {
            text.push('$');
            rest = rest.strip_prefix('$').unwrap_or(rest);
            continue;
        };
        let group = number(name, engine).ok_or_else(|| format!("the pattern has no group {name:?}"))?;
        parts.push(Part::Text(std::mem::take(&mut text).into_boxed_str()));
        parts.push(Part::Group(group));
        rest = &rest[length..];
    }
    text.push_str(rest);
    parts.push(Part::Text(text.into_boxed_str()));
    Ok(parts)
}

fn number(name: &str, engine: &PikeVM) -> Option<usize> {
    let groups = engine.get_nfa().group_info();
    match name.parse::<usize>() {
        Ok(number) => (number < groups.group_len(PatternID::ZERO)).then_some(number),
        Err(_) => groups.to_index(PatternID::ZERO, name),
    }
}

#[cfg(test)]
mod tests {
    use super::Groups;

    fn written(regex: &str, template: &str, matched: &str) -> Result<String, String> {
        let mut out = String::new();
        Groups::new(regex, false, template)?.write(matched, str::to_owned, &mut out);
        Ok(out)
    }

    #[test]
    fn groups_are_repeated_by_number_and_by_name() {
        assert_eq!(written("(gpt)-(?<size>[0-9]+)", "${size}-$1$2!", "gpt-40"), Ok("40-gpt40!".to_owned()));
        assert_eq!(written("(a)|(b)", "<$1$2$0>", "b"), Ok("<bb>".to_owned()));
        assert_eq!(written("a(.)c", "$10", "aéc"), Err("the pattern has no group \"10\"".to_owned()));
        assert_eq!(written("a(.)c", "${1}0", "aéc"), Ok("é0".to_owned()));
    }

    #[test]
    fn dollars_stay() {
        assert_eq!(written("a", "$$1 $ x$", "a"), Ok("$1 $ x$".to_owned()));
        assert_eq!(written("a", "${1", "a"), Err("a `${` of the replacement has no `}`".to_owned()));
        assert_eq!(written("a", "${x}", "a"), Err("the pattern has no group \"x\"".to_owned()));
    }

    #[test]
    fn places_around_the_match_do_not_count_any_more() {
        assert_eq!(written(r"\b-(\w+)\B", "$1", "-abc"), Ok("abc".to_owned()));
        assert_eq!(written("^(a)$", "$1$1", "a"), Ok("aa".to_owned()));
    }
}
