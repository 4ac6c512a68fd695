//! The worker faces the network, so it gives up what it does not need: user, capabilities, and the way back to them.

use std::io;

use crate::error::{Context, Result};

const NOBODY: u32 = 65_534;
const CAP_BPF: u32 = 39;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// From Linux 5.19 on, maps may be used through descriptors without CAP_BPF even where unprivileged bpf(2) is off.
const DESCRIPTORS_SUFFICE_SINCE: (u32, u32) = (5, 19);

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Turns this thread, and all threads it starts later, into user nobody without capabilities (CAP_BPF alone before
/// Linux 5.19). To be called while the process has one thread. Without root this only sets no_new_privs.
///
/// A container that may not change its user (no CAP_SETUID) keeps it. Root without capabilities, and with no_new_privs
/// nothing that it executes gets any back, owns files but may do no more than nobody.
pub fn drop_privileges(kernel: (u32, u32)) -> Result<()> {
    let keep_bpf = kernel < DESCRIPTORS_SUFFICE_SINCE;
    check(prctl(libc::PR_SET_NO_NEW_PRIVS, 1)).context("cannot set no_new_privs")?;
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        check(prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep_bpf))).context("cannot set keepcaps")?;
        become_nobody()?;
        let mut sets = [CapabilitySet::default(); 2];
        if keep_bpf {
            let bit = 1 << (CAP_BPF % 32);
            sets[1] = CapabilitySet { effective: bit, permitted: bit, inheritable: 0 };
        }
        let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
        // SAFETY: version 3 takes this header and two sets; both are live.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
        check(i32::try_from(result).unwrap_or(-1)).context("cannot drop the capabilities")?;
    }
    check(prctl(libc::PR_SET_DUMPABLE, 0)).context("cannot forbid core dumps")
}

fn become_nobody() -> Result<()> {
    // SAFETY: an empty list; the pointer is not read.
    match check(unsafe { libc::setgroups(0, std::ptr::null()) }) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        result => result.context("cannot drop the supplementary groups")?,
    }
    // SAFETY: plain numbers.
    check(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }).context("cannot change the group")?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }).context("cannot change the user")
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> libc::c_int {
    let zero: libc::c_ulong = 0;
    // SAFETY: options that take one number; the others must be zero.
    unsafe { libc::prctl(option, value, zero, zero, zero) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
