//! A byte stream that is known at every offset and different for every connection, cheap to make and to compare.

/// Not a power of two, so that a piece lost or repeated by a buffer of such a size does not go unnoticed.
const BLOCK: usize = 1_000_003;

pub(crate) struct Pattern {
    /// Two blocks long, so that a slice may begin anywhere in the first.
    bytes: Vec<u8>,
    rotation: u64,
}

impl Pattern {
    pub(crate) fn new(connection: u64) -> Self {
        // xorshift64: no need for more than "does not repeat within the block".
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (connection + 1);
        let mut block = Vec::with_capacity(2 * BLOCK);
        while block.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.truncate(BLOCK);
        block.extend_from_within(..);
        Self { bytes: block, rotation: connection.wrapping_mul(7919) % BLOCK as u64 }
    }

    /// The longest slice at `offset` of at most `length` bytes.
    pub(crate) fn at(&self, offset: u64, length: usize) -> &[u8] {
        let start = usize::try_from((offset + self.rotation) % BLOCK as u64).unwrap_or(0);
        &self.bytes[start..start + length.min(BLOCK)]
    }
}

/// FNV-1a over 8-byte words, then over what is left: order matters, and it is quick.
pub(crate) struct Checksum {
    value: u64,
    held: Vec<u8>,
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Self { value: 0xcbf2_9ce4_8422_2325, held: Vec::new() }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if !self.held.is_empty() {
            let take = (8 - self.held.len()).min(rest.len());
            self.held.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if self.held.len() < 8 {
                return;
            }
            let held = std::mem::take(&mut self.held);
            self.words(&held);
        }
        let whole = rest.len() / 8 * 8;
        self.words(&rest[..whole]);
        self.held.extend_from_slice(&rest[whole..]);
    }

    pub(crate) fn finish(mut self) -> u64 {
        for byte in std::mem::take(&mut self.held) {
            self.mix(u64::from(byte));
        }
        self.value
    }

    fn words(&mut self, bytes: &[u8]) {
        for word in bytes.chunks_exact(8) {
            self.mix(word.try_into().map_or(0, u64::from_le_bytes));
        }
    }

    fn mix(&mut self, word: u64) {
        self.value = (self.value ^ word).wrapping_mul(0x0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut whole = Checksum::new();
        whole.add(&bytes);
        let mut pieces = Checksum::new();
        for piece in bytes.chunks(7) {
            pieces.add(piece);
        }
        assert_eq!(whole.finish(), pieces.finish());
    }

    #[test]
    fn a_pattern_goes_on_where_it_stopped() {
        let pattern = Pattern::new(3);
        let far = 5 * BLOCK as u64 - 10;
        assert_eq!(pattern.at(far, 20)[10..], *pattern.at(far + 10, 10));
        assert_ne!(pattern.at(0, 64), Pattern::new(4).at(0, 64));
    }
}
