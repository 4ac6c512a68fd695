//! Where a match can begin, by two bytes: the one before and the first. Text in which nothing begins is passed at the
//! speed of one look-up a byte, or of memchr where all matches begin with one of at most three bytes.

use super::automaton::{BEFORE, KINDS, kind_of};
use super::engine::Engine;

const ROW: usize = 256 / 64;

pub(super) struct Starts {
    /// Which engines, by what is before and the first byte.
    engines: Box<[[Mask; 256]; KINDS]>,
    /// Whether any, by the byte before and the first byte.
    pairs: Box<[u64; 256 * ROW]>,
    few: Option<Few>,
}

/// A bit for each engine; the last one stands for all that are left.
type Mask = u64;
const LAST: usize = Mask::BITS as usize - 1;

#[derive(Clone, Copy)]
enum Few {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Starts {
    /// In bytes.
    pub(super) const MEMORY: usize = size_of::<[[Mask; 256]; KINDS]>() + size_of::<[u64; 256 * ROW]>();

    pub(super) fn of(engines: &[Engine]) -> Self {
        let mut by_kind = Box::new([[0; 256]; KINDS]);
        for (masks, before) in by_kind.iter_mut().zip(BEFORE) {
            let masks = (0..=255).zip(masks).filter(|(first, _)| !goes_on(*first));
            for (first, mask) in masks {
                let beginning = engines.iter().enumerate().filter(|(_, engine)| engine.begins(before, first));
                *mask = beginning.fold(0, |mask, (number, _)| mask | 1 << number.min(LAST));
            }
        }
        let mut pairs = Box::new([0; 256 * ROW]);
        for (before, row) in (0..=255).zip(pairs.chunks_exact_mut(ROW)) {
            for (first, mask) in by_kind[kind_of(Some(before))].iter().enumerate() {
                row[first / 64] |= u64::from(*mask != 0) << (first % 64);
            }
        }
        let few = Few::of((0..=255).filter(|first| by_kind.iter().any(|masks| masks[usize::from(*first)] != 0)));
        Self { engines: by_kind, pairs, few }
    }

    /// The numbers of the engines, of so many, for which a match can begin with the byte `first`.
    pub(super) fn engines(&self, before: Option<u8>, first: u8, count: usize) -> impl Iterator<Item = usize> {
        let mut mask = self.engines[kind_of(before)][usize::from(first)];
        let mut left = if mask >> LAST & 1 == 0 { 0..0 } else { LAST..count };
        mask &= !(1 << LAST);
        std::iter::from_fn(move || {
            if mask == 0 {
                return left.next();
            }
            let number = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            Some(number)
        })
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
            if self.engines[kind_of(before)][usize::from(first)] != 0 {
                return at;
            }
            if self.few.is_none() {
                return self.next_of_many(text, at + 1);
            }
            before = Some(first);
            at += 1;
        }
    }

    fn next_of_many(&self, text: &[u8], from: usize) -> usize {
        let mut before = text[from - 1];
        for (distance, first) in text[from..].iter().enumerate() {
            let word = self.pairs[usize::from(before) * ROW + usize::from(first / 64)];
            if word >> (first % 64) & 1 != 0 {
                return from + distance;
            }
            before = *first;
        }
        text.len()
    }
}

/// Whether a character of UTF-8 goes on with this byte. No match begins there, though an engine that can match nothing at
/// all cannot tell: it has seen an empty match.
const fn goes_on(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

impl Few {
    fn of(firsts: impl Iterator<Item = u8>) -> Option<Self> {
        match firsts.take(4).collect::<Vec<_>>()[..] {
            [one] => Some(Self::One(one)),
            [one, two] => Some(Self::Two(one, two)),
            [one, two, three] => Some(Self::Three(one, two, three)),
            _ => None,
        }
    }

    fn find(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::One(one) => memchr::memchr(one, text),
            Self::Two(one, two) => memchr::memchr2(one, two, text),
            Self::Three(one, two, three) => memchr::memchr3(one, two, three, text),
        }
    }
}
