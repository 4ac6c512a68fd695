//! Which program goes where on a pod's cgroup; attaching, replacing and removing them.
//!
//! Each program is attached as the only one of its kind on the pod's cgroup. The kernel then lets the next gateway put its
//! own in the place of it, or remove it, without a descriptor of the old program: CAP_NET_ADMIN is enough, where finding
//! a program by its id takes CAP_SYS_ADMIN. Programs on the cgroups above (a network plugin's, at the root) run as well.
//! Where others have shared programs on the pod's cgroup already, ours are added to them, and only then is the id needed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::sys;
use crate::error::{Context, Error, Result};

/// Program name, attach type (`enum bpf_attach_type`). In the order in which they are attached: names are true before
/// the first connection is redirected, and connections are redirected before those that are not are dropped.
pub const PROGRAMS: [(&str, u32); 10] = [
    ("kgw_getpeername4", 29),
    ("kgw_getpeername6", 30),
    ("kgw_getsockname4", 31),
    ("kgw_getsockname6", 32),
    ("kgw_getsockopt", 21),
    ("kgw_sockops", 3),
    ("kgw_connect4", 10),
    ("kgw_connect6", 11),
    ("kgw_ingress", 0),
    ("kgw_egress", 1),
];

const PREFIX: &str = "kgw_";
/// The option of `bpf/original_destination.bpf.h` that only our hooks answer, and the answer.
const PRESENT: i32 = 0x006b_6777;
const MAGIC: u32 = 0x1844_3018;

pub fn open_cgroup(path: &Path) -> Result<File> {
    File::open(path).context(format!("cannot open the cgroup {}", path.display()))
}

/// What is on a cgroup at one attach type.
enum Present {
    Nothing,
    /// Ours alone.
    Ours,
    /// One that is not ours, attached so that no other may be beside it.
    Foreign,
    /// Some that admit others; ours among them.
    Shared(Vec<OwnedFd>),
}

fn present(cgroup: BorrowedFd<'_>, attach_type: u32) -> Result<Present> {
    let attached = sys::attached(cgroup, attach_type).context("cannot list the programs of the cgroup")?;
    match attached.ids.as_slice() {
        [] => Ok(Present::Nothing),
        [only] if !attached.shared => Ok(if is_ours(*only)? { Present::Ours } else { Present::Foreign }),
        ids => {
            let mut ours = Vec::new();
            for id in ids {
                let program = sys::program_by_id(*id)
                    .context(format!("cannot look at the eBPF program {id} that others have put on the cgroup"))?;
                if uses_our_maps(program.as_fd())? {
                    ours.push(program);
                }
            }
            Ok(Present::Shared(ours))
        }
    }
}

fn is_ours(id: u32) -> Result<bool> {
    match sys::program_by_id(id) {
        Ok(program) => uses_our_maps(program.as_fd()),
        // Without CAP_SYS_ADMIN: a hook of ours answers this process, which is in the pod.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => answered(),
        // It went in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(format!("cannot open the eBPF program {id} of the cgroup")),
    }
}

/// By the maps: a program's own name is left out by the loader library where it has no CAP_PERFMON.
fn uses_our_maps(program: BorrowedFd<'_>) -> Result<bool> {
    let names = sys::map_names(program).context("cannot read which maps an eBPF program uses")?;
    Ok(names.iter().any(|name| name.starts_with(PREFIX)))
}

/// Whether the hooks that this process is under are ours.
fn answered() -> Result<bool> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).context("cannot make a socket")?;
    let mut value = 0_u32;
    let mut length = libc::socklen_t::try_from(size_of::<u32>()).unwrap_or(0);
    // SAFETY: a live variable and its length.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, PRESENT, (&raw mut value).cast(), &raw mut length)
    };
    Ok(result == 0 && value == MAGIC)
}

/// Puts `program` on the cgroup, in the place of one that an earlier gateway left there.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, name: &str, attach_type: u32) -> Result<()> {
    let attached = |result: io::Result<()>| result.context(format!("cannot attach {name} to the cgroup"));
    match present(cgroup, attach_type)? {
        Present::Nothing | Present::Ours => attached(sys::attach(cgroup, program, attach_type, sys::Place::Alone)),
        Present::Foreign => Err(Error::message(format!(
            "cannot attach {name} to the cgroup: another program is there that admits no other"
        ))),
        Present::Shared(ours) => {
            let mut earlier = ours.into_iter();
            let place = earlier.next();
            let place = place.as_ref().map_or(sys::Place::Beside, |old| sys::Place::InPlaceOf(old.as_fd()));
            attached(sys::attach(cgroup, program, attach_type, place))?;
            for old in earlier {
                sys::detach(cgroup, Some(old.as_fd()), attach_type)
                    .context(format!("cannot remove an older {name}"))?;
            }
            Ok(())
        }
    }
}

/// How many programs of ours are on the cgroup.
pub fn count(cgroup: &Path) -> Result<usize> {
    let cgroup = open_cgroup(cgroup)?;
    let mut total = 0;
    for (_, attach_type) in PROGRAMS {
        total += match present(cgroup.as_fd(), attach_type)? {
            Present::Nothing | Present::Foreign => 0,
            Present::Ours => 1,
            Present::Shared(ours) => ours.len(),
        };
    }
    Ok(total)
}

/// Removes all programs of ours from the cgroup, connect hooks first; returns how many there were.
pub fn remove(cgroup: &Path) -> Result<usize> {
    let cgroup = open_cgroup(cgroup)?;
    let mut total = 0;
    // The one that says whose the others are goes last.
    let by_name = |(name, _): &(&str, u32)| *name == "kgw_getsockopt";
    let (last, first): (Vec<_>, Vec<_>) = PROGRAMS.into_iter().rev().partition(by_name);
    for (name, attach_type) in first.into_iter().chain(last) {
        let detach =
            |program| sys::detach(cgroup.as_fd(), program, attach_type).context(format!("cannot detach {name}"));
        match present(cgroup.as_fd(), attach_type)? {
            Present::Nothing | Present::Foreign => {}
            Present::Ours => {
                detach(None)?;
                total += 1;
            }
            Present::Shared(ours) => {
                for program in &ours {
                    detach(Some(program.as_fd()))?;
                }
                total += ours.len();
            }
        }
    }
    Ok(total)
}
