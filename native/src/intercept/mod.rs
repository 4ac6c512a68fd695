//! Looks into the connections of the application for calls of LLM APIs, and lets a policy decide on them.
//!
//! Everything else on the same connections passes as it was sent. The engine knows HTTP/1, HTTP/2 without TLS, and a
//! `Policy`; it knows no dialect, no rule and no Python.

pub mod budget;
pub mod coding;
pub mod connection;
pub mod decision;
pub mod exchange;
pub mod framing;
pub mod head;
pub mod http1;
pub mod http2;
pub mod input;
pub mod pipe;
pub mod policy;
pub mod sniff;
pub mod target;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::net::TcpStream;

use self::budget::Budget;
use self::pipe::Pipe;
use self::policy::Policy;
use crate::flow::counters::{LogOnce, counters};

counters! {
    InterceptCounters:
    intercepted_connections, intercepted_active, intercepted_exchanges, intercepted_tunnels, intercepted_malformed,
    llm_requests, llm_replies, llm_unchanged, llm_edited, llm_too_large, llm_over_limit, llm_cut, llm_policy_failures,
    llm_upstream_failures, llm_clients_gone,
}

/// The connection that is looked into.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub connection: u64,
    /// Where the application wanted to go.
    pub destination: SocketAddr,
}

/// What all such connections share.
#[derive(Default)]
pub struct Interception {
    policy: ArcSwapOption<Box<dyn Policy>>,
    pub counters: InterceptCounters,
    budget: Arc<Budget>,
    once: LogOnce,
}

impl Interception {
    /// In force for the next request. Without a policy, connections that are new are not looked into.
    pub fn set_policy(&self, policy: Option<Box<dyn Policy>>) {
        self.policy.store(policy.map(Arc::new));
    }

    /// A line in the log, not more than one a minute of the same.
    fn warn(&self, subject: Subject, text: &str) {
        self.once.warn(subject.destination.ip(), text);
    }

    pub fn is_active(&self) -> bool {
        self.policy.load().is_some()
    }

    /// Takes over an application's connection. `server` stands for the other side of it, `first` was read already.
    pub fn start(self: &Arc<Self>, application: TcpStream, server: Pipe, subject: Subject, first: &[u8]) {
        tokio::spawn(connection::run(Arc::clone(self), application, server, subject, first.to_vec()));
    }
}
