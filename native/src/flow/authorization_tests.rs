use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> Authorization {
    Authorization::parse(text.as_bytes()).unwrap()
}

fn matches(pattern: &str, id: &str) -> bool {
    Pattern::from(pattern.to_owned()).matches(id)
}

#[test]
fn a_star_stays_within_a_segment_and_two_do_not() {
    assert!(matches("spiffe://d/ns/a/sa/*", "spiffe://d/ns/a/sa/web"));
    assert!(matches("spiffe://d/ns/a/sa/*", "spiffe://d/ns/a/sa/"));
    assert!(!matches("spiffe://d/ns/a/*", "spiffe://d/ns/a/sa/web"));
    assert!(matches("spiffe://d/ns/a/**", "spiffe://d/ns/a/sa/web"));
    assert!(matches("spiffe://d/ns/*/sa/w*b", "spiffe://d/ns/b/sa/wb"));
    assert!(!matches("spiffe://d/ns/*/sa/w*b", "spiffe://d/ns/b/sa/web2"));
    assert!(!matches("", "x") && matches("", "") && matches("***", "a/b"));
}

#[test]
fn a_pattern_of_stars_takes_no_time() {
    let started = std::time::Instant::now();
    assert!(!matches(&"**a".repeat(160), &"a".repeat(159)));
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn what_is_not_understood_is_refused() {
    for text in [
        "{",
        "[]",
        r#"{"policies":[{"policy":"a/b","dry_run":false,"default":"allow"}]}"#,
        r#"{"policies":[{"policy":"a/b","dry_run":false,"default":"maybe","rules":[]}]}"#,
        r#"{"policies":[{"policy":"a/b","dry_run":false,"default":"allow","rules":[],"more":1}]}"#,
        r#"{"policies":[{"policy":"a/b","dry_run":false,"default":"deny","rules":[{"action":"allow","anyone":true,"peers":[]}]}]}"#,
        r#"{"policies":[{"policy":"a/b","dry_run":false,"default":"deny","rules":[{"action":"allow","peers":[],"ports":[]}]}]}"#,
    ] {
        assert!(Authorization::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn no_rules_allow_everything() {
    let decision = rules("").decide(None, 80);
    assert!(decision.verdict.allowed && decision.dry.is_none());
}

#[test]
fn a_dry_run_denies_nothing_and_says_what_it_would() {
    let decision = rules(r#"{"policies":[{"policy":"a/b","dry_run":true,"default":"deny","rules":[]}]}"#)
        .decide(Some("spiffe://d/ns/a/sa/b"), 80);
    assert!(decision.verdict.allowed);
    assert_eq!(decision.dry.unwrap().to_string(), "policy a/b: no rule allows it");
}

proptest! {
    /// Text of anybody's: an error, or rules that decide.
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", port in any::<u16>()) {
        if let Ok(rules) = Authorization::parse(text.as_bytes()) {
            rules.decide(None, port);
        }
    }

    /// Whatever a pattern without stars is, it is about itself and nothing else.
    #[test]
    fn without_stars_only_the_same_matches(pattern in "[a-z/]{0,12}", other in "[a-z/]{0,12}") {
        prop_assert!(matches(&pattern, &pattern));
        prop_assert_eq!(matches(&pattern, &other), pattern == other);
    }
}
