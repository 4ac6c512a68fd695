use proptest::prelude::*;

use super::*;
use crate::intercept::head::{parse_request, parse_response};

fn request(lines: &str) -> Result<Framing, BadHead> {
    of_request(&parse_request(format!("POST / HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap().unwrap())
}

fn response(method: &str, text: &str) -> Option<Framing> {
    of_response(method, &parse_response(text.as_bytes()).unwrap().unwrap())
}

#[test]
fn requests_have_one_length_or_chunks() {
    assert_eq!(request(""), Ok(EMPTY));
    assert_eq!(request("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
    assert_eq!(request("transfer-encoding: CHUNKED\r\n"), Ok(Framing::Chunked(Chunks::default())));
    for bad in
        ["Content-Length: 1\r\nContent-Length: 1\r\n", "Content-Length: 0x1\r\n", "Transfer-Encoding: identity\r\n"]
    {
        assert!(request(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn answers_end_where_clients_see_their_end() {
    let chunked = Some(Framing::Chunked(Chunks::default()));
    assert_eq!(response("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), chunked);
    assert_eq!(response("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Some(EMPTY));
    assert_eq!(response("GET", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n"), Some(EMPTY));
    assert_eq!(response("GET", "HTTP/1.1 200 OK\r\n\r\n"), Some(Framing::UntilEnd));
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response("GET", twice), Some(Framing::Length(5)));
    for unclear in ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5\r\nTransfer-Encoding: chunked"] {
        assert_eq!(response("GET", &format!("HTTP/1.1 200 OK\r\n{unclear}\r\n\r\n")), None, "{unclear:?}");
    }
}

/// The content of a body that arrives in pieces, and how much was used.
fn read(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize), BadChunk> {
    let (mut framing, mut content, mut used) = (framing, Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        while used < end && !framing.is_done() {
            let step = framing.step(&bytes[used..end])?;
            content.extend_from_slice(&bytes[used..end][step.data]);
            used += step.used;
        }
    }
    Ok((content, used))
}

proptest! {
    #[test]
    fn chunks_are_read_however_they_arrive(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for piece in &pieces {
            bytes.extend(format!("0{:X} ;a=\"b\"\r\n", piece.len()).bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"000\r\nTrailer: x\r\n\r\n");
        let length = bytes.len();
        bytes.extend(b"GET /");
        let (content, used) = read(Framing::Chunked(Chunks::default()), &bytes, &cuts).unwrap();
        prop_assert_eq!(content, pieces.concat());
        prop_assert_eq!(used, length);
    }

    #[test]
    fn whatever_comes_is_read_alike_in_pieces_and_in_one(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), Just(b';'), Just(b'x')], 0..40),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let framing = Framing::Chunked(Chunks::default());
        prop_assert_eq!(read(framing, &bytes, &cuts), read(framing, &bytes, &[]));
    }
}
