//! The tunnel between two gateways: frames, sessions, TLS, identity of the peer.

pub mod buffers;
pub mod identity;
pub mod session;
pub mod tls;
pub mod transport;
pub mod wire;
