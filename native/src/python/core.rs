use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex, mpsc};

use super::policy::PythonPolicy;
use crate::error::{Context, Error, Result};
use crate::flow::authorization::Authorization;
use crate::flow::backends::Service;
use crate::flow::gateway::{Gateway, Listener, Mode, Query};
use crate::flow::services::Answer;
use crate::hooks::maps::SocketMaps;
use crate::intercept::policy::Policy;
use crate::log;
use crate::tunnel::tls::Identity;

/// How long a policy that is being asked may take when everything ends.
const END_WITHIN: Duration = Duration::from_secs(5);

#[pyclass(module = "kube_gateway._native")]
pub(super) struct Core {
    /// Taken out when it is ended.
    threads: Option<Runtime>,
    runtime: Handle,
    gateway: Arc<Gateway>,
    queries: Mutex<mpsc::Receiver<Query>>,
    identities: AtomicU64,
}

fn listener(kind: &str) -> Result<Listener> {
    match kind {
        "redirect" => Ok(Listener::Redirect),
        "tls" => Ok(Listener::TlsTunnel),
        "plain" => Ok(Listener::PlainTunnel),
        other => Err(Error::message(format!("no such listener: {other}"))),
    }
}

fn own(descriptor: RawFd) -> Result<OwnedFd> {
    if descriptor < 0 {
        return Err(Error::message(format!("not a descriptor: {descriptor}")));
    }
    // SAFETY: the Python side gives the descriptor away and does not use it again (documented in the stub).
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn raise_descriptor_limit() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot read the limit of descriptors");
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot raise the limit of descriptors");
    }
    Ok(())
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (*, addresses, maps, threads))]
    #[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
    fn new(addresses: Vec<IpAddr>, maps: HashMap<String, RawFd>, threads: usize) -> PyResult<Self> {
        raise_descriptor_limit()?;
        let map = |name: &str| own(maps.get(name).copied().unwrap_or(-1));
        let maps = SocketMaps::new(map("kgw_accepted")?, map("kgw_client")?, map("kgw_stamp")?);
        // Before anything is accepted: the hooks redirect only to a worker that has given a sign of life.
        maps.stamp().context("cannot use the hooks' maps")?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("kube-gateway")
            .enable_all()
            .build()
            .context("cannot start the worker's threads")?;
        let (gateway, queries) = Gateway::new(addresses, maps);
        runtime.spawn(Arc::clone(&gateway).keep_house());
        let handle = runtime.handle().clone();
        Ok(Self {
            threads: Some(runtime),
            runtime: handle,
            gateway,
            queries: Mutex::new(queries),
            identities: AtomicU64::new(1),
        })
    }

    #[pyo3(signature = (*, chain, key, trust_bundle, trust_domain))]
    fn set_identity(&self, chain: &str, key: &str, trust_bundle: &str, trust_domain: &str) -> PyResult<()> {
        let generation = self.identities.fetch_add(1, Ordering::Relaxed);
        let identity = Identity::new(generation, chain, key, trust_bundle, trust_domain)?;
        log::info(format!("identity {} is in use", identity.own.spiffe_id));
        self.gateway.identity.store(Some(Arc::new(identity)));
        Ok(())
    }

    fn set_revoked(&self, uids: Vec<String>) {
        self.gateway.set_revoked(uids);
    }

    #[pyo3(signature = (*, mode, debug))]
    fn configure(&self, mode: &str, debug: bool) -> PyResult<()> {
        let mode = match mode {
            "none" => Mode::Clear,
            "off" => Mode::Off,
            "permissive" => Mode::Permissive,
            "strict" => Mode::Strict,
            other => return Err(Error::message(format!("no such mode: {other}")).into()),
        };
        log::set_debug(debug);
        self.gateway.set_mode(mode);
        Ok(())
    }

    fn listen(&self, kind: &str, socket: RawFd) -> PyResult<()> {
        let kind = listener(kind)?;
        let socket = std::net::TcpListener::from(own(socket)?);
        let _runtime = self.runtime.enter();
        self.gateway.listen(kind, socket).context("cannot accept connections")?;
        Ok(())
    }

    fn listen_for(&self, destination: &str, socket: RawFd) -> PyResult<()> {
        let destination: SocketAddr =
            destination.parse().map_err(|_| Error::message(format!("not an address and a port: {destination}")))?;
        let socket = std::net::TcpListener::from(own(socket)?);
        let _runtime = self.runtime.enter();
        self.gateway.listen(Listener::Fixed(destination), socket).context("cannot accept connections")?;
        Ok(())
    }

    fn set_policy(&self, engine: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let policy = engine.map(PythonPolicy::new).transpose()?;
        self.gateway.interception.set_policy(policy.map(|policy| Box::new(policy) as Box<dyn Policy>));
        Ok(())
    }

    fn stop_listening(&self, kind: &str) -> PyResult<()> {
        self.gateway.stop_listening(listener(kind)?);
        Ok(())
    }

    fn next_query(&self, py: Python<'_>, timeout: f64) -> Option<(String, Option<u16>)> {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        let query = py.detach(|| {
            self.runtime.block_on(async {
                let mut queries = self.queries.lock().await;
                tokio::time::timeout(timeout, queries.recv()).await.ok().flatten()
            })
        });
        query.map(|query| match query {
            Query::Peer(address) => (address.to_string(), None),
            Query::Service(destination) => (destination.ip().to_string(), Some(destination.port())),
        })
    }

    fn answer(&self, address: IpAddr, enrolled: bool) {
        self.gateway.answer(address, enrolled);
    }

    #[pyo3(signature = (address, port, *, service, backends, affinity_seconds))]
    fn answer_service(
        &self,
        address: IpAddr,
        port: u16,
        service: Option<String>,
        backends: Vec<(IpAddr, u16)>,
        affinity_seconds: u32,
    ) {
        let answer = service.map_or(Answer::NoService, |name| {
            let backends = backends.into_iter().map(SocketAddr::from).collect();
            let affinity = Duration::from_secs(affinity_seconds.into());
            Answer::Service(Arc::new(Service { name, backends, affinity }))
        });
        self.gateway.services.answer(SocketAddr::new(address, port), answer);
    }

    #[pyo3(signature = (*, name, rules))]
    fn set_authorization(&self, name: String, rules: &[u8]) -> PyResult<()> {
        let authorization = Authorization::parse(rules).map_err(|error| {
            Error::message(format!("the rules of who may reach this pod are not understood: {error}"))
        })?;
        self.gateway.set_authorization(name, authorization);
        Ok(())
    }

    #[pyo3(signature = (*, is_there))]
    fn set_watcher(&self, is_there: bool) {
        self.gateway.services.set_watcher(is_there);
    }

    fn remember_enrolled(&self, addresses: Vec<IpAddr>) {
        self.gateway.peers.remember_enrolled(addresses);
    }

    fn drain(&self) {
        let _runtime = self.runtime.enter();
        self.gateway.drain();
    }

    fn active(&self) -> u64 {
        self.gateway.active()
    }

    fn snapshot(&self) -> PyResult<Vec<u8>> {
        self.gateway.snapshot().map_err(|error| Error::message(error.to_string()).into())
    }
}

impl Drop for Core {
    /// Its threads may be about to ask a policy, for which they need the interpreter that whoever drops this holds.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            Python::attach(|py| py.detach(|| threads.shutdown_timeout(END_WITHIN)));
        }
    }
}
