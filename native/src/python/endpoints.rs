//! Which endpoint a request is for, as the data path tells it; for requests that were recorded.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::policy::PythonPolicy;
use crate::intercept::head::BadHead;
use crate::intercept::policy::Policy;

#[pyclass(frozen, module = "kube_gateway._native")]
pub(super) struct Endpoints(PythonPolicy);

#[pymethods]
impl Endpoints {
    #[new]
    fn new(engine: &Bound<'_, PyAny>) -> PyResult<Self> {
        PythonPolicy::new(engine).map(Self)
    }

    fn find(&self, method: &str, target: &str) -> PyResult<Option<usize>> {
        self.0.endpoints().find(method, target).map_err(|BadHead(why)| PyValueError::new_err(why))
    }
}
