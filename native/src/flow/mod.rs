//! Connections in motion: accept, decide, dial, relay.

pub mod access;
pub mod application;
pub mod attempt;
pub mod authorization;
pub mod backends;
pub mod clear;
pub mod counters;
pub mod dialling;
pub mod gateway;
pub mod handshakes;
pub mod inbound;
pub mod outbound;
pub mod peers;
pub mod places;
pub mod pool;
pub mod question;
pub mod relay;
pub mod revocation;
pub mod services;
pub mod sockets;
pub mod tunnels;
pub mod withdrawal;

#[cfg(test)]
mod hostile_tests;
