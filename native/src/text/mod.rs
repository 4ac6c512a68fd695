//! Text in bodies and streams: patterns in it, and what stands in the place of a match. Knows no HTTP and no Python.

mod automaton;
mod checks;
mod engine;
mod inner;
mod lazy;
pub mod masker;
pub mod patterns;
mod replacement;
mod run;
mod starts;
mod syntax;
mod trail;
