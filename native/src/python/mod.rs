//! The Python module. Everything behind it knows no Python.

mod answers;
mod core;
mod endpoints;
pub(crate) mod filter;
mod hooks;
mod json;
mod patterns;
mod policy;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::Error;
use crate::flow::authorization::{Authorization, Verdict};
use crate::{keys, privilege, socket_diagnostics};

create_exception!(kube_gateway._native, NativeError, PyException, "The kernel or a library refused something.");

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        NativeError::new_err((error.to_string(), error.errno()))
    }
}

impl Error {
    fn from_io(what: &str, source: std::io::Error) -> PyErr {
        Self::Io { what: what.to_owned(), source }.into()
    }
}

#[pyfunction]
fn create_key_and_request() -> PyResult<(String, String)> {
    Ok(keys::create_key_and_request()?)
}

#[pyfunction]
fn sign(key: &str, data: &[u8]) -> PyResult<Vec<u8>> {
    Ok(keys::sign(key, data)?)
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
fn mount_cgroups(directory: std::path::PathBuf) -> PyResult<()> {
    Ok(crate::cgroups::mount(&directory)?)
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
fn unmount_cgroups(directory: std::path::PathBuf) -> PyResult<()> {
    Ok(crate::cgroups::unmount(&directory)?)
}

#[pyfunction]
fn read_certificate(chain: &str) -> PyResult<(String, i64)> {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes())
        .map_err(|error| Error::message(format!("unreadable certificate: {error}")))?;
    let identity = crate::tunnel::identity::read(&certificate).map_err(Error::message)?;
    Ok((identity.spiffe_id, identity.not_after))
}

#[pyfunction]
fn describe_identity(chain: &str, trust_bundle: &str) -> PyResult<Vec<u8>> {
    let described = crate::tunnel::description::describe(chain, trust_bundle)?;
    serde_json::to_vec(&described).map_err(|error| Error::message(error.to_string()).into())
}

#[pyfunction]
fn drop_privileges() -> PyResult<()> {
    Ok(privilege::drop_privileges(crate::kernel::version()?)?)
}

#[pyfunction]
fn connections() -> PyResult<Vec<u8>> {
    let found = socket_diagnostics::connections().map_err(|e| Error::from_io("cannot list connections", e))?;
    serde_json::to_vec(&found).map_err(|error| Error::message(error.to_string()).into())
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the bridge hands over owned values")]
fn destroy_connections(cookies: Vec<u64>) -> PyResult<usize> {
    socket_diagnostics::destroy(&cookies).map_err(|e| Error::from_io("cannot end connections", e))
}

#[pyfunction]
#[pyo3(signature = (*, rules, peer, port))]
fn decide_access(rules: &[u8], peer: Option<&str>, port: u16) -> PyResult<(Ruling, Option<Ruling>)> {
    let rules = Authorization::parse(rules).map_err(|error| Error::message(error.to_string()))?;
    let decision = rules.decide(peer, port);
    Ok((ruling(&decision.verdict), decision.dry.as_ref().map(ruling)))
}

/// Allowed, policy, number of the rule.
type Ruling = (bool, String, usize);

fn ruling(verdict: &Verdict) -> Ruling {
    (verdict.allowed, verdict.policy.as_ref().to_owned(), verdict.rule)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("NativeError", module.py().get_type::<NativeError>())?;
    module.add_class::<core::Core>()?;
    module.add_class::<endpoints::Endpoints>()?;
    module.add_class::<filter::FilterPlan>()?;
    module.add_class::<filter::StreamFilter>()?;
    module.add_class::<hooks::Hooks>()?;
    module.add_class::<json::Document>()?;
    module.add_class::<json::Finder>()?;
    module.add_class::<json::Hit>()?;
    module.add_function(wrap_pyfunction!(json::quote, module)?)?;
    module.add_class::<patterns::Masker>()?;
    module.add_class::<patterns::Patterns>()?;
    module.add_class::<policy::PyLlmRequest>()?;
    module.add_function(wrap_pyfunction!(create_key_and_request, module)?)?;
    module.add_function(wrap_pyfunction!(decide_access, module)?)?;
    module.add_function(wrap_pyfunction!(describe_identity, module)?)?;
    module.add_function(wrap_pyfunction!(drop_privileges, module)?)?;
    module.add_function(wrap_pyfunction!(connections, module)?)?;
    module.add_function(wrap_pyfunction!(destroy_connections, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::hooks_layout, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::open_cgroup_by_id, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::has_hooks, module)?)?;
    module.add_function(wrap_pyfunction!(mount_cgroups, module)?)?;
    module.add_function(wrap_pyfunction!(sign, module)?)?;
    module.add_function(wrap_pyfunction!(unmount_cgroups, module)?)?;
    module.add_function(wrap_pyfunction!(read_certificate, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::remove_hooks, module)?)?;
    Ok(())
}
