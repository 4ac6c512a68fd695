//! The programs of a new version over the maps of the old one.
//!
//! A connection that is being set up is known in the maps only. With maps of their own, the programs of a new version
//! would not find what those of the old one have noted. So a gateway that takes over goes on with the maps it is given,
//! and its programs can take the place of the old ones one by one: each speaks to the others through the same maps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::sys;
use crate::error::{Context, Error, Result};

/// All that is handed over. `kgw_ancestor_ids` is of no use to a gateway that has found its cgroup.
pub const MAPS: [&str; 20] = [
    "kgw_config",
    "kgw_stamp",
    "kgw_counters",
    "kgw_cidrs",
    "kgw_ports",
    "kgw_listener",
    "kgw_destination",
    "kgw_client",
    "kgw_accepted",
    "kgw_in_flight",
    "kgw_gateways",
    "kgw_exempt",
    "kgw_probed",
    "kgw_gated",
    "kgw_served",
    "kgw_refused",
    "kgw_sent",
    "kgw_peers",
    "kgw_began",
    "kgw_flow",
];

/// Names what `bpf/maps.bpf.h` says: where it is the same, maps mean the same.
pub const LAYOUT: &str = env!("KGW_MAPS_LAYOUT");

/// Makes the descriptor `own`, of the map that was made for programs which are yet to be loaded, one of `given`.
pub fn put_behind(own: BorrowedFd<'_>, given: BorrowedFd<'_>, name: &str) -> Result<()> {
    let shape = |map| sys::map_shape(map).context(format!("cannot look at the map {name}"));
    if shape(own)? != shape(given)? {
        return Err(Error::message(format!("the map {name} that was handed over is of another shape")));
    }
    // SAFETY: both are open descriptors. Whoever owns `own` goes on owning that number; the map that it named goes.
    if unsafe { libc::dup3(given.as_raw_fd(), own.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error()).context(format!("cannot go on with the map {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_map_is_refused_and_nothing_is_changed() {
        let (own, given) = (File::open("/dev/null").unwrap(), File::open("/dev/zero").unwrap());
        let error = put_behind(own.as_fd(), given.as_fd(), "kgw_config").unwrap_err();
        assert!(error.to_string().starts_with("cannot look at the map kgw_config"), "{error}");
        let target = std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }

    #[test]
    fn the_layout_is_named() {
        assert_eq!(LAYOUT.len(), 16);
    }
}
