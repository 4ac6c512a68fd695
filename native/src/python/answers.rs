//! What a policy in Python wants of an answer. Filters of the native core run without the interpreter, unless they have a
//! callable in them.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::filter::{FilterPlan, start_of};
use super::policy::attempt;
use crate::intercept::policy::{AnswerPlan, Failed, Filter};
use crate::text::filter::{self, Start};
use crate::text::frames::Framing;
use crate::text::plan;

/// Reads the `response` of a decision.
pub(super) fn plan(response: &Bound<'_, PyAny>) -> PyResult<Box<dyn AnswerPlan>> {
    let plan = response.getattr("plan")?;
    let Ok(native) = plan.cast::<FilterPlan>() else { return Ok(Box::new(PythonPlan::new(response)?)) };
    let start = response.getattr("start")?;
    Ok(Box::new(NativePlan {
        plan: Arc::clone(&native.get().plan),
        start: start_of("whole", Some(start.cast::<PyDict>()?))?,
        framing_of: response.getattr("framing_of")?.extract()?,
        edits: response.getattr("edits")?.extract()?,
    }))
}

struct NativePlan {
    plan: Arc<plan::FilterPlan>,
    /// For any framing.
    start: Start,
    framing_of: HashMap<String, String>,
    edits: bool,
}

impl AnswerPlan for NativePlan {
    fn framing_of(&self, content_type: &str) -> Option<String> {
        self.framing_of.get(content_type).cloned()
    }

    fn start(mut self: Box<Self>, framing: &str) -> Result<Box<dyn Filter>, Failed> {
        self.start.framing = Framing::named(framing).ok_or_else(|| Failed(format!("no such framing: {framing}")))?;
        let blocks = self.start.transform.is_some();
        Ok(Box::new(NativeFilter { filter: self.plan.start(self.start), blocks }))
    }

    fn blocks(&self) -> bool {
        false
    }

    fn edits(&self) -> bool {
        self.edits
    }
}

struct NativeFilter {
    filter: filter::Filter,
    blocks: bool,
}

impl Filter for NativeFilter {
    fn feed(&mut self, data: &[u8]) -> Result<Vec<u8>, Failed> {
        let mut out = Vec::with_capacity(data.len() + 256);
        self.filter.feed(data, &mut out);
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>, Failed> {
        let mut out = Vec::new();
        self.filter.finish(&mut out);
        Ok(out)
    }

    fn ended(&self) -> bool {
        self.filter.ended()
    }

    fn has_event(&self) -> bool {
        self.filter.has_event()
    }

    fn outcome(&self) -> Vec<u8> {
        serde_json::to_vec(&self.filter.outcome()).unwrap_or_else(|error| {
            crate::log::warn(format!("what a filter has seen is not known: {error}"));
            b"{}".to_vec()
        })
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

/// A plan that is only known by its methods.
struct PythonPlan {
    plan: Py<PyAny>,
    start: Py<PyDict>,
    framing_of: HashMap<String, String>,
    edits: bool,
}

impl PythonPlan {
    fn new(response: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            plan: response.getattr("plan")?.unbind(),
            start: response.getattr("start")?.cast_into::<PyDict>()?.unbind(),
            framing_of: response.getattr("framing_of")?.extract()?,
            edits: response.getattr("edits")?.extract()?,
        })
    }
}

impl AnswerPlan for PythonPlan {
    fn framing_of(&self, content_type: &str) -> Option<String> {
        self.framing_of.get(content_type).cloned()
    }

    fn start(self: Box<Self>, framing: &str) -> Result<Box<dyn Filter>, Failed> {
        attempt(|py| {
            let keywords = self.start.bind(py).copy()?;
            keywords.set_item("framing", framing)?;
            let filter = self.plan.bind(py).call_method("start", (), Some(&keywords))?;
            Ok(Box::new(PythonFilter { filter: filter.unbind(), ended: false, fed: false }) as Box<dyn Filter>)
        })
    }

    fn blocks(&self) -> bool {
        true
    }

    fn edits(&self) -> bool {
        self.edits
    }
}

/// A filter that is only known by its methods.
struct PythonFilter {
    filter: Py<PyAny>,
    ended: bool,
    /// It has been fed, which is all that is known of it.
    fed: bool,
}

impl PythonFilter {
    fn call(&mut self, method: &str, data: Option<&[u8]>) -> Result<Vec<u8>, Failed> {
        self.fed = true;
        attempt(|py| {
            let filter = self.filter.bind(py);
            let out = match data {
                Some(data) => filter.call_method1(method, (PyBytes::new(py, data),))?,
                None => filter.call_method0(method)?,
            };
            self.ended = filter.getattr("ended")?.extract()?;
            out.extract()
        })
    }
}

impl Filter for PythonFilter {
    fn feed(&mut self, data: &[u8]) -> Result<Vec<u8>, Failed> {
        self.call("feed", Some(data))
    }

    fn finish(&mut self) -> Result<Vec<u8>, Failed> {
        self.call("finish", None)
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn has_event(&self) -> bool {
        self.fed
    }

    fn outcome(&self) -> Vec<u8> {
        attempt(|py| self.filter.bind(py).call_method0("outcome")?.extract()).unwrap_or_else(|error| {
            crate::log::warn(format!("what a filter has seen is not known: {error}"));
            b"{}".to_vec()
        })
    }

    fn blocks(&self) -> bool {
        true
    }
}
