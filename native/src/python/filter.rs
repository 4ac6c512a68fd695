//! The filter of answers for Python. Streams of the gateway do not come through here: the data path uses `text::filter`.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping};

use super::patterns::Patterns;
use crate::text::filter::{Filter, Start, Transform};
use crate::text::frames::Framing;
use crate::text::plan::{self, ByLane};
use crate::text::shape::ResponseShape;
use crate::text::tools::ToolRules;

/// Work on less than this is done before other threads could take the interpreter over.
const SMALL: usize = 16 * 1024;

/// The plan for the answers to one kind of request; the data path takes it from here.
#[pyclass(frozen, module = "kube_gateway._native")]
pub(crate) struct FilterPlan {
    pub(crate) plan: Arc<plan::FilterPlan>,
}

fn by_lane(patterns: Option<&Bound<'_, PyMapping>>) -> PyResult<ByLane> {
    let mut by_lane = ByLane::new();
    let Some(patterns) = patterns else { return Ok(by_lane) };
    for item in patterns.items()?.iter() {
        let (lane, patterns): (String, Bound<'_, Patterns>) = item.extract()?;
        by_lane.insert(lane, Arc::clone(&patterns.get().compiled));
    }
    Ok(by_lane)
}

fn unusable(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A callable of Python's. An exception of it goes to `sys.unraisablehook`, and ends the answer.
struct Callable(Py<PyAny>);

impl Transform for Callable {
    fn apply(&mut self, lane: &str, key: &str, text: &str, last: bool) -> Option<String> {
        Python::attach(|py| {
            let callable = self.0.bind(py);
            let result = callable.call1((lane, key, text, last)).and_then(|text| text.extract());
            result.map_err(|error: PyErr| error.write_unraisable(py, Some(callable))).ok().flatten()
        })
    }
}

/// Everything that `FilterPlan.start` takes beside the framing, from a dict of it.
pub(crate) fn start_of(framing: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Start> {
    let framing = Framing::named(framing).ok_or_else(|| unusable(format!("no such framing: {framing}")))?;
    let mut start = Start::new(framing);
    for (name, value) in options.into_iter().flatten() {
        match name.extract::<&str>()? {
            "model" => start.model = value.extract()?,
            "strip_usage" => start.strip_usage = value.extract()?,
            "most_output" => start.most_output = value.extract()?,
            "hash_key" => start.hash_key = Arc::from(value.extract::<&[u8]>()?),
            "collect" => start.collect = value.extract()?,
            "strict" => start.strict = value.extract()?,
            "transform" if value.is_none() => {}
            "transform" => start.transform = Some(Box::new(Callable(value.unbind()))),
            other => return Err(PyTypeError::new_err(format!("no such option: {other}"))),
        }
    }
    Ok(start)
}

#[pymethods]
impl FilterPlan {
    #[new]
    #[pyo3(signature = (shape, *, patterns = None, shadow = None, tools = None))]
    fn new(
        shape: &[u8],
        patterns: Option<&Bound<'_, PyMapping>>,
        shadow: Option<&Bound<'_, PyMapping>>,
        tools: Option<&[u8]>,
    ) -> PyResult<Self> {
        let shape: ResponseShape = serde_json::from_slice(shape).map_err(unusable)?;
        let rules = ToolRules::parse(tools.unwrap_or(b"[]")).map_err(unusable)?;
        let plan = plan::FilterPlan::new(&shape, &by_lane(patterns)?, &by_lane(shadow)?, rules).map_err(unusable)?;
        Ok(Self { plan: Arc::new(plan) })
    }

    #[pyo3(signature = (*, framing, **options))]
    fn start(&self, framing: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<StreamFilter> {
        let start = start_of(framing, options)?;
        let releases_lock = start.transform.is_none();
        Ok(StreamFilter { filter: self.plan.start(start), releases_lock })
    }
}

#[pyclass(module = "kube_gateway._native")]
pub(super) struct StreamFilter {
    filter: Filter,
    /// Without a callable there is no use for the interpreter's lock.
    releases_lock: bool,
}

impl StreamFilter {
    fn run(&mut self, py: Python<'_>, size: usize, work: impl FnOnce(&mut Filter, &mut Vec<u8>) + Send) -> Py<PyBytes> {
        let mut out = Vec::with_capacity(size + 256);
        let filter = &mut self.filter;
        if size < SMALL || !self.releases_lock {
            work(filter, &mut out);
        } else {
            py.detach(|| work(filter, &mut out));
        }
        PyBytes::new(py, &out).unbind()
    }
}

#[pymethods]
impl StreamFilter {
    fn feed(&mut self, py: Python<'_>, data: &[u8]) -> Py<PyBytes> {
        self.run(py, data.len(), |filter, out| filter.feed(data, out))
    }

    fn finish(&mut self, py: Python<'_>) -> Py<PyBytes> {
        self.run(py, SMALL, Filter::finish)
    }

    #[getter]
    fn ended(&self) -> bool {
        self.filter.ended()
    }

    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let outcome = serde_json::to_vec(&self.filter.outcome()).map_err(unusable)?;
        Ok(PyBytes::new(py, &outcome).unbind())
    }
}
