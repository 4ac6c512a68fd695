//! Digits that prove themselves: a number of the right form is a card or an account only if its check digits hold.

/// A longer match fails every check, so that a check costs a bounded time wherever a match ends.
const LONGEST: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    Luhn,
    Iban,
}

impl Check {
    pub(super) fn holds(self, text: &[u8]) -> bool {
        text.len() <= LONGEST
            && match self {
                Self::Luhn => luhn(text),
                Self::Iban => iban(text),
            }
    }
}

/// ISO/IEC 7812-1, annex B, over the ASCII digits of `text`; everything between them is skipped. All zeros have a right
/// sum and are nobody's number.
fn luhn(text: &[u8]) -> bool {
    let mut sum = 0;
    let mut digits = 0;
    for digit in text.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')) {
        sum += match digits % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        };
        digits += 1;
    }
    digits > 1 && sum > 0 && sum.is_multiple_of(10)
}

/// ISO 13616-1: the first four characters moved to the end, letters as 10 to 35, the number is 1 modulo 97.
fn iban(text: &[u8]) -> bool {
    let (mut head, mut body) = ((0, 1), (0, 1)); // remainder, and ten to the power of its digits
    let mut characters = 0;
    for byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let value = char::from(*byte).to_digit(36).unwrap_or(0);
        let shift = if value < 10 { 10 } else { 100 };
        let part = if characters < 4 { &mut head } else { &mut body };
        *part = ((part.0 * shift + value) % 97, part.1 * shift % 97);
        characters += 1;
    }
    characters > 4 && (body.0 * head.1 + head.0) % 97 == 1
}

#[cfg(test)]
mod tests {
    use super::Check::{Iban, Luhn};

    #[test]
    fn digits_of_a_card_hold_with_any_separators() {
        for card in ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005", "18"] {
            assert!(Luhn.holds(card.as_bytes()), "{card}");
        }
        for other in ["4111111111111112", "4111111111111", "0000000000000000", "0", "", "4111 1111 1111 1117"] {
            assert!(!Luhn.holds(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn accounts_hold_in_upper_and_lower_case_and_in_groups() {
        for account in ["GB82WEST12345698765432", "GB82 WEST 1234 5698 7654 32", "de89 3704 0044 0532 0130 00"] {
            assert!(Iban.holds(account.as_bytes()), "{account}");
        }
        for other in ["GB82WEST12345698765433", "GB28WEST12345698765432", "GB82", ""] {
            assert!(!Iban.holds(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_checked_fails() {
        let padded = format!("4111111111111111{}", " ".repeat(112));
        assert!(Luhn.holds(padded.as_bytes()));
        assert!(!Luhn.holds(format!("{padded} ").as_bytes()));
    }
}
