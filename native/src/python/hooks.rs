use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::error::{Context, Error};
use crate::hooks::{self, HookSettings, attachment, sharing, sys};

/// Maps that the worker uses by descriptor.
const SHARED_MAPS: [&str; 3] = ["kgw_accepted", "kgw_client", "kgw_stamp"];

#[pyclass(module = "kube_gateway._native")]
pub(super) struct Hooks {
    hooks: Mutex<hooks::Hooks>,
}

impl Hooks {
    fn hooks(&self) -> MutexGuard<'_, hooks::Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn descriptors(&self, names: &[&'static str]) -> PyResult<HashMap<&'static str, RawFd>> {
        let hooks = self.hooks();
        names.iter().map(|name| Ok((*name, hooks.map(name)?.as_raw_fd()))).collect()
    }
}

#[pymethods]
impl Hooks {
    #[new]
    #[pyo3(signature = (*, maps=None))]
    fn new(maps: Option<HashMap<String, RawFd>>) -> PyResult<Self> {
        let mut given = HashMap::new();
        for (name, descriptor) in maps.unwrap_or_default() {
            if descriptor < 0 {
                return Err(Error::message(format!("not a descriptor: {descriptor}")).into());
            }
            // SAFETY: the caller keeps the descriptors open during the call; a wrong number is an error of the kernel.
            given.insert(name, unsafe { BorrowedFd::borrow_raw(descriptor) });
        }
        Ok(Self { hooks: Mutex::new(hooks::Hooks::load(&given)?) })
    }

    #[pyo3(signature = (*, gateway_cgroups, capture, strict, addresses, rules, excluded_ports, stale_after))]
    #[expect(clippy::too_many_arguments, reason = "one keyword a setting, as the Python side has them")]
    fn configure(
        &self,
        gateway_cgroups: Vec<u64>,
        capture: bool,
        strict: bool,
        addresses: Vec<IpAddr>,
        rules: Vec<(IpAddr, u8, bool)>,
        excluded_ports: Vec<u16>,
        stale_after: f64,
    ) -> PyResult<()> {
        let stale_after = std::time::Duration::try_from_secs_f64(stale_after)
            .map_err(|error| Error::message(format!("stale_after: {error}")))?;
        let settings = HookSettings {
            gateway_cgroups,
            capture,
            strict,
            addresses,
            rules,
            excluded_ports,
            stale_after_nanoseconds: u64::try_from(stale_after.as_nanos()).unwrap_or(u64::MAX),
        };
        Ok(self.hooks().configure(&settings)?)
    }

    fn mark_listener(&self, socket: RawFd) -> PyResult<()> {
        // SAFETY: the caller keeps the socket open during the call; a wrong number is an error of the kernel.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        let hooks = self.hooks();
        sys::update(hooks.map("kgw_listener")?, &socket.as_raw_fd(), &1_u32).context("cannot mark the listener")?;
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
    fn attach(&self, cgroup: PathBuf) -> PyResult<()> {
        Ok(self.hooks().attach(&cgroup)?)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
    fn ancestors(&self, own: PathBuf) -> PyResult<Vec<u64>> {
        Ok(self.hooks().ancestors(&own)?)
    }

    fn shared_maps(&self) -> PyResult<HashMap<&'static str, RawFd>> {
        self.descriptors(&SHARED_MAPS)
    }

    fn maps(&self) -> PyResult<HashMap<&'static str, RawFd>> {
        self.descriptors(&sharing::MAPS)
    }

    fn counters(&self) -> PyResult<HashMap<&'static str, u64>> {
        Ok(self.hooks().counters()?.into_iter().collect())
    }
}

#[pyfunction]
pub(super) fn hooks_layout() -> &'static str {
    sharing::LAYOUT
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
pub(super) fn open_cgroup_by_id(visible: PathBuf, id: u64) -> PyResult<RawFd> {
    Ok(hooks::ancestors::open(&visible, id)?.into_raw_fd())
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
pub(super) fn has_hooks(cgroup: PathBuf) -> PyResult<usize> {
    Ok(attachment::count(&cgroup)?)
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
pub(super) fn remove_hooks(cgroup: PathBuf) -> PyResult<usize> {
    Ok(attachment::remove(&cgroup)?)
}
