//! Text in the bodies of LLM calls: found, matched and changed where it stands, and nothing else touched.
//!
//! A library: it knows no HTTP and no Python. `json` and `edits` change documents by spans, `frames` cuts streams into
//! events, `patterns` and `masker` search text that arrives in pieces, `filter` puts all to work on an answer as it streams.

mod automaton;
mod calls;
mod checks;
pub mod edits;
mod engine;
pub mod escape;
mod events;
pub mod filter;
pub mod finder;
pub mod frames;
mod groups;
mod inner;
pub mod json;
mod lanes;
mod lazy;
pub mod masker;
pub mod outcome;
pub mod path;
pub mod patterns;
pub mod plan;
#[cfg(test)]
mod properties;
mod replacement;
mod run;
pub mod select;
mod sending;
pub mod shape;
mod starts;
mod store;
mod structure;
mod syntax;
mod template;
mod texts;
pub mod tools;
mod trail;
mod view;
