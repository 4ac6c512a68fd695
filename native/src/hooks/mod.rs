//! The eBPF side: load the object, tell it the settings, put it on the pod's cgroup.

pub mod ancestors;
pub mod attachment;
pub mod gate;
pub mod layout;
pub mod maps;
pub mod sent;
pub mod settings;
pub mod sharing;
pub mod sys;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::Map;
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};

use crate::error::{Context, Error, Result};
use crate::kernel;
pub use settings::HookSettings;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kube_gateway.bpf.o"));

const VERIFIER_LINES: usize = 6;

/// bpf_set_retval() came with Linux 5.18; without it a refused connect() is EPERM instead of ECONNREFUSED.
const SET_RETVAL_SINCE: (u32, u32) = (5, 18);

/// Before, what comes from the pod itself is told by its addresses alone.
const INGRESS_IFINDEX_SINCE: (u32, u32) = (5, 17);

/// The loaded object. Dropping it leaves the programs on the cgroup in place; the gate goes with it.
pub struct Hooks {
    object: Ebpf,
    gate: Option<OwnedFd>,
}

impl Hooks {
    /// Loads and verifies all programs. `maps` are those of an earlier gateway of the same layout, by name, to go on
    /// with; none: new ones.
    pub fn load(maps: &HashMap<String, BorrowedFd<'_>>) -> Result<Self> {
        let have_set_retval = u32::from(kernel::version()? >= SET_RETVAL_SINCE);
        let have_ingress_ifindex = u32::from(kernel::version()? >= INGRESS_IFINDEX_SINCE);
        let mut object = EbpfLoader::new()
            .override_global("have_set_retval", &have_set_retval, true)
            .override_global("have_ingress_ifindex", &have_ingress_ifindex, true)
            .load(OBJECT)
            .map_err(|error| Error::message(format!("cannot load the eBPF object: {}", chain(&error))))?;
        // Programs are tied to their maps when they are loaded, so from here on there is no way to change them.
        for (name, map) in maps {
            sharing::put_behind(map_of(&object, name)?, *map, name)?;
        }
        let names = attachment::PROGRAMS.map(|(name, _)| name).into_iter();
        for name in names.chain([gate::PROGRAM, ancestors::PROGRAM]) {
            let program = object
                .program_mut(name)
                .ok_or_else(|| Error::message(format!("the eBPF object has no program {name}")))?;
            let loaded = match program {
                Program::CgroupSockAddr(program) => program.load(),
                Program::CgroupSockopt(program) => program.load(),
                Program::SockOps(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                Program::CgroupSkb(program) => program.load(),
                Program::SkLookup(program) => program.load(),
                _ => return Err(Error::message(format!("{name} is of an unexpected type"))),
            };
            loaded.map_err(|error| Error::message(format!("the kernel refuses {name}: {}", chain(&error))))?;
        }
        let hooks = Self { object, gate: None };
        sent::make_room(&hooks)?;
        Ok(hooks)
    }

    pub fn configure(&self, settings: &HookSettings) -> Result<()> {
        settings.apply(|name| self.map(name))
    }

    pub fn attach(&self, cgroup: &Path) -> Result<()> {
        let cgroup = attachment::open_cgroup(cgroup)?;
        for (name, attach_type) in attachment::PROGRAMS {
            attachment::attach(cgroup.as_fd(), self.program(name)?, name, attach_type)?;
        }
        sent::begin(self)
    }

    /// Has the pod's connections pass the gate until `unguard`, or until this process ends.
    pub fn guard(&mut self) -> Result<()> {
        if self.gate.is_none() {
            self.gate = Some(gate::close(self.program(gate::PROGRAM)?)?);
        }
        Ok(())
    }

    pub fn unguard(&mut self) {
        self.gate = None;
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
            Program::CgroupSkb(program) => program.fd(),
            Program::SkLookup(program) => program.fd(),
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
