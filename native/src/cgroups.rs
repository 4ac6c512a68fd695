//! Making the cgroup2 tree visible where a container's runtime has not mounted it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Mounts cgroup2 on `directory`, as the cgroup namespace of this process has it. Needs CAP_SYS_ADMIN.
pub fn mount(directory: &Path) -> Result<()> {
    let target = path(directory)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: strings that end with a zero byte and live during the call; this file system takes no data.
    let result =
        unsafe { libc::mount(c"cgroup2".as_ptr(), target.as_ptr(), c"cgroup2".as_ptr(), flags, std::ptr::null()) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("cannot mount the cgroup tree");
    }
    Ok(())
}

/// Takes the tree away again; what is open of it stays open.
pub fn unmount(directory: &Path) -> Result<()> {
    let target = path(directory)?;
    // SAFETY: a string that ends with a zero byte and lives during the call.
    if unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } < 0 {
        return Err(io::Error::last_os_error()).context("cannot unmount the cgroup tree");
    }
    Ok(())
}

fn path(directory: &Path) -> Result<CString> {
    CString::new(directory.as_os_str().as_bytes())
        .map_err(|_| Error::message(format!("not a path: {}", directory.display())))
}
