//! Heads of HTTP/1 messages: found, checked and edited in place.
//!
//! A head keeps the bytes that it came in; an edit changes the lines that it names, so what is not edited goes on as it
//! was sent. Requests are read strictly: gateway and server have to agree on where a message ends and what it asks for,
//! or something could pass unseen. A request is refused unless
//!
//! - every line ends with CR LF, and no CR, LF, NUL or other control character (but a tab) is anywhere else;
//! - its first line is method, target and `HTTP/1.0` or `HTTP/1.1`, with single spaces between;
//! - every other line is a name directly followed by a colon, and none is folded;
//! - the head is no longer than 64 KiB.
//!
//! Where its body ends has rules of its own, see `framing`. Answers are read as clients read them.

use std::ops::Range;

use super::sniff::is_token;

/// Servers take a quarter of it, most of them.
pub const LONGEST: usize = 64 * 1024;
/// Empty lines before a request, which servers skip.
const MOST_EMPTY_LINES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadHead(pub &'static str);

#[derive(Clone, Debug)]
struct Field {
    line: Range<usize>,
    name: Range<usize>,
    value: Range<usize>,
}

/// The lines of a head, with or without empty lines before it.
#[derive(Clone, Debug)]
pub struct Head {
    raw: Vec<u8>,
    /// The first line with its end.
    first: Range<usize>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub head: Head,
    pub method: String,
    pub target: String,
    /// HTTP/1.1, or HTTP/1.0.
    pub is_1_1: bool,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub head: Head,
    pub status: u16,
    pub is_1_1: bool,
}

/// A value of a field, or `None` to remove it.
pub type Edit = (String, Option<String>);

impl Head {
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// Takes off what goes before the first line; false if `count` is more than that.
    pub fn skip(&mut self, count: usize) -> bool {
        if count > self.first.start {
            return false;
        }
        self.raw.drain(..count);
        let shift = |range: &mut Range<usize>| *range = range.start - count..range.end - count;
        shift(&mut self.first);
        for field in &mut self.fields {
            [&mut field.line, &mut field.name, &mut field.value].into_iter().for_each(shift);
        }
        true
    }

    /// Values of a field, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &&Field| self.raw[field.name.clone()].eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| &self.raw[field.value.clone()])
    }

    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The elements of a list field, in lower case (RFC 9110, 5.6.1).
    pub fn list(&self, name: &str) -> Vec<String> {
        let values: Vec<String> = self.values(name).map(latin1).collect();
        let elements = values.iter().flat_map(|value| value.split(','));
        elements
            .map(|each| each.trim_matches([' ', '\t']).to_ascii_lowercase())
            .filter(|each| !each.is_empty())
            .collect()
    }

    /// The media type, without parameters and in lower case.
    pub fn content_type(&self) -> Option<String> {
        self.values("content-type").next().map(|value| media_type(&latin1(value)))
    }

    pub fn fields(&self) -> Vec<(String, String)> {
        let text = |range: &Range<usize>| latin1(&self.raw[range.clone()]);
        self.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect()
    }

    /// The head with `edits` made: a new value takes the place of the first line of that name, or is added at the end.
    pub fn edited(&self, first: Option<&str>, edits: &[Edit]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len() + 128);
        match first {
            Some(first) => {
                out.extend_from_slice(&self.raw[..self.first.start]);
                out.extend_from_slice(first.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(&self.raw[..self.first.end]),
        }
        let mut made = vec![false; edits.len()];
        for field in &self.fields {
            let name = &self.raw[field.name.clone()];
            let Some(index) = edits.iter().rposition(|(edited, _)| edited.as_bytes().eq_ignore_ascii_case(name)) else {
                out.extend_from_slice(&self.raw[field.line.clone()]);
                continue;
            };
            if let (false, Some(value)) = (made[index], &edits[index].1) {
                append(&mut out, name, value);
            }
            made[index] = true;
        }
        for (index, (name, value)) in edits.iter().enumerate() {
            let last = edits.iter().rposition(|(other, _)| other.eq_ignore_ascii_case(name)) == Some(index);
            if let (false, true, Some(value)) = (made[index], last, value) {
                append(&mut out, name.as_bytes(), value);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

fn append(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend(to_latin1(value));
    out.extend_from_slice(b"\r\n");
}

/// Text for a header line; what is no character of ISO 8859-1, or would end the line, becomes a question mark.
pub fn to_latin1(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.chars().map(|char| match u8::try_from(u32::from(char)) {
        Ok(b'\r' | b'\n' | 0) | Err(_) => b'?',
        Ok(byte) => byte,
    })
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// A media type without parameters, in lower case.
pub fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// The length of the head at the front of `bytes`, up to and with its empty line; `None` if more has to come.
fn measure(bytes: &[u8], strict: bool) -> Result<Option<(usize, usize)>, BadHead> {
    let mut start = 0;
    let mut at = 0;
    while let Some(length) = memchr::memchr(b'\n', &bytes[at..]) {
        let line = &bytes[at..at + length];
        if strict && line.last() != Some(&b'\r') {
            return Err(BadHead("a line does not end with CR LF"));
        }
        at += length + 1;
        if at > LONGEST {
            break;
        }
        let is_empty = line.is_empty() || line == b"\r";
        if is_empty && at - length - 1 > start {
            return Ok(Some((start, at)));
        }
        if is_empty {
            start = at;
            if start > MOST_EMPTY_LINES * 2 {
                return Err(BadHead("too many empty lines before a request"));
            }
        }
    }
    if bytes.len() > LONGEST { Err(BadHead("the head is too long")) } else { Ok(None) }
}

fn split(bytes: &[u8], strict: bool) -> Result<Option<Head>, BadHead> {
    let Some((start, end)) = measure(bytes, strict)? else { return Ok(None) };
    let raw = bytes[..end].to_vec();
    let mut lines = Vec::new();
    let mut at = start;
    while let Some(length) = memchr::memchr(b'\n', &raw[at..]) {
        lines.push(at..at + length + 1);
        at += length + 1;
    }
    lines.pop();
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or(start..start);
    let mut fields = Vec::new();
    for line in lines {
        match field(&raw, line, strict)? {
            Some(field) => fields.push(field),
            // Folded: a part of the line before.
            None => {
                let last: &mut Field = fields.last_mut().ok_or(BadHead("the first field is folded"))?;
                last.line.end = first_end(&raw, last.line.end);
            }
        }
    }
    Ok(Some(Head { raw, first, fields }))
}

fn first_end(raw: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &raw[at..]).map_or(raw.len(), |length| at + length + 1)
}

fn field(raw: &[u8], line: Range<usize>, strict: bool) -> Result<Option<Field>, BadHead> {
    let mut end = line.end - 1;
    if end > line.start && raw[end - 1] == b'\r' {
        end -= 1;
    }
    if matches!(raw[line.start], b' ' | b'\t') {
        return if strict { Err(BadHead("a field is folded")) } else { Ok(None) };
    }
    let text = &raw[line.start..end];
    let colon = memchr::memchr(b':', text).ok_or(BadHead("a line without a colon"))?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.is_empty() || (strict && !name.iter().all(|&byte| is_token(byte))) {
        return Err(BadHead("a field with an improper name"));
    }
    if strict && value.iter().any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
        return Err(BadHead("a control character in a field"));
    }
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let before = value.iter().take_while(is_space).count();
    let after = value[before..].iter().rev().take_while(is_space).count();
    let start = line.start + colon + 1 + before;
    Ok(Some(Field { name: line.start..line.start + colon, value: start..end - after, line }))
}

/// The request at the front of `bytes`; `None` if more has to come.
pub fn parse_request(bytes: &[u8]) -> Result<Option<Request>, BadHead> {
    let Some(head) = split(bytes, true)? else { return Ok(None) };
    let line = &head.raw[head.first.start..head.first.end - 2];
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BadHead("the first line is not a method, a target and a version"));
    };
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(BadHead("neither HTTP/1.1 nor HTTP/1.0")),
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err(BadHead("an improper method"));
    }
    if target.is_empty() || target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadHead("an improper target"));
    }
    let (method, target) = (latin1(method), latin1(target));
    Ok(Some(Request { head, method, target, is_1_1 }))
}

/// The answer at the front of `bytes`; `None` if more has to come.
pub fn parse_response(bytes: &[u8]) -> Result<Option<Response>, BadHead> {
    if !bytes.is_empty() && !b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]) {
        return Err(BadHead("not an answer of HTTP/1"));
    }
    let Some(head) = split(bytes, false)? else { return Ok(None) };
    let line = &head.raw[head.first.clone()];
    let status = line.get(9..12).filter(|_| line.get(8) == Some(&b' '));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
    let status = status.filter(|status| (100..1000).contains(status)).ok_or(BadHead("an improper status line"))?;
    let is_1_1 = line.get(7) != Some(&b'0');
    Ok(Some(Response { head, status, is_1_1 }))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
