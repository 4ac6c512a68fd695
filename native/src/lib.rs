//! Bytes in motion for kube-gateway: eBPF hooks, tunnel, relay, socket diagnostics. No policy, no Kubernetes; `python`
//! is a thin layer on top, and the data path never takes the interpreter's lock.

pub mod cgroups;
pub mod error;
pub mod flow;
pub mod hooks;
#[cfg(test)]
pub(crate) mod hostile;
pub mod intercept;
pub mod kernel;
pub mod keys;
pub mod log;
pub mod privilege;
mod python;
pub mod socket_diagnostics;
pub mod text;
pub mod tunnel;
