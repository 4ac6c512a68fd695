use proptest::collection::vec;
use proptest::prelude::*;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::*;

fn compiled(json: &str) -> Arc<Patterns> {
    Arc::new(Patterns::compile(json.as_bytes()).unwrap())
}

fn masker(patterns: &Arc<Patterns>) -> Masker {
    Masker::new(Arc::clone(patterns), false, Arc::from(*b"key"))
}

fn fed<'a>(mut masker: Masker, pieces: impl IntoIterator<Item = &'a str>) -> (String, Masker) {
    let mut out = String::new();
    for piece in pieces {
        masker.feed(piece, &mut out);
    }
    masker.finish(&mut out);
    (out, masker)
}

fn masked(json: &str, text: &str) -> String {
    fed(masker(&compiled(json)), [text]).0
}

#[test]
fn the_longest_match_counts_and_of_equals_the_first_pattern() {
    let patterns = r#"[{"id":"a","literal":"ab","replacement":"A"},{"id":"b","literal":"abc","replacement":"B"},
        {"id":"c","regex":"ab.","replacement":"C"}]"#;
    assert_eq!(masked(patterns, "ab abc abd ab"), "CB C A");
    assert_eq!(masked(patterns, "ababcab"), "CbcA");
}

#[test]
fn what_is_certain_is_sent_at_once() {
    let patterns = compiled(r#"[{"id":"a","literal":"banned"},{"id":"b","literal":"ban","words":true}]"#);
    let mut masker = masker(&patterns);
    let mut told = Vec::new();
    for piece in ["a ba", "nd", " ban", "ne", "d", "ban", "."] {
        let mut out = String::new();
        masker.feed(piece, &mut out);
        told.push((out, masker.held()));
    }
    let expected = [("a ", 2), ("band", 0), (" ", 3), ("", 5), ("***", 0), ("", 3), ("ban.", 0)];
    assert_eq!(told, expected.map(|(out, held)| (out.to_owned(), held)));
    assert_eq!(masker.matches().collect::<Vec<_>>(), [("a", 1)]);
}

#[test]
fn words_end_where_ascii_letters_do() {
    let patterns = r#"[{"id":"a","literal":"c++","words":true},{"id":"b","literal":"über","words":true},
        {"id":"c","literal":"слово","words":true}]"#;
    assert_eq!(
        masked(patterns, "c++ c+++ xc++ c++x über, darüber überall слово."),
        "*** ***+ xc++ c++x ***, darüber überall ***."
    );
}

#[test]
fn a_boundary_of_a_user_is_an_ascii_one() {
    assert_eq!(masked(r#"[{"id":"a","regex":"\\b[a-z]+\\b"}]"#, "abc éde fé 1g h"), "*** é*** ***é 1g ***");
    assert_eq!(masked(r#"[{"id":"a","regex":"(?m)^b$|x\\Bc"}]"#, "b\nbb\nb xc x c\nb"), "***\nbb\nb *** x c\n***");
}

#[test]
fn case_is_ignored_as_unicode_folds_it() {
    let patterns =
        r#"[{"id":"a","literal":"straSSe","ignore_case":true},{"id":"b","literal":"ΣΑΣ","ignore_case":true}]"#;
    assert_eq!(masked(patterns, "STRASSE ſtraſſe strasze σας ςας"), "*** *** strasze *** ***");
}

#[test]
fn a_denial_ends_the_text() {
    let patterns = compiled(r#"[{"id":"a","literal":"x"},{"id":"b","literal":"stop","action":"deny"}]"#);
    let (out, mut masker) = fed(masker(&patterns), ["ax st", "op", "x", "more"]);
    assert_eq!((out.as_str(), masker.denied(), masker.held()), ("a*** ", Some("b"), 0));
    assert_eq!(masker.matches().collect::<Vec<_>>(), [("a", 1), ("b", 1)]);
    let mut out = String::new();
    masker.feed("y", &mut out);
    masker.finish(&mut out);
    assert_eq!(out, "");
}

#[test]
fn equal_values_are_replaced_by_equal_hashes() {
    let patterns = compiled(r#"[{"id":"a","regex":"[a-z]+@x","replacement":"<{hash}>"}]"#);
    let text = fed(masker(&patterns), ["bob@x ann@x bob@", "x"]).0;
    let parts: Vec<&str> = text.split(' ').collect();
    assert!(parts[0] == parts[2] && parts[0] != parts[1] && parts[0].len() == 10, "{text}");
    let other = Masker::new(Arc::clone(&patterns), false, Arc::from(*b"other"));
    assert_ne!(fed(other, ["bob@x"]).0, parts[0]);
}

#[test]
fn another_text_begins_after_the_end_of_one() {
    let patterns = compiled(r#"[{"id":"a","regex":"^b|cd"}]"#);
    let mut masker = masker(&patterns);
    let mut out = String::new();
    for _ in 0..2 {
        masker.feed("bbc", &mut out);
        masker.finish(&mut out);
    }
    assert_eq!(out, "***bc***bc");
}

#[test]
fn patterns_that_share_an_id_are_counted_together() {
    let patterns = compiled(r#"[{"id":"a","literal":"x"},{"id":"b","literal":"y"},{"id":"a","literal":"z"}]"#);
    assert_eq!(fed(masker(&patterns), ["xyz"]).1.matches().collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
}

#[test]
fn no_match_is_longer_than_the_bound_and_no_more_is_held() {
    let patterns = compiled(r#"[{"id":"a","regex":"<a*>"},{"id":"b","regex":"<a{3}"},{"id":"c","literal":"aa"}]"#);
    for (length, whole) in [(LONGEST, true), (LONGEST + 1, false)] {
        let text = format!("<{}>aa.", "a".repeat(length - 2));
        let expected = if whole { "******.".to_owned() } else { format!("***{}>***.", expected_pairs(length - 5)) };
        let mut masker = masker(&patterns);
        let mut out = String::new();
        for piece in text.as_bytes().chunks(1000) {
            masker.feed(str::from_utf8(piece).unwrap(), &mut out);
            assert!(masker.held() <= LONGEST);
        }
        masker.finish(&mut out);
        assert!(out == expected, "length {length}: {} characters", out.len());
    }
}

fn expected_pairs(length: usize) -> String {
    "***".repeat(length / 2) + if length % 2 == 1 { "a" } else { "" }
}

#[test]
fn a_pattern_too_large_to_be_built_works_all_the_same() {
    let patterns = compiled(
        r#"[{"id":"a","regex":"(?i)\\b[\\w.-]{0,50}(?:key|secret|token)\\w{0,20} ?[=:] ?\\w{10,150}\\b"},
        {"id":"b","literal":"secret"}]"#,
    );
    assert!(patterns.warnings()[0].contains("\"a\": it is too large to be built as a whole"));
    assert!(patterns.memory() < 8 << 20, "{}", patterns.memory());
    let text = "the secret: my_söcret-KEY2 = 0123456789abcdé.".repeat(50);
    let whole = fed(masker(&patterns), [text.as_str()]).0;
    assert_eq!(whole, "the ***: ***é.".repeat(50));
    let (one, other) = (masker(&patterns), masker(&patterns));
    assert_eq!(fed(one, pieces(&text, &[7; 400])).0, whole);
    assert_eq!(fed(other, pieces(&text, &[1; 3000])).0, whole);
}

#[test]
fn a_pattern_that_can_match_nothing_does_not_begin_within_a_character() {
    let patterns = compiled(
        r#"[{"id":"a","regex":"(?:[^a]{2}\\w{1,3}b)*","words":true},
        {"id":"b","regex":"(?:\\w{10,150}[=:]\\w{10,150})?","words":true}]"#,
    );
    assert_eq!(patterns.warnings().len(), 2, "{:?}", patterns.warnings());
    assert_eq!(fed(masker(&patterns), ["aaaaσ", "aa\na€", "€-éb-"]).0, "aaaaσaa\na€***-");
}

#[test]
fn a_long_run_in_vain_is_not_run_again() {
    let patterns = compiled(
        r#"[{"id":"a","regex":"[a-z]+@"},{"id":"b","regex":"[a-z0-9]+!","check":"luhn"},{"id":"c","literal":"y"}]"#,
    );
    let of = |letter: &str, count| letter.repeat(count);
    let text = [of("x", 300_000), "y".into(), of("x", 70_000), "1 ".into(), of("x", 300), "@ ".into()].concat()
        + &[of("x", 300), "18! ".into(), of("z", 100_000), "@".into()].concat();
    // A match that is checked is at most 128 bytes long.
    let expected = [of("x", 300_000), "***".into(), of("x", 70_000), "1 *** ".into(), of("x", 303 - 128)].concat()
        + &["*** ".into(), of("z", 100_001 - LONGEST), "***".into()].concat();
    let (whole, _) = fed(masker(&patterns), [text.as_str()]);
    assert!(whole == expected, "{}", whole.len());
    assert!(fed(masker(&patterns), pieces(&text, &[5; 100_000])).0 == whole);
}

#[test]
fn errors_name_the_pattern() {
    let error = |json: &str| Patterns::compile(json.as_bytes()).err().unwrap().to_string();
    assert!(error("[{").starts_with("the list of patterns: EOF"));
    assert!(error(r#"[{"id":"a","literal":"x","regexp":"y"}]"#).contains("unknown field `regexp`"));
    assert_eq!(error(r#"[{"id":"a"}]"#), "pattern \"a\": exactly one of literal and regex is needed");
    assert_eq!(error(r#"[{"id":"a","regex":"(x"}]"#), "pattern \"a\": unclosed group (at byte 0)");
}

/// A pattern in the JSON of the policy, and the same for another engine.
#[derive(Clone, Debug)]
struct Drawn {
    regex: String,
    ignore_case: bool,
    words: bool,
}

impl Drawn {
    fn json(&self, id: usize) -> serde_json::Value {
        let Self { regex, ignore_case, words } = self;
        serde_json::json!({"id": id.to_string(), "regex": regex, "ignore_case": ignore_case, "words": words,
            "replacement": format!("<{id}>")})
    }

    fn other_engine(&self) -> PikeVM {
        let regex = self.regex.as_str().replace(r"\b", r"(?-u:\b)").as_str().replace(r"\B", r"(?-u:\B)");
        let regex = if self.words { format!(r"(?-u:\b{{start-half}})(?:{regex})(?-u:\b{{end-half}})") } else { regex };
        PikeVM::builder()
            .configure(pikevm::Config::new().match_kind(MatchKind::All))
            .syntax(syntax::Config::new().case_insensitive(self.ignore_case).utf8(false))
            .thompson(thompson::Config::new().which_captures(WhichCaptures::Implicit))
            .build(&regex)
            .unwrap()
    }
}

/// Masks by trying every end at every place.
fn by_trying(patterns: &[Drawn], text: &str) -> String {
    let engines: Vec<(PikeVM, pikevm::Cache)> = patterns
        .iter()
        .map(|pattern| pattern.other_engine())
        .map(|engine| (engine.clone(), engine.create_cache()))
        .collect();
    let mut engines = engines;
    let (mut out, mut at) = (String::new(), 0);
    'places: while let Some(character) = text[at..].chars().next() {
        for end in (at + 1..=text.len()).rev() {
            for (id, (engine, cache)) in engines.iter_mut().enumerate() {
                let input = Input::new(text).range(at..end).anchored(Anchored::Yes);
                if engine.find(cache, input).is_some_and(|found| found.end() == end) {
                    out.push_str(&format!("<{id}>"));
                    at = end;
                    continue 'places;
                }
            }
        }
        out.push(character);
        at += character.len_utf8();
    }
    out
}

fn regexes() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec!["a", "b", "k", "é", "σ", "[ab]", "[^a]", "(?i:k)", "€", "-"]);
    let places = prop::sample::select(vec![r"\b", r"\B", "^", "$", "(?m:^)", "(?m:$)"]);
    let large = prop::sample::select(vec![".", r"\w", r"\d"]);
    let atom = prop_oneof![6 => plain, 2 => places, 1 => large];
    let repeated =
        (atom, prop::sample::select(vec!["", "", "", "?", "*", "+", "{2}", "{1,3}"])).prop_map(|(atom, times)| {
            if atom.contains('^') && atom.len() == 1 { atom.to_owned() } else { format!("{atom}{times}") }
        });
    let sequence = vec(repeated, 1..4).prop_map(|parts| parts.concat());
    (vec(sequence, 1..3), prop::sample::select(vec!["", "?", "*", "{2}"]))
        .prop_map(|(branches, times)| format!("(?:{}){times}", branches.join("|")))
}

fn patterns() -> impl Strategy<Value = Vec<Drawn>> {
    let pattern = (regexes(), any::<bool>(), any::<bool>())
        .prop_map(|(regex, ignore_case, words)| Drawn { regex, ignore_case, words })
        .prop_filter("matches some text", |pattern| {
            crate::text::syntax::parse(&pattern.regex, pattern.ignore_case).is_ok()
        });
    vec(pattern, 1..4)
}

fn texts(longest: usize) -> impl Strategy<Value = String> {
    vec(prop::sample::select("aabbkKσςé€- \n1\u{212a}".chars().collect::<Vec<_>>()), 0..longest)
        .prop_map(|characters| characters.into_iter().collect())
}

fn cases(count: u32) -> ProptestConfig {
    let long = std::env::var("KUBE_GATEWAY_LONG").is_ok_and(|value| !value.is_empty() && value != "0");
    ProptestConfig { cases: count * if long { 20 } else { 1 }, failure_persistence: None, ..ProptestConfig::default() }
}

fn all(patterns: &[Drawn]) -> Arc<Patterns> {
    let list: Vec<_> = patterns.iter().enumerate().map(|(id, pattern)| pattern.json(id)).collect();
    compiled(&serde_json::to_string(&list).unwrap())
}

/// `text` cut into pieces of these many characters, and the rest.
fn pieces<'a>(text: &'a str, lengths: &'a [usize]) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    lengths.iter().chain([&usize::MAX]).map(move |length| {
        let end = rest.char_indices().nth(*length).map_or(rest.len(), |(end, _)| end);
        let (piece, left) = rest.split_at(end);
        rest = left;
        piece
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn another_engine_that_tries_everything_agrees(patterns in patterns(), text in texts(16)) {
        prop_assert_eq!(fed(masker(&all(&patterns)), [text.as_str()]).0, by_trying(&patterns, &text));
    }

    #[test]
    fn cuts_make_no_difference(patterns in patterns(), text in texts(60), lengths in vec(0usize..6, 0..40), escaped: bool) {
        let patterns = all(&patterns);
        let text = if escaped { serde_json::to_string(&text).unwrap().as_str().replace('é', "\\u00e9") } else { text };
        let new = || Masker::new(Arc::clone(&patterns), escaped, Arc::from([]));
        let (whole, masker) = fed(new(), [text.as_str()]);
        let (in_pieces, other) = fed(new(), pieces(&text, &lengths));
        prop_assert_eq!(whole, in_pieces);
        prop_assert!(masker.matches().eq(other.matches()));
    }
}
