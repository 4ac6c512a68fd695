use std::collections::HashMap;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::text::{masker, patterns};

/// Text from which on the interpreter's lock is worth giving away, in bytes.
const MUCH: usize = 16 << 10;

#[pyclass(module = "kube_gateway._native", frozen)]
pub(super) struct Patterns {
    pub(super) compiled: Arc<patterns::Patterns>,
}

#[pymethods]
impl Patterns {
    #[new]
    fn new(py: Python<'_>, patterns: &[u8]) -> PyResult<Self> {
        let compiled = py.detach(|| patterns::Patterns::compile(patterns));
        compiled
            .map(|compiled| Self { compiled: Arc::new(compiled) })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[pyo3(signature = (*, escaped=false, hash_key=None))]
    fn masker(&self, escaped: bool, hash_key: Option<&[u8]>) -> Masker {
        let key = Arc::from(hash_key.unwrap_or_default());
        Masker { masker: masker::Masker::new(Arc::clone(&self.compiled), escaped, key) }
    }

    #[pyo3(signature = (text, *, escaped=false, hash_key=None))]
    fn mask(
        &self,
        py: Python<'_>,
        text: &str,
        escaped: bool,
        hash_key: Option<&[u8]>,
    ) -> (String, HashMap<String, u64>, Option<String>) {
        let mut masker = self.masker(escaped, hash_key);
        let mut out = masker.feed(py, text);
        masker.masker.finish(&mut out);
        (out, masker.matches(), masker.masker.denied().map(str::to_owned))
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.compiled.warnings().to_vec()
    }

    #[getter]
    fn memory(&self) -> usize {
        self.compiled.memory()
    }
}

#[pyclass(module = "kube_gateway._native")]
pub(super) struct Masker {
    masker: masker::Masker,
}

#[pymethods]
impl Masker {
    fn feed(&mut self, py: Python<'_>, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        if text.len() > MUCH {
            py.detach(|| self.masker.feed(text, &mut out));
        } else {
            self.masker.feed(text, &mut out);
        }
        out
    }

    fn finish(&mut self) -> String {
        let mut out = String::new();
        self.masker.finish(&mut out);
        out
    }

    #[getter]
    fn matches(&self) -> HashMap<String, u64> {
        self.masker.matches().map(|(id, count)| (id.to_owned(), count)).collect()
    }

    #[getter]
    fn denied(&self) -> Option<&str> {
        self.masker.denied()
    }

    #[getter]
    fn held(&self) -> usize {
        self.masker.held_text().chars().count()
    }
}
