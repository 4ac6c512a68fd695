//! Text in the bodies of LLM calls: found, matched and changed where it stands, and nothing else touched.
//!
//! A library: it knows no HTTP and no Python. `json` and `edits` change documents by spans, `frames` cuts streams into
//! events, `patterns` and `masker` search text that arrives in pieces, `filter` puts all to work on an answer as it streams.

mod automaton;
mod checks;
pub mod edits;
pub mod escape;
pub mod finder;
pub mod frames;
mod inner;
pub mod json;
pub mod masker;
pub mod path;
pub mod patterns;
mod replacement;
pub mod select;
pub mod shape;
mod starts;
mod syntax;
