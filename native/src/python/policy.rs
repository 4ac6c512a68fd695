//! A policy in Python, as the engine asks it. Everything here runs on threads that may block.

use std::sync::OnceLock;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use super::answers::plan;
use crate::intercept::policy::{Call, Decision, Facts, Failed, Forward, LlmRequest, Policy, Reply, Verdict};
use crate::intercept::target::Endpoints;

/// The `engine` of `Core.set_policy`.
pub(super) struct PythonPolicy {
    engine: Py<PyAny>,
    endpoints: Endpoints,
    body_limit: usize,
    by_head: Vec<usize>,
}

impl PythonPolicy {
    pub(super) fn new(engine: &Bound<'_, PyAny>) -> PyResult<Self> {
        let endpoints: Vec<(String, String)> = engine.getattr("endpoints")?.extract()?;
        let kinds = engine.getattr_opt("kinds")?.map(|kinds| kinds.extract()).transpose()?.unwrap_or_default();
        let endpoints = Endpoints::new(&endpoints, kinds)
            .map_err(|error| PyValueError::new_err(format!("an endpoint does not compile: {error}")))?;
        let body_limit = engine.getattr("body_limit")?.extract()?;
        let by_head = engine.getattr_opt("by_head")?.map(|by_head| by_head.extract()).transpose()?.unwrap_or_default();
        Ok(Self { engine: engine.clone().unbind(), endpoints, body_limit, by_head })
    }

    fn ask<T>(
        &self,
        method: &str,
        request: LlmRequest,
        take: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T, Failed> {
        attempt(|py| {
            let request = Bound::new(py, PyLlmRequest { request, body: OnceLock::new() })?;
            take(&self.engine.bind(py).call_method1(method, (request,))?)
        })
    }
}

/// Runs `work` with the interpreter. The text of an exception is all that becomes of it.
pub(super) fn attempt<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, Failed> {
    Python::attach(|py| work(py).map_err(|error| Failed(error.to_string())))
}

impl Policy for PythonPolicy {
    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn body_limit(&self) -> usize {
        self.body_limit
    }

    fn by_head(&self, endpoint: usize) -> bool {
        self.by_head.contains(&endpoint)
    }

    fn decide(&self, request: LlmRequest) -> Result<Decision, Failed> {
        self.ask("decide", request, |decision| {
            let reply = decision.getattr("reply")?;
            let verdict =
                if reply.is_none() { Verdict::Forward(forward(decision)?) } else { Verdict::Reply(read(&reply)?) };
            Ok(Decision { verdict, call: Box::new(PythonCall(decision.clone().unbind())) })
        })
    }

    fn too_large(&self, request: LlmRequest) -> Result<Reply, Failed> {
        self.ask("too_large", request, read)
    }
}

fn forward(decision: &Bound<'_, PyAny>) -> PyResult<Forward> {
    let body: Option<PyBackedBytes> = decision.getattr("body")?.extract()?;
    let response = decision.getattr("response")?;
    let answer = if response.is_none() { None } else { Some(plan(&response)?) };
    Ok(Forward {
        body: body.map(Bytes::from_owner),
        target: decision.getattr("target")?.extract()?,
        set_headers: decision.getattr("set_headers")?.extract()?,
        answer,
    })
}

fn read(reply: &Bound<'_, PyAny>) -> PyResult<Reply> {
    let headers = reply.getattr("headers")?.try_iter()?.map(|header| header?.extract()).collect::<PyResult<_>>()?;
    let body: PyBackedBytes = reply.getattr("body")?.extract()?;
    Ok(Reply { status: reply.getattr("status")?.extract()?, headers, body: Bytes::from_owner(body) })
}

/// What a decision is told and asked later.
struct PythonCall(Py<PyAny>);

impl Call for PythonCall {
    fn ended(&self, outcome: &[u8], facts: &Facts) {
        let told = attempt(|py| {
            let facts = describe(py, facts)?;
            self.0.bind(py).call_method1("ended", (PyBytes::new(py, outcome), facts)).map(drop)
        });
        if let Err(error) = told {
            crate::log::warn(format!("what follows from the end of a call failed: {error}"));
        }
    }

    fn refuse(&self, outcome: &[u8]) -> Result<Reply, Failed> {
        attempt(|py| read(&self.0.bind(py).call_method1("refuse", (PyBytes::new(py, outcome),))?))
    }

    fn unreadable(&self, why: &str) -> Result<Reply, Failed> {
        attempt(|py| read(&self.0.bind(py).call_method1("unreadable", (why,))?))
    }

    fn ending(&self, outcome: &[u8]) -> Result<Vec<u8>, Failed> {
        attempt(|py| self.0.bind(py).call_method1("ending", (PyBytes::new(py, outcome),))?.extract())
    }
}

fn describe<'py>(py: Python<'py>, facts: &Facts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("status", facts.status)?;
    dict.set_item("request_bytes", facts.request_bytes)?;
    dict.set_item("response_bytes", facts.response_bytes)?;
    dict.set_item("seconds_to_first_byte", facts.seconds_to_first_byte)?;
    dict.set_item("seconds_to_first_chunk", facts.seconds_to_first_chunk)?;
    dict.set_item("seconds", facts.seconds)?;
    dict.set_item("overhead_seconds", facts.overhead_seconds)?;
    dict.set_item("client_gone", facts.client_gone)?;
    dict.set_item("upstream_failed", facts.upstream_failed)?;
    dict.set_item("sent", facts.sent)?;
    Ok(dict)
}

/// One call, as the policy sees it.
#[pyclass(module = "kube_gateway._native", name = "LlmRequest", frozen)]
pub(super) struct PyLlmRequest {
    request: LlmRequest,
    body: OnceLock<Py<PyBytes>>,
}

#[pymethods]
impl PyLlmRequest {
    #[getter]
    fn endpoint(&self) -> usize {
        self.request.endpoint
    }

    #[getter]
    fn method(&self) -> &str {
        &self.request.method
    }

    #[getter]
    fn target(&self) -> &str {
        &self.request.target
    }

    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.request.headers.clone()
    }

    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyBytes> {
        self.body.get_or_init(|| PyBytes::new(py, &self.request.body).unbind()).clone_ref(py)
    }

    #[getter]
    fn encoded(&self) -> bool {
        self.request.encoded
    }

    #[getter]
    fn destination(&self) -> String {
        self.request.destination.to_string()
    }

    #[getter]
    fn connection(&self) -> u64 {
        self.request.connection
    }

    #[getter]
    fn http_version(&self) -> &str {
        self.request.http_version
    }
}
