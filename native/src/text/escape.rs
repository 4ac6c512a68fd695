//! Strings of JSON: what their escapes mean, and back.
//!
//! Everything works on the raw text between the quotes of a string that has been read as valid. `\ud83d` without its other
//! half has no place in Unicode text: it decodes to U+FFFD, and stays as it is in what is not changed.

/// Stands for half of a surrogate pair. Three bytes, as the half itself would have.
const STAND_IN: char = char::REPLACEMENT_CHARACTER;

const HIGH: std::ops::RangeInclusive<u16> = 0xd800..=0xdbff;
const LOW: std::ops::RangeInclusive<u16> = 0xdc00..=0xdfff;
/// Length of `\ud83d`.
pub const HALF: usize = 6;

/// One character as it is written.
struct Unit {
    raw: usize,
    character: char,
    is_high_half: bool,
}

fn hexadecimal(raw: &[u8]) -> Option<u16> {
    let digits = raw.get(2..HALF)?;
    digits.iter().try_fold(0u16, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u16::try_from(digit).ok()?)
    })
}

fn half_at(raw: &[u8]) -> Option<u16> {
    raw.starts_with(b"\\u").then(|| hexadecimal(raw)).flatten()
}

fn surrogates(raw: &[u8], high: u16) -> Unit {
    let Some(low) = half_at(&raw[HALF..]).filter(|low| LOW.contains(low)) else {
        return Unit { raw: HALF, character: STAND_IN, is_high_half: true };
    };
    let code = 0x1_0000 + ((u32::from(high) & 0x3ff) << 10) + (u32::from(low) & 0x3ff);
    Unit { raw: 2 * HALF, character: char::from_u32(code).unwrap_or(STAND_IN), is_high_half: false }
}

/// What the escape at the start of `raw` stands for.
fn escape_at(raw: &[u8]) -> Unit {
    let simple = |character| Unit { raw: 2, character, is_high_half: false };
    match raw.get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'u') => match hexadecimal(raw) {
            Some(high) if HIGH.contains(&high) => surrogates(raw, high),
            Some(code) => {
                let character = char::from_u32(u32::from(code)).unwrap_or(STAND_IN);
                Unit { raw: HALF, character, is_high_half: false }
            }
            None => Unit { raw: raw.len(), character: STAND_IN, is_high_half: false },
        },
        Some(other) => simple(char::from(*other)),
        None => Unit { raw: raw.len(), character: STAND_IN, is_high_half: false },
    }
}

/// Appends the text of `raw` to `out`. Returns whether it ends with the first half of a pair, whose second half may be at
/// the start of the next string.
pub fn decode(raw: &str, out: &mut String) -> bool {
    let mut rest = raw;
    let mut ends_with_half = false;
    while let Some(plain) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..plain]);
        let unit = escape_at(&rest.as_bytes()[plain..]);
        out.push(unit.character);
        rest = &rest[plain + unit.raw..];
        ends_with_half = unit.is_high_half && rest.is_empty();
    }
    out.push_str(rest);
    ends_with_half
}

/// Whether `raw` begins with the second half of a pair.
pub fn begins_with_low_half(raw: &[u8]) -> bool {
    half_at(raw).is_some_and(|half| LOW.contains(&half))
}

/// How many bytes of `raw` make the first `decoded` bytes of its text.
pub fn raw_length(raw: &[u8], decoded: usize) -> usize {
    let mut at = 0;
    let mut left = decoded;
    while left > 0 && at < raw.len() {
        let plain = memchr::memchr(b'\\', &raw[at..]).unwrap_or(raw.len() - at).min(left);
        at += plain;
        left -= plain;
        if left > 0 && at < raw.len() {
            let unit = escape_at(&raw[at..]);
            at += unit.raw;
            left = left.saturating_sub(unit.character.len_utf8());
        }
    }
    at
}

/// Appends `text` as it has to be written between quotes.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        escape_byte(*byte, out);
    }
    out.extend_from_slice(&bytes[from..]);
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        control => {
            let digits = [DIGITS[usize::from(control >> 4)], DIGITS[usize::from(control & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}

/// `text` as a JSON string, with its quotes.
pub fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    escape(text, &mut out);
    out.push(b'"');
    out
}
