//! The gate on the pod's network: a link, as a network namespace takes nothing else, that ends with its descriptor.
//!
//! Several may be on one network; what one of them refuses is refused. So a newer gateway adds its own before the older
//! one takes its away, and no moment is without.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sys;
use crate::error::{Context, Result};

pub const PROGRAM: &str = "kgw_gate";

/// `enum bpf_attach_type`: BPF_SK_LOOKUP.
const SK_LOOKUP: u32 = 36;
const OWN_NETWORK: &str = "/proc/self/ns/net";

/// Puts the program on the network of this process for as long as the descriptor returned is open.
pub fn close(program: BorrowedFd<'_>) -> Result<OwnedFd> {
    let network = File::open(OWN_NETWORK).context(format!("cannot open {OWN_NETWORK}"))?;
    sys::link(network.as_fd(), program, SK_LOOKUP).context("cannot attach the gate to the pod's network")
}
