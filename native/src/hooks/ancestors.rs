//! The cgroups above this process, for a container whose cgroup namespace hides them, and opening one by its id.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::sys;
use crate::error::{Context, Result};

pub const PROGRAM: &str = "kgw_ancestors";
pub const MAP: &str = "kgw_ancestor_ids";

const LEVELS: u32 = 16;
/// `enum bpf_attach_type`: BPF_CGROUP_INET_SOCK_CREATE.
const SOCK_CREATE: u32 = 2;
/// `enum fid_type` of the kernel: a kernfs node by its 64-bit id.
const FILEID_KERNFS: c_int = 0xfe;

/// `struct file_handle` of open_by_handle_at(2), with the 8 bytes of a kernfs id.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: c_int,
    id: u64,
}

/// From the root of the tree to the cgroup of this process. `own` is the directory of that cgroup.
pub fn ids(own: BorrowedFd<'_>, program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<Vec<u64>> {
    // A link: it goes with its descriptor, whatever happens here.
    let link = sys::link(own, program, SOCK_CREATE).context("cannot attach a program to the container's own cgroup")?;
    UdpSocket::bind(("127.0.0.1", 0)).context("cannot make a socket")?;
    drop(link);
    let mut found = Vec::new();
    for level in 0..LEVELS {
        match sys::lookup::<u32, u64>(map, &level).context("cannot read the ids of the cgroups")? {
            None | Some(0) => break,
            Some(id) => found.push(id),
        }
    }
    Ok(found)
}

/// Opens the cgroup with this id. `visible` is any directory of the same file system. Needs CAP_DAC_READ_SEARCH.
pub fn open(visible: &Path, id: u64) -> Result<OwnedFd> {
    let mount = File::open(visible).context(format!("cannot open {}", visible.display()))?;
    let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle is a live structure that says how many bytes follow its head.
    let fd = unsafe { open_by_handle_at(mount.as_fd().as_raw_fd(), &raw mut handle, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("cannot open the pod's cgroup by its id");
    }
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

unsafe extern "C" {
    fn open_by_handle_at(mount: c_int, handle: *mut Handle, flags: c_int) -> c_int;
}
