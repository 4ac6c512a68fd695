//! Buffers are borrowed while bytes are in them and given back at once, so an idle stream owns none.
//!
//! A stream that stalls, because its reader is slow or half a record has come, keeps its buffers. Thousands of those must
//! not take all memory: large buffers are limited in number, and beyond that there are small ones, which work the same.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// What one read or write moves in bulk. Larger ones gain nothing sure, smaller ones cost system calls and wake-ups.
pub const SIZE: usize = 256 * 1024;

/// What a small one holds: a whole TLS record and what is around it.
pub const SMALL: usize = 17 * 1024;

/// Kept per worker thread; more than this many bursts at once allocate.
const KEPT: usize = 16;

/// Large buffers at once, of all streams: 128 MiB.
pub const MOST_LARGE: usize = 512;

static LARGE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with a window of bytes that are still to be used. Without bytes it holds no memory.
#[derive(Default)]
pub struct Buffer {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// May be small when many are large already.
    frugal: bool,
}

/// A large one that is free, or new if `most` allow it.
fn large(most: usize) -> Option<Box<[u8]>> {
    if let Some(memory) = FREE.with_borrow_mut(Vec::pop) {
        return Some(memory);
    }
    if LARGE.fetch_add(1, Ordering::Relaxed) < most {
        return Some(vec![0; SIZE].into_boxed_slice());
    }
    LARGE.fetch_sub(1, Ordering::Relaxed);
    None
}

impl Buffer {
    /// A buffer of a stream, of which there may be very many.
    pub fn frugal() -> Self {
        Self { memory: None, start: 0, end: 0, frugal: true }
    }

    /// The bytes not used yet.
    pub fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.start..self.end])
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The whole memory, borrowed from the thread's free list if need be. What it holds is stale.
    pub fn memory(&mut self) -> &mut [u8] {
        let most = if self.frugal { MOST_LARGE } else { usize::MAX };
        self.memory.get_or_insert_with(|| large(most).unwrap_or_else(|| vec![0; SMALL].into_boxed_slice()))
    }

    /// Says that bytes `start..end` of the memory are now to be used.
    pub fn set(&mut self, start: usize, end: usize) {
        debug_assert!(start <= end && end <= self.memory.as_ref().map_or(0, |memory| memory.len()), "a window outside");
        (self.start, self.end) = (start, end);
        self.release_if_empty();
    }

    /// Reads once into the empty buffer, at most `most` bytes and what there is room for, behind the first `offset`, which are the caller's to write
    /// afterwards. Returns how many bytes came, 0 at the end of the stream; only with bytes does the buffer hold memory
    /// afterwards.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        offset: usize,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let memory = self.memory();
        let end = memory.len().min(offset + most);
        let mut read = ReadBuf::new(&mut memory[offset..end]);
        let result = Pin::new(reader).poll_read(cx, &mut read);
        let length = read.filled().len();
        self.set(0, if length > 0 { offset + length } else { 0 });
        result.map(|result| result.map(|()| length))
    }

    /// Reads once behind the bytes that are there. Returns how many came, 0 at the end of the stream.
    pub fn poll_extend<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.compact();
        let held = self.end;
        let mut read = ReadBuf::new(&mut self.memory()[held..]);
        let result = Pin::new(reader).poll_read(cx, &mut read);
        let length = read.filled().len();
        self.set(0, held + length);
        result.map(|result| result.map(|()| length))
    }

    /// Moves the bytes to the front of the memory.
    pub fn compact(&mut self) {
        if self.start > 0 {
            let (start, end) = (self.start, self.end);
            self.memory().copy_within(start..end, 0);
            self.set(0, end - start);
        }
    }

    /// Puts `bytes`, `SIZE` at most, into the empty buffer.
    pub fn fill_from(&mut self, bytes: &[u8]) {
        if bytes.len() > SMALL {
            // Seldom, and never often at once: what a peer has sent together with the end of its handshake.
            self.memory = large(usize::MAX);
        }
        self.memory()[..bytes.len()].copy_from_slice(bytes);
        self.set(0, bytes.len());
    }

    /// Adds as many of `bytes` as there is room for, and returns how many those are.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let size = self.memory().len();
        if size - self.end < bytes.len() {
            self.compact();
        }
        let held = self.end;
        let length = bytes.len().min(size - held);
        if length > 0 {
            self.memory()[held..held + length].copy_from_slice(&bytes[..length]);
            self.end = held + length;
        }
        length
    }

    /// Whether nothing more can be added before some is used.
    pub fn is_full(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| self.end - self.start == memory.len())
    }

    /// Says that the first `count` bytes were used.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.release_if_empty();
    }

    pub fn release_if_empty(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if let Some(memory) = self.memory.take() {
                give_back(memory);
            }
        }
    }
}

fn give_back(memory: Box<[u8]>) {
    if memory.len() < SIZE {
        return;
    }
    FREE.with_borrow_mut(|free| {
        // When all that there may be are in use, one that lies idle on another thread helps nobody.
        if free.len() < KEPT && LARGE.load(Ordering::Relaxed) < MOST_LARGE {
            free.push(memory);
        } else {
            LARGE.fetch_sub(1, Ordering::Relaxed);
        }
    });
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.end = self.start;
        self.release_if_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_so_many_large_buffers_there_are_small_ones_for_streams() {
        let mut held: Vec<Buffer> = (0..MOST_LARGE + 100)
            .map(|_| {
                let mut buffer = Buffer::frugal();
                buffer.append(b"x");
                buffer
            })
            .collect();
        let small = held.iter_mut().map(|buffer| buffer.memory().len()).filter(|size| *size == SMALL).count();
        // Other tests may have some at the same time.
        assert!(small >= 100, "{small}");
        let mut always_large = Buffer::default();
        assert_eq!(always_large.append(&vec![1; SIZE]), SIZE);
        drop(held);
        let mut large_again = Buffer::frugal();
        assert_eq!(large_again.memory().len(), SIZE);
    }

    #[test]
    fn a_small_buffer_takes_what_it_has_room_for() {
        let mut buffer = Buffer::frugal();
        buffer.memory = Some(vec![0; SMALL].into_boxed_slice());
        assert_eq!(buffer.append(&vec![1; SIZE]), SMALL);
        assert!(buffer.is_full());
        assert_eq!(buffer.append(b"x"), 0);
        buffer.consume(10);
        assert_eq!(buffer.append(b"twelve bytes"), 10);
        assert_eq!(&buffer.bytes()[SMALL - 12..], b"\x01\x01twelve byt");
    }

    #[test]
    fn what_came_with_the_handshake_fits_however_many_are_large() {
        let mut buffer = Buffer::frugal();
        buffer.fill_from(&vec![7; 64 * 1024]);
        assert_eq!(buffer.bytes().len(), 64 * 1024);
    }
}
