//! Asking the policy, whatever wire the call came on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::budget::Held;
use super::coding::{self, CodingError, Decoder};
use super::exchange::{Exchange, blocking, decide};
use super::policy::{Failed, LlmRequest, Policy, Reply, Verdict};

/// A body for the policy that is no JSON.
const UNREADABLE: &[u8] = b"?";
/// White space before a document of JSON that is looked through.
const MOST_SPACE: usize = 4096;

pub enum Decided {
    /// What looked like a call by its path is none by its body.
    NoCall,
    TooLarge(Reply),
    Call(Verdict, Box<Exchange>),
}

/// A call that is complete. Its body is still in its content codings.
pub struct Ask {
    pub policy: Arc<Box<dyn Policy>>,
    pub request: LlmRequest,
    /// In lower case, as Content-Encoding has them.
    pub codings: Vec<String>,
    /// Whether it is a call shows in its body alone.
    pub must_look: bool,
    pub began: Instant,
    pub held: Held,
}

/// Undoes the codings and has the policy decide, where that may block.
pub async fn ask(ask: Ask) -> Result<Decided, Failed> {
    blocking(move || ask.run()).await
}

impl Ask {
    fn run(mut self) -> Result<Decided, Failed> {
        if !self.codings.is_empty() {
            match self.decode() {
                // Whether a server undoes the coding or takes the body as it is, nobody knows: many do not look at codings.
                Ok(Some(_)) if is_json_as_sent(&self.request.body) => {
                    self.request.body = Bytes::from_static(UNREADABLE);
                    self.request.encoded = true;
                    self.must_look = false;
                }
                Ok(Some(content)) => {
                    self.request.body = content;
                    self.request.encoded = true;
                    // Of several codings, some servers undo the first alone, which nobody has looked at.
                    self.must_look &= self.codings.len() == 1;
                }
                Ok(None) => {}
                Err(CodingError::TooLarge(_)) => {
                    self.request.encoded = true;
                    return self.policy.too_large(self.request).map(Decided::TooLarge);
                }
                // Servers undo what this does not: one of several codings, or as much as comes before an error. So it is
                // no JSON by what was sent, and may be by what is read. The policy has an opinion on that.
                Err(_) => {
                    if is_json_as_sent(&self.request.body) && self.codings.iter().any(|coding| coding::is_known(coding))
                    {
                        self.request.body = Bytes::from_static(UNREADABLE);
                    }
                    self.request.encoded = true;
                    self.must_look = false;
                }
            }
        }
        if self.must_look && !looks_like_json(&self.request.body) {
            return Ok(Decided::NoCall);
        }
        let (verdict, exchange) = decide(&**self.policy, self.request, self.began, self.held)?;
        Ok(Decided::Call(verdict, Box::new(exchange)))
    }

    fn decode(&mut self) -> Result<Option<Bytes>, CodingError> {
        let limit = self.policy.body_limit();
        let Some(mut decoder) = Decoder::new(&self.codings, limit)? else { return Ok(None) };
        let mut content = decoder.feed(&self.request.body)?;
        content.extend(decoder.finish()?);
        if content.len() > limit || !self.held.grow(content.len()) {
            return Err(CodingError::TooLarge(limit));
        }
        Ok(Some(content.into()))
    }
}

/// Whether a media type, in lower case and without parameters, promises JSON.
pub fn is_json(media_type: &str) -> bool {
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

/// Whether enough has come to say whether a body looks like JSON.
pub fn can_tell(content: &[u8]) -> bool {
    content.len() > MOST_SPACE || content.iter().any(|&byte| !is_space(byte))
}

/// Whether a body looks like a JSON object or array, in UTF-8 or UTF-16 with or without a byte order mark. White space
/// without end is nothing else either.
pub fn looks_like_json(content: &[u8]) -> bool {
    content.iter().find(|&&byte| !is_space(byte)).is_none_or(|byte| matches!(byte, b'{' | b'['))
}

/// Whether a body that names a coding is text of JSON without undoing it. The text counts too: what brotli makes of some
/// documents begins with a bracket.
fn is_json_as_sent(body: &[u8]) -> bool {
    !body.is_empty() && looks_like_json(body) && (std::str::from_utf8(body).is_ok() || is_utf16(body))
}

/// JSON begins with a character of ASCII, perhaps after a byte order mark, so the first bytes tell which comes first.
fn is_utf16(body: &[u8]) -> bool {
    let (units, rest) = body.as_chunks::<2>();
    let read = match units.first() {
        Some([0, _] | [0xfe, 0xff]) => u16::from_be_bytes,
        Some([_, 0] | [0xff, 0xfe]) => u16::from_le_bytes,
        _ => return false,
    };
    rest.is_empty() && char::decode_utf16(units.iter().map(|unit| read(*unit))).all(|char| char.is_ok())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_forms() {
        for json in ["{}", " \n[1]", "\u{feff}{\"a\":1}", ""] {
            assert!(looks_like_json(json.as_bytes()), "{json:?}");
        }
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(looks_like_json(&utf16));
        for other in ["--boundary\r\n", "model=a", "\x1f\u{8b}"] {
            assert!(!looks_like_json(other.as_bytes()), "{other:?}");
        }
        assert!(is_json("application/json") && is_json("application/vnd.api+json") && !is_json("multipart/form-data"));
    }

    #[test]
    fn json_as_sent_is_told_from_what_codings_make() {
        let big: Vec<u8> = " {\"ā\":\"😀\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let little: Vec<u8> = "\u{feff}[1]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for text in ["\n{\"é\":1}".as_bytes(), "\u{feff}[]".as_bytes(), &big, &little] {
            assert!(is_json_as_sent(text), "{text:?}");
        }
        let coded: [&[u8]; 4] = [b"", b"\x1f\x8b\x08\0\0\0\0\0", b"[\xff\xff\xaf\x02\x78", b"[\0\xff\xdf\xff\xdf"];
        for bytes in coded {
            assert!(!is_json_as_sent(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn space_alone_tells_nothing_until_there_is_too_much_of_it() {
        assert!(!can_tell(b" \r\n"));
        assert!(can_tell(b" x"));
        assert!(can_tell(&[b' '; MOST_SPACE + 1]));
    }
}
