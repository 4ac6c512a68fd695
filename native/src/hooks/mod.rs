//! The eBPF side: load the object, tell it the settings, put it on the pod's cgroup.

pub mod ancestors;
pub mod attachment;
pub mod layout;
pub mod maps;
pub mod sharing;
pub mod sys;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::Map;
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};

use crate::error::{Context, Error, Result};
use crate::kernel;
use layout::{CidrKey, Config, Plain};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kube_gateway.bpf.o"));

const VERIFIER_LINES: usize = 6;

/// bpf_set_retval() came with Linux 5.18; without it a refused connect() is EPERM instead of ECONNREFUSED.
const SET_RETVAL_SINCE: (u32, u32) = (5, 18);

/// What the hooks shall do. Rules: (address, prefix length, captured).
pub struct HookSettings {
    pub gateway_cgroups: Vec<u64>,
    pub capture: bool,
    pub strict: bool,
    pub addresses: Vec<IpAddr>,
    pub rules: Vec<(IpAddr, u8, bool)>,
    pub excluded_ports: Vec<u16>,
    pub stale_after_nanoseconds: u64,
}

/// The loaded object. Dropping it leaves attached programs in place; `detach` removes them.
pub struct Hooks {
    object: Ebpf,
}

impl Hooks {
    /// Loads and verifies all programs. `maps` are those of an earlier gateway of the same layout, by name, to go on
    /// with; none: new ones.
    pub fn load(maps: &HashMap<String, BorrowedFd<'_>>) -> Result<Self> {
        let have_set_retval = u32::from(kernel::version()? >= SET_RETVAL_SINCE);
        let mut object = EbpfLoader::new()
            .override_global("have_set_retval", &have_set_retval, true)
            .load(OBJECT)
            .map_err(|error| Error::message(format!("cannot load the eBPF object: {}", chain(&error))))?;
        // Programs are tied to their maps when they are loaded, so from here on there is no way to change them.
        for (name, map) in maps {
            sharing::put_behind(map_of(&object, name)?, *map, name)?;
        }
        for name in attachment::PROGRAMS.map(|(name, _)| name).into_iter().chain([ancestors::PROGRAM]) {
            let program = object
                .program_mut(name)
                .ok_or_else(|| Error::message(format!("the eBPF object has no program {name}")))?;
            let loaded = match program {
                Program::CgroupSockAddr(program) => program.load(),
                Program::CgroupSockopt(program) => program.load(),
                Program::SockOps(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                _ => return Err(Error::message(format!("{name} is of an unexpected type"))),
            };
            loaded.map_err(|error| Error::message(format!("the kernel refuses {name}: {}", chain(&error))))?;
        }
        Ok(Self { object })
    }

    pub fn configure(&self, settings: &HookSettings) -> Result<()> {
        let mut rules: Vec<(CidrKey, u8)> = settings
            .rules
            .iter()
            .map(|&(ip, length, captured)| (layout::cidr_key(ip, length), captured.into()))
            .collect();
        let own = settings.addresses.iter().map(|ip| layout::cidr_key(*ip, if ip.is_ipv4() { 32 } else { 128 }));
        rules.extend(own.chain(layout::never_captured()).map(|key| (key, 0)));
        replace_all(self.map("kgw_cidrs")?, &rules).context("cannot set the captured addresses")?;
        let ports: Vec<(u16, u8)> = settings.excluded_ports.iter().map(|&port| (port, 1)).collect();
        replace_all(self.map("kgw_ports")?, &ports).context("cannot set the excluded ports")?;

        let mut config = Config { stale_after: settings.stale_after_nanoseconds, ..Config::default() };
        if settings.gateway_cgroups.len() > layout::GATEWAY_CGROUPS {
            return Err(Error::message("too many gateway cgroups"));
        }
        config.gateway_cgroups[..settings.gateway_cgroups.len()].copy_from_slice(&settings.gateway_cgroups);
        for address in &settings.addresses {
            match address {
                IpAddr::V4(v4) if config.pod_ipv4 == [0; 4] => config.pod_ipv4 = v4.octets(),
                IpAddr::V6(v6) if config.pod_ipv6 == [0; 16] => config.pod_ipv6 = v6.octets(),
                _ => {}
            }
        }
        config.flags = [
            (settings.capture, layout::FLAG_CAPTURE),
            (settings.strict, layout::FLAG_STRICT),
            (config.pod_ipv6 != [0; 16], layout::FLAG_IPV6),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .sum();
        sys::update(self.map("kgw_config")?, &0_u32, &config).context("cannot set the configuration of the hooks")
    }

    pub fn attach(&self, cgroup: &Path) -> Result<()> {
        let cgroup = attachment::open_cgroup(cgroup)?;
        for (name, attach_type) in attachment::PROGRAMS {
            attachment::attach(cgroup.as_fd(), self.program(name)?, name, attach_type)?;
        }
        Ok(())
    }

    /// The ids of the cgroups above this process, from the root to its own. `own` is the directory of its own cgroup.
    pub fn ancestors(&self, own: &Path) -> Result<Vec<u64>> {
        let cgroup = attachment::open_cgroup(own)?;
        ancestors::ids(cgroup.as_fd(), self.program(ancestors::PROGRAM)?, self.map(ancestors::MAP)?)
    }

    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>> {
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| Error::Io { what: what.to_owned(), source: error })?;
        let map = self.map("kgw_counters")?;
        (0_u32..)
            .zip(layout::COUNTERS)
            .map(|(index, name)| {
                sys::lookup_per_cpu(map, index, cpus).map(|value| (name, value)).context("cannot read a hook's counter")
            })
            .collect()
    }

    /// The descriptor of a map, valid as long as these hooks.
    pub fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        map_of(&self.object, name)
    }

    fn program(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let program = self
            .object
            .program(name)
            .ok_or_else(|| Error::message(format!("the eBPF object has no program {name}")))?;
        let fd = match program {
            Program::CgroupSockAddr(program) => program.fd(),
            Program::CgroupSockopt(program) => program.fd(),
            Program::SockOps(program) => program.fd(),
            Program::CgroupSock(program) => program.fd(),
            _ => return Err(Error::message(format!("{name} is of an unexpected type"))),
        };
        fd.map(AsFd::as_fd).map_err(|error| Error::message(format!("{name} is not loaded: {}", chain(&error))))
    }
}

fn map_of<'a>(object: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    let map = object.map(name).ok_or_else(|| Error::message(format!("the eBPF object has no map {name}")))?;
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::SkStorage(data)
        | Map::Unsupported(data) => Ok(data.fd().as_fd()),
        _ => Err(Error::message(format!("{name} is a map of an unexpected type"))),
    }
}

/// Makes the map hold exactly `entries`: new ones first, so that nothing is briefly captured that is excluded.
fn replace_all<K: Plain + PartialEq, V: Plain>(map: BorrowedFd<'_>, entries: &[(K, V)]) -> std::io::Result<()> {
    for (key, value) in entries {
        sys::update(map, key, value)?;
    }
    for key in sys::keys::<K>(map)? {
        if !entries.iter().any(|(wanted, _)| *wanted == key) {
            sys::delete(map, &key)?;
        }
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    let mut seen = HashSet::from([text.clone()]);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if seen.insert(inner_text.clone()) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    last_lines(&text)
}

/// The kernel's verifier tells every instruction it has looked at; what it did not like is at the end.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() <= VERIFIER_LINES {
        return text.to_owned();
    }
    let first = lines[0].split(" Verifier output:").next().unwrap_or_default();
    format!("{first} Verifier output, the last lines:\n{}", lines[lines.len() - VERIFIER_LINES..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_told() {
        let log: Vec<String> = (0..300).map(|number| format!("{number}: (b7) r0 = 0")).collect();
        let told = last_lines(&format!("load failed: Permission denied. Verifier output: {}", log.join("\n")));
        assert_eq!(told.lines().count(), 1 + VERIFIER_LINES);
        assert!(told.starts_with("load failed: Permission denied. Verifier output, the last lines:\n294: "));
        assert!(told.ends_with("299: (b7) r0 = 0"));
        assert_eq!(last_lines("no log at all"), "no log at all");
    }
}
