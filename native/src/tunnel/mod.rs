//! The tunnel between two gateways: frames, sessions, TLS, identity of the peer.

pub mod buffers;
pub mod description;
pub mod handshake;
pub mod identity;
pub mod records;
pub mod session;
pub mod tls;
pub mod transport;
pub mod wire;

#[cfg(test)]
mod hostile_tests;
