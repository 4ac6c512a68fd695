use std::io::Write;

use proptest::prelude::*;

use super::*;

fn encode(coding: &str, content: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 20);
            encoder.write_all(content).unwrap();
            encoder.into_inner()
        }
        _ => zstd::encode_all(content, 1).unwrap(),
    }
}

fn decoder(coding: &str, most: usize) -> Decoder {
    let name = if coding == "raw" { "deflate" } else { coding };
    Decoder::new(&[name.to_owned()], most).unwrap().unwrap()
}

const CODINGS: [&str; 5] = ["gzip", "deflate", "raw", "br", "zstd"];

#[test]
fn what_is_known_so_far_comes_out_at_once() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"data: 1\n\n").unwrap();
    encoder.flush().unwrap();
    let mut decoder = decoder("gzip", 1000);
    assert_eq!(decoder.feed(encoder.get_ref()).unwrap(), b"data: 1\n\n");
}

#[test]
fn what_grows_too_much_is_refused() {
    let content = vec![b'a'; 1_000_000];
    for coding in CODINGS {
        let result = decoder(coding, 100_000).feed(&encode(coding, &content));
        assert!(matches!(result, Err(CodingError::TooLarge(100_000))), "{coding}: {:?}", result.map(|out| out.len()));
    }
}

#[test]
fn codings_that_are_not_known_are_named() {
    assert!(matches!(Decoder::new(&["compress".to_owned()], 1), Err(CodingError::Unknown(name)) if name == "compress"));
    assert!(Decoder::new(&["identity".to_owned()], 1).unwrap().is_none());
    assert!(Decoder::new(&vec!["gzip".to_owned(); 4], 1).is_err());
}

#[test]
fn what_is_cut_off_or_broken_is_an_error() {
    for coding in ["gzip", "deflate", "br"] {
        let bytes = encode(coding, &b"some text that is long enough".repeat(3));
        let mut decoder = decoder(coding, 1000);
        let cut = decoder.feed(&bytes[..bytes.len() - 6]).and_then(|_| decoder.finish());
        assert!(cut.is_err(), "{coding}");
    }
    for coding in ["gzip", "zstd", "br"] {
        let mut decoder = decoder(coding, 1000);
        assert!(decoder.feed(b"\xffplain text").and_then(|_| decoder.finish()).is_err(), "{coding}");
    }
}

proptest! {
    #[test]
    fn content_comes_out_however_it_arrives(
        content in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..2000),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        which in 0..CODINGS.len(),
    ) {
        let bytes = encode(CODINGS[which], &content);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
        ends.sort_unstable();
        let mut decoder = decoder(CODINGS[which], 10_000);
        let (mut out, mut at) = (Vec::new(), 0);
        for end in ends {
            out.extend(decoder.feed(&bytes[at..end]).unwrap());
            at = end;
        }
        out.extend(decoder.finish().unwrap());
        prop_assert_eq!(out, content);
    }

    #[test]
    fn codings_in_a_row_are_undone_in_reverse(content in proptest::collection::vec(any::<u8>(), 0..500)) {
        let bytes = encode("br", &encode("gzip", &content));
        let mut decoder = Decoder::new(&["gzip".to_owned(), "br".to_owned()], 10_000).unwrap().unwrap();
        let mut out = decoder.feed(&bytes).unwrap();
        out.extend(decoder.finish().unwrap());
        prop_assert_eq!(out, content);
    }
}
