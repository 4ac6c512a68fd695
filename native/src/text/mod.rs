//! Text in the bodies of LLM calls: found, matched and changed where it stands, and nothing else touched.
//!
//! A library: it knows no HTTP and no Python. `json` and `edits` change documents by spans, `frames` cuts streams into
//! events, `filter` puts both to work on an answer as it streams.

pub mod edits;
pub mod escape;
pub mod finder;
pub mod frames;
pub mod json;
pub mod path;
pub mod select;
pub mod shape;
