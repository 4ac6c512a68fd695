//! What stands in the place of a match: the text of the rule, in which `{hash}` is a keyed digest of what was there, so
//! that equal values stay equal for the reader and unknown to him.

use aws_lc_rs::hmac;

use super::groups::Groups;

const HASH: &str = "{hash}";
const DIGITS: usize = 8;

pub(super) struct Replacement {
    text: Box<str>,
    hashed: bool,
    groups: Option<Groups>,
}

impl Replacement {
    pub(super) fn new(text: String) -> Self {
        Self { hashed: text.contains(HASH), text: text.into_boxed_str(), groups: None }
    }

    /// One that repeats groups of the pattern, see `Groups`.
    pub(super) fn with_groups(text: String, groups: Groups) -> Self {
        Self { groups: Some(groups), ..Self::new(text) }
    }

    /// Appends it to `out`; `escaped`: as the inside of a JSON string (RFC 8259, section 7).
    pub(super) fn write(&self, matched: &str, key: &[u8], escaped: bool, out: &mut String) {
        let made;
        let text = if let Some(groups) = &self.groups {
            let mut whole = String::new();
            groups.write(matched, |text| self.hashed(text, matched, key), &mut whole);
            made = whole;
            &made
        } else if self.hashed {
            made = self.hashed(&self.text, matched, key);
            &made
        } else {
            &*self.text
        };
        if escaped { text.chars().for_each(|character| escape(character, out)) } else { out.push_str(text) }
    }
}

impl Replacement {
    fn hashed(&self, text: &str, matched: &str, key: &[u8]) -> String {
        if self.hashed { text.replace(HASH, &digest(matched, key)) } else { text.to_owned() }
    }
}

/// The first hexadecimal digits of HMAC-SHA256 (RFC 2104).
fn digest(matched: &str, key: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), matched.as_bytes());
    tag.as_ref().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => out.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::Replacement;

    fn written(text: &str, matched: &str, key: &[u8], escaped: bool) -> String {
        let mut out = String::new();
        Replacement::new(text.to_owned()).write(matched, key, escaped, &mut out);
        out
    }

    #[test]
    fn a_hash_is_the_beginning_of_the_hmac() {
        // RFC 4231, test case 2.
        assert_eq!(written("<{hash}>", "what do ya want for nothing?", b"Jefe", false), "<5bdcc146>");
        assert_eq!(written("{hash}{hash}", "what do ya want for nothing?", b"Jefe", true), "5bdcc1465bdcc146");
    }

    #[test]
    fn inside_of_json_it_is_escaped() {
        assert_eq!(written("a\"\\\n\u{1}é", "", b"", true), "a\\\"\\\\\\n\\u0001é");
        assert_eq!(written("a\"\\\n\u{1}é", "", b"", false), "a\"\\\n\u{1}é");
    }
}
