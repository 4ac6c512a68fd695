//! What the first bytes of a connection say about its protocol.
//!
//! Bytes are held back only while they are the beginning of a request that could be one to look into: a method that LLM
//! calls use, then the rest of a request line. The first words of other protocols do not pass for that, or end in a line
//! that is none. What could still be a request with some other method goes on at once and is only watched, so a connection
//! cannot hide what comes later behind an unusual first request.

/// The client connection preface of HTTP/2 (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HELD: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"HEAD ", b"OPTIONS "];
/// Longer than any registered method.
const LONGEST_METHOD: usize = 64;
/// Servers take longer lines, too, but a longer head is refused: what begins as a request needs no more to be one.
pub const LONGEST_LINE: usize = 64 * 1024;
const SETTINGS: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    Http1,
    Http2,
    /// More has to be seen. `hold`: before any of it goes on.
    Undecided {
        hold: bool,
    },
    Other,
}

/// Judges the first bytes of a client. No bytes at all are no HTTP.
pub fn first(bytes: &[u8]) -> First {
    if bytes.is_empty() {
        return First::Other;
    }
    if bytes.starts_with(PREFACE) {
        return First::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return First::Undecided { hold: true };
    }
    // Servers skip empty lines before a request, and some skip space before the method. The parser refuses the latter.
    let line = &bytes[bytes.iter().take_while(|&&byte| is_space(byte) || matches!(byte, b'\r' | b'\n')).count()..];
    if line.is_empty() && bytes.len() > LONGEST_LINE {
        // Nobody can wait for its end. There are servers that would.
        return First::Http1;
    }
    let method = line.iter().take_while(|&&byte| is_token(byte)).count();
    if method == line.len() {
        let hold = !line.is_empty() && HELD.iter().any(|held| held.starts_with(line));
        return if method > LONGEST_METHOD { First::Other } else { First::Undecided { hold } };
    }
    if method == 0 || !is_space(line[method]) {
        return First::Other;
    }
    match memchr::memchr(b'\n', line) {
        Some(end) if names_http(&line[..end]) => First::Http1,
        Some(_) => First::Other,
        None if bytes.len() > LONGEST_LINE => {
            let is_known = HELD.iter().any(|held| held.trim_ascii_end().eq_ignore_ascii_case(&line[..method]));
            if is_known { First::Http1 } else { First::Other }
        }
        None => First::Undecided { hold: HELD.iter().any(|held| line.starts_with(held)) },
    }
}

/// Whether bytes of a server begin with a SETTINGS frame of HTTP/2, which a server may send before anything else.
pub fn is_settings(bytes: &[u8]) -> bool {
    let Some((&[high, middle, low, kind, flags, a, b, c, d], _)) = bytes.split_first_chunk() else { return false };
    let length = u32::from_be_bytes([0, high, middle, low]);
    kind == SETTINGS && flags == 0 && [a, b, c, d] == [0; 4] && length.is_multiple_of(6)
}

/// More generous than a request line may be: whether it is a proper one is decided where it is parsed.
fn names_http(line: &[u8]) -> bool {
    let words: Vec<&[u8]> =
        line.split(|&byte| is_space(byte) || byte == b'\r').filter(|word| !word.is_empty()).collect();
    let version = words.last().and_then(|word| word.split_at_checked(5));
    let is_version = |(name, rest): (&[u8], &[u8])| {
        name.eq_ignore_ascii_case(b"HTTP/") && rest.first().is_some_and(u8::is_ascii_digit)
    };
    words.len() > 2 && version.is_some_and(is_version)
}

/// Whatever a server may take for space between the words of a first line.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0x1c..=0x1f | 0x85 | 0xa0)
}

/// RFC 9110, 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_seen_whatever_their_method() {
        for line in ["POST /v1 HTTP/1.1\r\n", "get / HTTP/1.0\r\n", "\r\nGET / HTTP/1.1\r\n", "FOO \u{b} / http/1.1 \n"]
        {
            assert_eq!(first(line.as_bytes()), First::Http1, "{line:?}");
        }
        for line in [" POST / HTTP/1.1\r\n", "\tPOST / HTTP/1.1\r\n", "\r\n \u{1c}POST / HTTP/1.1\r\n"] {
            assert_eq!(first(line.as_bytes()), First::Http1, "{line:?}");
        }
        assert_eq!(first(PREFACE), First::Http2);
    }

    #[test]
    fn what_begins_as_a_request_is_one_however_long_it_is() {
        let long = "a".repeat(LONGEST_LINE);
        for line in [format!("POST /{long}"), format!("\r\n post\t/{long}"), "\r\n".repeat(LONGEST_LINE)] {
            assert_eq!(first(line.as_bytes()), First::Http1, "{:?}", &line[..12]);
        }
        for line in [format!("STORE {long}"), format!(" POSTS {long}"), format!("POST{long}")] {
            assert_eq!(first(line.as_bytes()), First::Other, "{:?}", &line[..12]);
        }
    }

    #[test]
    fn only_what_could_be_a_call_is_held() {
        for held in ["P", "PRI * HT", "POST", "POST /v1/chat", "DELE"] {
            assert_eq!(first(held.as_bytes()), First::Undecided { hold: true }, "{held:?}");
        }
        for watched in ["PIN", "hello", "h", "PROPFIND /", "\r\n", " ", "\t\n"] {
            assert_eq!(first(watched.as_bytes()), First::Undecided { hold: false }, "{watched:?}");
        }
    }

    #[test]
    fn other_protocols_are_let_go_at_once() {
        let others: [&[u8]; 12] = [
            b"",
            b"\x16\x03\x01\x02\x00\x01",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n",
            b"GET key\r\n",
            b"get HTTP/1.1\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"EHLO there\r\n",
            b" hello there\r\n",
            b"\n{\"a\":1}",
            b" \x00\x01",
        ];
        for bytes in others {
            assert_eq!(first(bytes), First::Other, "{bytes:?}");
        }
    }

    #[test]
    fn settings_of_a_server_are_told_from_greetings() {
        assert!(is_settings(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]));
        assert!(is_settings(&[0, 0, 0, 4, 0, 0, 0, 0, 0]));
        assert!(!is_settings(b"220 mail ESMTP\r\n"));
        assert!(!is_settings(&[0x4a, 0, 0, 0, 10, b'8', b'.', b'0', b'.', b'3', b'6']));
    }
}
