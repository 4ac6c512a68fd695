//! Which program goes where on a pod's cgroup; attaching, replacing and removing them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::sys;
use crate::error::{Context, Result};

/// Program name, attach type (`enum bpf_attach_type`). In the order in which they are attached: names are true before
/// the first connection is redirected.
pub const PROGRAMS: [(&str, u32); 8] = [
    ("kgw_getpeername4", 29),
    ("kgw_getpeername6", 30),
    ("kgw_getsockname4", 31),
    ("kgw_getsockname6", 32),
    ("kgw_getsockopt", 21),
    ("kgw_sockops", 3),
    ("kgw_connect4", 10),
    ("kgw_connect6", 11),
];

const PREFIX: &str = "kgw_";

pub fn open_cgroup(path: &Path) -> Result<File> {
    File::open(path).context(format!("cannot open the cgroup {}", path.display()))
}

/// Those of our programs that are on `cgroup` now, of this or of an earlier gateway.
fn ours(cgroup: BorrowedFd<'_>, attach_type: u32) -> Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for id in sys::attached(cgroup, attach_type).context("cannot list the programs of the cgroup")? {
        let program = sys::program_by_id(id).context(format!("cannot open the eBPF program {id} of the cgroup"))?;
        if sys::program_name(program.as_fd()).context("cannot read the name of an eBPF program")?.starts_with(PREFIX) {
            found.push(program);
        }
    }
    Ok(found)
}

/// Puts `program` on the cgroup, in the place of one that an earlier gateway left there.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, name: &str, attach_type: u32) -> Result<()> {
    let mut earlier = ours(cgroup, attach_type)?.into_iter();
    let replaced = earlier.next();
    sys::attach(cgroup, program, attach_type, replaced.as_ref().map(AsFd::as_fd))
        .context(format!("cannot attach {name} to the cgroup"))?;
    for program in earlier {
        sys::detach(cgroup, program.as_fd(), attach_type).context(format!("cannot remove an older {name}"))?;
    }
    Ok(())
}

/// How many programs of ours are on the cgroup.
pub fn count(cgroup: &Path) -> Result<usize> {
    let cgroup = open_cgroup(cgroup)?;
    let mut total = 0;
    for (_, attach_type) in PROGRAMS {
        total += ours(cgroup.as_fd(), attach_type)?.len();
    }
    Ok(total)
}

/// Removes all programs of ours from the cgroup, connect hooks first; returns how many there were.
pub fn remove(cgroup: &Path) -> Result<usize> {
    let cgroup = open_cgroup(cgroup)?;
    let mut total = 0;
    for (name, attach_type) in PROGRAMS.into_iter().rev() {
        for program in ours(cgroup.as_fd(), attach_type)? {
            sys::detach(cgroup.as_fd(), program.as_fd(), attach_type).context(format!("cannot detach {name}"))?;
            total += 1;
        }
    }
    Ok(total)
}
