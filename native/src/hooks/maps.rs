//! What the data path needs of the hooks' maps: three of them, by descriptor, without any privilege but the descriptors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::layout::Endpoint;
use super::sys;

/// Descriptors inherited from the supervisor.
pub struct SocketMaps {
    accepted: OwnedFd,
    client: OwnedFd,
    stamp: OwnedFd,
}

// SAFETY: descriptors are socket-storage keys of 4 bytes, plain integers.
unsafe impl super::layout::Plain for i32 {}

impl SocketMaps {
    pub fn new(accepted: OwnedFd, client: OwnedFd, stamp: OwnedFd) -> Self {
        Self { accepted, client, stamp }
    }

    /// Where the application wanted to go; `None` if this connection was not redirected by the hooks.
    pub fn original_destination(&self, socket: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
        let found: Option<Endpoint> = sys::lookup(self.accepted.as_fd(), &socket.as_raw_fd())?;
        Ok(found.map(SocketAddr::from))
    }

    /// Notes on a socket that is about to dial the application who the real client is.
    pub fn set_real_client(&self, socket: BorrowedFd<'_>, client: SocketAddr) -> io::Result<()> {
        sys::update(self.client.as_fd(), &socket.as_raw_fd(), &Endpoint::from(client))
    }

    /// Says "not hung" to the connect hooks: CLOCK_MONOTONIC in nanoseconds, as bpf_ktime_get_ns() counts.
    pub fn stamp(&self) -> io::Result<()> {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a live timespec.
        if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let nanoseconds = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        sys::update(self.stamp.as_fd(), &0_u32, &nanoseconds)
    }
}
