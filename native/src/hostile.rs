//! What tests with hostile input share: how much is tried, seeds that are always tried first, changes to what is right, and
//! the figures that are noted for docs/security.md.

use std::cell::Cell;
use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseResult, TestRunner};

/// As many cases as `full`, a twentieth of it in the short form.
pub(crate) fn amount(full: u32) -> u32 {
    let short = std::env::var("KUBE_GATEWAY_SHORT").is_ok_and(|short| !matches!(short.as_str(), "" | "0"));
    if short { full.div_ceil(20) } else { full }
}

/// The files of a folder of the corpus, by name. Each is one input that was once of interest.
pub(crate) fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("tests/hostile/corpus").join(folder);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no inputs in {}", folder.display());
    inputs
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A claim of docs/security.md and the test that backs it.
pub(crate) struct Claim {
    pub claim: &'static str,
    /// `file!()` and the function's name.
    pub file: &'static str,
    pub test: &'static str,
}

impl Claim {
    /// Tries `cases` values and notes how many those were. What fails is kept in `proptest-regressions`.
    pub(crate) fn holds<S: Strategy>(&self, cases: u32, values: S, check: impl Fn(S::Value) -> TestCaseResult)
    where
        S::Value: Debug,
    {
        let tried = Cell::new(0_u64);
        let config = ProptestConfig {
            source_file: Some(self.file),
            test_name: Some(self.test),
            ..ProptestConfig::with_cases(amount(cases))
        };
        let outcome = TestRunner::new(config).run(&values, |value| {
            tried.set(tried.get() + 1);
            check(value)
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
        self.note(&[("inputs", tried.get())]);
    }

    /// Adds figures to the file that `KUBE_GATEWAY_FIGURES` names.
    pub(crate) fn note(&self, figures: &[(&str, u64)]) {
        let Some(path) = std::env::var_os("KUBE_GATEWAY_FIGURES").map(PathBuf::from) else { return };
        let figures: serde_json::Map<_, _> =
            figures.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let test = format!("{}::{}", self.file, self.test);
        let row = serde_json::json!({"claim": self.claim, "test": test, "figures": figures});
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{row}\n").as_bytes()).unwrap();
    }
}

/// One change to bytes that were right.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
}

pub(crate) fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), 1_u8..=255).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => any::<Index>().prop_map(Change::Cut),
        2 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    prop::collection::vec(change, 1..=most)
}

pub(crate) fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for change in changes {
        let places = out.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(places), to.index(places));
            from.min(to)..from.max(to)
        };
        match change {
            Change::Flip(at, bits) if !out.is_empty() => {
                let at = at.index(out.len());
                out[at] ^= bits;
            }
            Change::Flip(..) => {}
            Change::Cut(at) => out.truncate(at.index(places)),
            Change::Insert(at, more) => {
                let at = at.index(places);
                out.splice(at..at, more.iter().copied());
            }
            Change::Remove(from, to) => drop(out.drain(range(from, to))),
            Change::Repeat(from, to) => {
                let range = range(from, to);
                let (end, again) = (range.end, out[range].to_vec());
                out.splice(end..end, again);
            }
        }
    }
    out
}
