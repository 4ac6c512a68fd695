//! Where a match can begin, by two bytes: the one before and the first. Text in which nothing begins is passed at the
//! speed of one look-up a byte, or of memchr where all matches begin with one of at most three bytes.

use super::automaton::Automaton;

const ROW: usize = 256 / 64;

pub(super) struct Starts {
    /// A bit by the byte before and the first byte.
    pairs: Box<[u64; 256 * ROW]>,
    /// The same for the beginning of a text.
    beginning: [u64; ROW],
    few: Option<Few>,
}

#[derive(Clone, Copy)]
enum Few {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Starts {
    pub(super) fn of(automata: &[Automaton]) -> Self {
        let begins = |before: Option<u8>, first: u8| {
            automata.iter().any(|automaton| {
                let state = automaton.get(automaton.next(automaton.start(before), first));
                !state.settled || state.at_end != 0
            })
        };
        let mut pairs = Box::new([0; 256 * ROW]);
        let mut beginning = [0; ROW];
        let mut firsts = Vec::new();
        for first in 0..=255 {
            let (word, bit) = (usize::from(first / 64), 1 << (first % 64));
            let mut any = begins(None, first);
            beginning[word] |= if any { bit } else { 0 };
            for before in 0..=255 {
                if begins(Some(before), first) {
                    pairs[usize::from(before) * ROW + word] |= bit;
                    any = true;
                }
            }
            if any {
                firsts.push(first);
            }
        }
        let few = match firsts[..] {
            [one] => Some(Few::One(one)),
            [one, two] => Some(Few::Two(one, two)),
            [one, two, three] => Some(Few::Three(one, two, three)),
            _ => None,
        };
        Self { pairs, beginning, few }
    }

    /// The first place from `at` on where a match can begin, or the length of `text`. `before` is the byte before `at`.
    pub(super) fn next(&self, text: &[u8], mut at: usize, mut before: Option<u8>) -> usize {
        loop {
            at = match self.few {
                Some(few) => match few.find(&text[at..]) {
                    Some(0) => at,
                    Some(distance) => {
                        before = Some(text[at + distance - 1]);
                        at + distance
                    }
                    None => return text.len(),
                },
                None => at,
            };
            let Some(first) = text.get(at).copied() else { return text.len() };
            match before {
                None if bit(&self.beginning, first) => return at,
                Some(before) if bit(&self.pairs[usize::from(before) * ROW..], first) => return at,
                _ => (),
            }
            if self.few.is_none() {
                return self.next_of_many(text, at + 1);
            }
            before = Some(first);
            at += 1;
        }
    }

    fn next_of_many(&self, text: &[u8], from: usize) -> usize {
        let pairs = text[from - 1..].windows(2);
        let mut found = pairs.enumerate().filter(|(_, pair)| bit(&self.pairs[usize::from(pair[0]) * ROW..], pair[1]));
        found.next().map_or(text.len(), |(distance, _)| from + distance)
    }
}

fn bit(row: &[u64], index: u8) -> bool {
    row[usize::from(index / 64)] >> (index % 64) & 1 != 0
}

impl Few {
    fn find(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::One(one) => memchr::memchr(one, text),
            Self::Two(one, two) => memchr::memchr2(one, two, text),
            Self::Three(one, two, three) => memchr::memchr3(one, two, three, text),
        }
    }
}
