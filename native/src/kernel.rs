//! Which kernel this is, and what it lets us have.

use crate::error::{Context, Result};

/// Major and minor number of the running kernel.
pub fn version() -> Result<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's version")?;
    Ok(parse(&release))
}

/// How many descriptors this process may have; `None` where the kernel does not say.
pub fn descriptor_limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live structure.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result == 0 { usize::try_from(limit.rlim_cur).ok() } else { None }
}

fn parse(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(super::parse("5.10.0-32-amd64\n"), (5, 10));
        assert_eq!(super::parse("6.18.44-custom"), (6, 18));
    }
}
