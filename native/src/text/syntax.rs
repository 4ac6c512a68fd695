//! Rules as regular expressions. Word boundaries are ASCII ones: a Unicode boundary needs whole characters on both
//! sides, which an automaton over bytes does not have at the end of a piece of text.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Capture, Hir, HirKind, Look, Repetition};

const DEEPEST: u32 = 100;

/// Parses a regular expression in the syntax of the regex crate.
pub(super) fn parse(regex: &str, ignore_case: bool) -> Result<Hir, String> {
    let mut parser = ParserBuilder::new().case_insensitive(ignore_case).nest_limit(DEEPEST).build();
    let parsed = parser.parse(regex).map_err(|error| describe(&error))?;
    if parsed.properties().minimum_len().is_none() || parsed.properties().maximum_len() == Some(0) {
        return Err("it matches no text, only places or nothing at all".to_owned());
    }
    Ok(ascii_boundaries(&parsed))
}

/// The same with its groups, and without what it asks of places.
pub(super) fn parse_groups(regex: &str, ignore_case: bool) -> Result<Hir, String> {
    let mut parser = ParserBuilder::new().case_insensitive(ignore_case).nest_limit(DEEPEST).build();
    Ok(without_places(&parser.parse(regex).map_err(|error| describe(&error))?))
}

fn without_places(pattern: &Hir) -> Hir {
    match pattern.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(without_places(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => {
            let sub = Box::new(without_places(&capture.sub));
            Hir::capture(Capture { sub, ..capture.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_places).collect()),
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(without_places).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => pattern.clone(),
    }
}

pub(super) fn literal(text: &str, ignore_case: bool) -> Result<Hir, String> {
    if text.is_empty() {
        return Err("its literal is empty".to_owned());
    }
    parse(&regex_syntax::escape(text), ignore_case)
}

/// Only where no ASCII letter, digit or underscore stands directly before or after. A full boundary would not do: `C++`
/// ends with what is no word, and so does every word that ends with a letter that is not ASCII.
pub(super) fn as_words(inner: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::WordStartHalfAscii), inner, Hir::look(Look::WordEndHalfAscii)])
}

/// Whether every place in a text may begin a match of any length: such a pattern is tried again at each of them.
pub(super) fn starts_slowly(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Repetition(repetition) => repetition.max.is_none() || starts_slowly(&repetition.sub),
        HirKind::Capture(capture) => starts_slowly(&capture.sub),
        HirKind::Alternation(branches) => branches.iter().any(starts_slowly),
        HirKind::Concat(parts) => {
            for part in parts {
                if starts_slowly(part) {
                    return true;
                }
                let can_be_empty = part.properties().minimum_len() == Some(0);
                if !can_be_empty || matches!(part.kind(), HirKind::Look(_)) {
                    return false;
                }
            }
            false
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

/// Whether it has a repetition that would rather end soon. Of a match the longest counts, so it does not.
pub(super) fn is_lazy(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Repetition(repetition) => {
            (!repetition.greedy && repetition.max != Some(repetition.min)) || is_lazy(&repetition.sub)
        }
        HirKind::Capture(capture) => is_lazy(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(is_lazy),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn describe(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => format!("{} (at byte {})", error.kind(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => format!("{} (at byte {})", error.kind(), error.span().start.offset),
        other => other.to_string(),
    }
}

fn ascii_boundaries(pattern: &Hir) -> Hir {
    match pattern.kind() {
        HirKind::Look(look) => Hir::look(ascii(*look)),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(ascii_boundaries(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(Capture { sub, .. }) => ascii_boundaries(sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(ascii_boundaries).collect()),
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(ascii_boundaries).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => pattern.clone(),
    }
}

fn ascii(look: Look) -> Look {
    match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{as_words, is_lazy, literal, parse, starts_slowly};

    #[test]
    fn what_an_automaton_cannot_do_is_refused_with_the_place() {
        assert_eq!(
            parse("ab(?=c)", false).unwrap_err(),
            "look-around, including look-ahead and look-behind, is not supported (at byte 2)"
        );
        assert_eq!(parse(r"(a)\1", false).unwrap_err(), "backreferences are not supported (at byte 3)");
        assert_eq!(
            parse("a{2,1}", false).unwrap_err().split(" (").next(),
            Some("invalid repetition count range, the start must be <= the end")
        );
    }

    #[test]
    fn what_never_matches_text_is_refused() {
        for regex in ["", "^", r"\b", "[^\\s\\S]", "(?:)*"] {
            assert_eq!(
                parse(regex, false).unwrap_err(),
                "it matches no text, only places or nothing at all",
                "{regex}"
            );
        }
        assert_eq!(literal("", false).unwrap_err(), "its literal is empty");
    }

    #[test]
    fn lazy_repetitions_are_seen_wherever_they_are() {
        let lazy = |regex| is_lazy(&parse(regex, false).unwrap());
        assert!(lazy("<a>.*?</a>") && lazy("(?U)ab+") && lazy("x|(y{2,}?z)*") && lazy("ab??"));
        assert!(!lazy("<a>.*</a>") && !lazy("ab?") && !lazy("(?U)ab+?") && !lazy("a{3}?b"));
    }

    #[test]
    fn a_slow_start_is_seen_behind_what_may_be_empty() {
        let slow = |regex| starts_slowly(&parse(regex, false).unwrap());
        assert!(slow("a+b") && slow("(x|[a-z]*)@") && slow("x?y*z") && slow("(?:ab*){0,3}.+c"));
        assert!(!slow(r"\b[a-z]+@") && !slow("ab+") && !slow("[a-z]{1,64}@"));
        assert!(!starts_slowly(&as_words(parse("a+b", false).unwrap())));
    }
}
