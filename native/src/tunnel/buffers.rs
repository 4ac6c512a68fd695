//! Buffers are borrowed while bytes are in them and given back at once, so an idle stream owns none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// What one read or write moves in bulk. Larger ones gain nothing sure, smaller ones cost system calls and wake-ups.
pub const SIZE: usize = 256 * 1024;

/// Kept per worker thread; more than this many bursts at once allocate.
const KEPT: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with a window of bytes that are still to be used. Without bytes it holds no memory.
#[derive(Default)]
pub struct Buffer {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes not used yet.
    pub fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.start..self.end])
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The whole memory, borrowed from the thread's free list if need be. What it holds is stale.
    pub fn memory(&mut self) -> &mut [u8] {
        self.memory
            .get_or_insert_with(|| FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()))
    }

    /// Says that bytes `start..end` of the memory are now to be used.
    pub fn set(&mut self, start: usize, end: usize) {
        debug_assert!(start <= end && end <= SIZE, "a window outside the buffer");
        (self.start, self.end) = (start, end);
        self.release_if_empty();
    }

    /// Reads once into the empty buffer, at most `most` bytes, behind the first `offset`, which are the caller's to write
    /// afterwards. Returns how many bytes came, 0 at the end of the stream; only with bytes does the buffer hold memory
    /// afterwards.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        offset: usize,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(&mut self.memory()[offset..offset + most]);
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

    pub fn fill_from(&mut self, bytes: &[u8]) {
        self.memory()[..bytes.len()].copy_from_slice(bytes);
        self.set(0, bytes.len());
    }

    /// Adds as many of `bytes` as there is room for, and returns how many those are.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        if SIZE - self.end < bytes.len() {
            self.compact();
        }
        let held = self.end;
        let length = bytes.len().min(SIZE - held);
        if length > 0 {
            self.memory()[held..held + length].copy_from_slice(&bytes[..length]);
            self.end = held + length;
        }
        length
    }

    /// Whether nothing more can be added before some is used.
    pub fn is_full(&self) -> bool {
        self.end - self.start == SIZE
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
                FREE.with_borrow_mut(|free| {
                    if free.len() < KEPT {
                        free.push(memory);
                    }
                });
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.end = self.start;
        self.release_if_empty();
    }
}
