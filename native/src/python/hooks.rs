use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::error::{Context, Error};
use crate::hooks::settings::{Exempt, Gate, Udp};
use crate::hooks::{self, HookSettings, attachment, sent, sharing, sys};

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

    #[pyo3(signature = (
        *, gateway_cgroups, capture, strict, addresses, rules, excluded_ports, stale_after, makers=vec![],
        gate=GateArgument::Word("open".to_owned()), exempt=vec![], probe_ports=vec![], served_ports=vec![],
        udp="allow", control_port=0, errands=false
    ))]
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
        makers: Vec<u64>,
        gate: GateArgument,
        exempt: Vec<(IpAddr, u8, bool)>,
        probe_ports: Vec<u16>,
        served_ports: Vec<u16>,
        udp: &str,
        control_port: u16,
        errands: bool,
    ) -> PyResult<()> {
        let stale_after = std::time::Duration::try_from_secs_f64(stale_after)
            .map_err(|error| Error::message(format!("stale_after: {error}")))?;
        let exempt = exempt
            .into_iter()
            .map(|(address, prefix_length, probes)| Exempt { address, prefix_length, probes })
            .collect();
        let settings = HookSettings {
            gateway_cgroups,
            makers,
            capture,
            strict,
            addresses,
            rules,
            excluded_ports,
            stale_after_nanoseconds: u64::try_from(stale_after.as_nanos()).unwrap_or(u64::MAX),
            gate: gate.read()?,
            exempt,
            probe_ports,
            served_ports,
            udp: read_udp(udp)?,
            control_port,
            errands,
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

    fn guard(&self) -> PyResult<()> {
        Ok(self.hooks().guard()?)
    }

    fn unguard(&self) {
        self.hooks().unguard();
    }

    fn sent(&self) -> PyResult<Vec<u8>> {
        Ok(told(&sent::read(&self.hooks())?).to_string().into_bytes())
    }

    fn refused(&self) -> PyResult<Vec<(String, u16, u64)>> {
        let refused = sent::take_refused(&self.hooks())?;
        Ok(refused.into_iter().map(|(source, port, times)| (source.to_string(), port, times)).collect())
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

/// `"open"`, `"all"`, or the ports that are gated.
#[derive(FromPyObject)]
enum GateArgument {
    Word(String),
    Ports(Vec<u16>),
}

impl GateArgument {
    fn read(self) -> Result<Gate, Error> {
        match self {
            Self::Ports(ports) => Ok(Gate::Ports(ports)),
            Self::Word(word) if word == "open" => Ok(Gate::Open),
            Self::Word(word) if word == "all" => Ok(Gate::All),
            Self::Word(word) => Err(Error::message(format!("gate: {word:?} is not open, all or a list of ports"))),
        }
    }
}

fn read_udp(word: &str) -> Result<Udp, Error> {
    match word {
        "allow" => Ok(Udp::Allow),
        "dns-only" => Ok(Udp::DnsOnly),
        "block" => Ok(Udp::Block),
        _ => Err(Error::message(format!("udp: {word:?} is not allow, dns-only or block"))),
    }
}

fn told(report: &sent::Report) -> serde_json::Value {
    let peers: Vec<_> = report
        .peers
        .iter()
        .map(|peer| {
            serde_json::json!({
                "address": peer.address.to_string(),
                "kind": peer.kind,
                "bytes": peer.sent.bytes,
                "packets": peer.sent.packets,
            })
        })
        .collect();
    let totals: HashMap<_, _> = report.totals.iter().map(|(kind, sent)| (*kind, sent.bytes)).collect();
    let packets: HashMap<_, _> = report.totals.iter().map(|(kind, sent)| (*kind, sent.packets)).collect();
    serde_json::json!({"since": report.since, "totals": totals, "packets": packets, "peers": peers})
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
