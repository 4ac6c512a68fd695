//! Documents for Python: what is where in a body, and the body with changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::text::edits::Edits;
use crate::text::escape;
use crate::text::finder::{self, FindError, Found};
use crate::text::json::{Invalid, Kind};
use crate::text::path::PathError;
use crate::text::shape::Wanted;

/// Work on less than this is done before other threads could take the interpreter over.
const SMALL: usize = 16 * 1024;

fn not_json(error: Invalid) -> PyErr {
    PyValueError::new_err(format!("not JSON: {error}"))
}

fn unusable(error: &PathError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Runs `work`, on big input without the interpreter's lock.
fn unlocked<T: Send>(py: Python<'_>, size: usize, work: impl FnOnce() -> T + Send) -> T {
    if size < SMALL { work() } else { py.detach(work) }
}

#[pyfunction]
pub(super) fn quote<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &escape::quote(text))
}

#[pyclass(frozen, module = "kube_gateway._native")]
pub(super) struct Finder {
    names: Vec<Arc<str>>,
    finder: finder::Finder,
}

#[pymethods]
impl Finder {
    #[new]
    #[pyo3(signature = (wanted, *, ignore_case = false))]
    fn new(wanted: &[u8], ignore_case: bool) -> PyResult<Self> {
        let wanted: Vec<Wanted> = serde_json::from_slice(wanted)
            .map_err(|error| PyValueError::new_err(format!("not a list of what is wanted: {error}")))?;
        let finder = finder::Finder::new(&wanted, ignore_case).map_err(|error| unusable(&error))?;
        Ok(Self { names: wanted.into_iter().map(|wanted| wanted.name.into()).collect(), finder })
    }

    fn scan(&self, py: Python<'_>, body: Bound<'_, PyBytes>) -> PyResult<Document> {
        let bytes = body.as_bytes();
        let found = unlocked(py, bytes.len(), || self.finder.find(bytes)).map_err(not_json)?;
        let hits = found.iter().map(|found| {
            let name = Arc::clone(&self.names[found.wanted]);
            Py::new(py, Hit { name, found: *found, body: body.clone().unbind() })
        });
        let hits = hits.collect::<PyResult<_>>()?;
        Ok(Document { body: body.unbind(), found, hits, changes: BTreeMap::new(), inserts: Vec::new() })
    }
}

#[pyclass(frozen, module = "kube_gateway._native")]
pub(super) struct Hit {
    name: Arc<str>,
    found: Found,
    body: Py<PyBytes>,
}

#[pymethods]
impl Hit {
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn index(&self) -> usize {
        self.found.wanted
    }

    #[getter]
    fn start(&self) -> usize {
        self.found.start
    }

    #[getter]
    fn end(&self) -> usize {
        self.found.end
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.found.kind {
            Kind::Null => "null",
            Kind::True => "true",
            Kind::False => "false",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    #[getter]
    fn text(&self, py: Python<'_>) -> PyResult<String> {
        let raw = &self.body.as_bytes(py)[self.found.start..self.found.end];
        let raw = std::str::from_utf8(raw).map_err(|error| PyValueError::new_err(error.to_string()))?;
        if self.found.kind != Kind::String {
            return Ok(raw.to_owned());
        }
        let mut text = String::new();
        escape::decode(&raw[1..raw.len() - 1], &mut text);
        Ok(text)
    }

    fn __repr__(&self) -> String {
        format!("Hit({:?}, {}..{}, {})", self.name, self.found.start, self.found.end, self.kind())
    }
}

enum Change {
    Text(String),
    Raw(Vec<u8>),
    Remove { member: usize },
}

#[pyclass(module = "kube_gateway._native")]
pub(super) struct Document {
    body: Py<PyBytes>,
    found: Vec<Found>,
    #[pyo3(get)]
    hits: Vec<Py<Hit>>,
    /// By span: of several changes of one value the last holds.
    changes: BTreeMap<(usize, usize), Change>,
    inserts: Vec<(usize, String, Vec<u8>)>,
}

impl Document {
    fn found(&self, hit: usize) -> PyResult<Found> {
        self.found.get(hit).copied().ok_or_else(|| PyIndexError::new_err(format!("no hit {hit}")))
    }

    fn change(&mut self, found: Found, change: Change) {
        self.changes.insert((found.start, found.end), change);
    }

    fn changed(&self, source: &[u8]) -> Result<Vec<u8>, std::str::Utf8Error> {
        let text = std::str::from_utf8(source)?;
        let mut edits = Edits::default();
        for ((start, end), change) in &self.changes {
            match change {
                Change::Text(new) => edits.replace_text(text, start + 1..end - 1, new),
                Change::Raw(raw) => edits.replace(*start..*end, raw),
                Change::Remove { member } => edits.remove(*member..*end),
            }
        }
        for (end, key, raw) in &self.inserts {
            edits.insert(*end, key, raw);
        }
        let mut out = Vec::with_capacity(source.len() + 256);
        edits.apply(source, &mut out);
        Ok(out)
    }
}

#[pymethods]
impl Document {
    fn replace_text(&mut self, hit: usize, text: String) -> PyResult<()> {
        let found = self.found(hit)?;
        let change = if found.kind == Kind::String { Change::Text(text) } else { Change::Raw(escape::quote(&text)) };
        self.change(found, change);
        Ok(())
    }

    fn replace_raw(&mut self, hit: usize, raw: &[u8]) -> PyResult<()> {
        let found = self.found(hit)?;
        self.change(found, Change::Raw(raw.to_vec()));
        Ok(())
    }

    fn remove(&mut self, py: Python<'_>, hit: usize) -> PyResult<()> {
        let found = self.found(hit)?;
        if self.body.as_bytes(py)[..found.member].iter().all(u8::is_ascii_whitespace) {
            return Err(PyValueError::new_err("the document itself cannot be removed"));
        }
        self.change(found, Change::Remove { member: found.member });
        Ok(())
    }

    fn insert(&mut self, py: Python<'_>, path: &str, key: &str, raw: &[u8]) -> PyResult<()> {
        let body = self.body.as_bytes(py);
        let objects = unlocked(py, body.len(), || finder::objects(body, path)).map_err(|error| match error {
            FindError::Path(error) => unusable(&error),
            FindError::Invalid(error) => not_json(error),
        })?;
        if objects.is_empty() {
            return Err(PyValueError::new_err(format!("no object at {path:?}")));
        }
        self.inserts.extend(objects.into_iter().map(|end| (end, key.to_owned(), raw.to_vec())));
        Ok(())
    }

    fn apply(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        if self.changes.is_empty() && self.inserts.is_empty() {
            return Ok(self.body.clone_ref(py));
        }
        let body = self.body.as_bytes(py);
        let changed = unlocked(py, body.len(), || self.changed(body));
        let changed = changed.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &changed).unbind())
    }
}
