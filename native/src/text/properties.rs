//! Properties of the pieces that everything else is put together from.

use proptest::prelude::*;

use super::edits::Edits;
use super::escape;
use super::frames::{Frames, Framing, Piece};
use super::json::Reader;
use super::path::Steps;

fn cases(count: u32) -> ProptestConfig {
    let is_long = std::env::var("KUBE_GATEWAY_LONG").is_ok_and(|long| !matches!(long.as_str(), "" | "0"));
    ProptestConfig::with_cases(if is_long { count * 20 } else { count })
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"data: {\"a\":[1,\"x\\\"]}\"]}".to_vec()),
        Just(b"data:".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b": c".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b",".to_vec()),
        Just(b"{\"a\":1}".to_vec()),
        Just("\u{feff}".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Sse), Just(Framing::Lines), Just(Framing::Array), Just(Framing::Whole)]
}

/// All bytes of the pieces, and the data of the events.
fn read(framing: Framing, longest: usize, parts: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut frames = Frames::new(framing, longest);
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for index in 0..=parts.len() {
        match parts.get(index) {
            Some(part) => frames.push(part),
            None => {
                frames.push(b"");
                frames.end();
            }
        }
        while let Some(piece) = frames.next_piece() {
            frames.join();
            let all = frames.bytes();
            match piece {
                Piece::Other(range) | Piece::TooLong(range) => bytes.extend_from_slice(&all[range]),
                Piece::Event { before, raw } => {
                    bytes.extend_from_slice(&all[before]);
                    bytes.extend_from_slice(&all[raw]);
                    events.push(frames.data().bytes.to_vec());
                }
                Piece::Close { before, raw } => {
                    bytes.extend_from_slice(&all[before]);
                    bytes.extend_from_slice(&all[raw]);
                }
            }
        }
    }
    (bytes, events)
}

fn parts_of(stream: &[u8], size: usize) -> Vec<&[u8]> {
    stream.chunks(size).collect()
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn pieces_are_the_stream_and_events_are_the_same_however_it_is_cut(
        stream in streams(), framing in framings(), size in 1usize..9,
    ) {
        let (bytes, events) = read(framing, 1 << 20, &[&stream]);
        prop_assert_eq!(&bytes, &stream);
        prop_assert_eq!(read(framing, 1 << 20, &parts_of(&stream, size)), (bytes, events));
    }

    #[test]
    fn what_is_too_long_loses_nothing(
        stream in streams(), framing in framings(), size in 1usize..9, longest in 1usize..30,
    ) {
        prop_assert_eq!(read(framing, longest, &parts_of(&stream, size)).0, stream);
    }

    #[test]
    fn what_is_escaped_decodes_to_what_it_was(text in any::<String>()) {
        let quoted = String::from_utf8(escape::quote(&text)).unwrap_or_default();
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).ok(), Some(text.clone()));
        let mut decoded = String::new();
        escape::decode(&quoted[1..quoted.len() - 1], &mut decoded);
        prop_assert_eq!(decoded, text);
    }

    #[test]
    fn places_in_a_text_are_found_in_its_source(raw in r#"([a-zé😀]|\\n|\\"|\\u00e9|\\ud83d\\ude00|\\ud83d|\\u0062){0,12}"#) {
        let mut decoded = String::new();
        escape::decode(&raw, &mut decoded);
        for (at, _) in decoded.char_indices() {
            let place = escape::raw_length(raw.as_bytes(), at);
            let (mut first, mut second) = (String::new(), String::new());
            escape::decode(&raw[..place], &mut first);
            escape::decode(&raw[place..], &mut second);
            prop_assert_eq!((first.as_str(), second.as_str()), decoded.split_at(at));
        }
        prop_assert_eq!(escape::raw_length(raw.as_bytes(), decoded.len()), raw.len());
    }

    #[test]
    fn any_bytes_are_read_as_serde_does_or_refused(bytes in streams()) {
        let ours = Reader::default().read(&bytes, &Steps::new(false)).is_ok();
        let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn edits_in_pieces_are_those_of_the_whole(text in "[a-z]{8,20}", at in 0usize..7, new in "[A-Z]{0,3}") {
        let mut edits = Edits::default();
        edits.replace(at..at + 1, new.as_bytes());
        let mut out = Vec::new();
        // Every second byte of the raw text is the document's.
        let raw: Vec<u8> = text.bytes().flat_map(|byte| [b'-', byte]).collect();
        edits.apply_in(text.as_bytes(), &raw, |place| place * 2 + 1, &mut out);
        let expected = [&raw[..at * 2 + 1], new.as_bytes(), &raw[at * 2 + 2..]].concat();
        prop_assert_eq!(out, expected);
    }
}
