//! Finds the values of interest in one document, such as the body of a request.

use super::json::{Invalid, Kind, Reader, Tree};
use super::path::{BELOW, PathError, StepId, Steps};
use super::select::{Answers, Condition, all_hold, conditions};
use super::shape::Wanted;

#[derive(Debug)]
struct Target {
    step: StepId,
    conditions: Vec<Condition>,
    deep: bool,
    scalar: bool,
    any: bool,
}

/// What is looked for, compiled.
#[derive(Debug)]
pub struct Finder {
    steps: Steps,
    targets: Vec<Target>,
    /// Indices of targets by step.
    at: Vec<Vec<usize>>,
    slots: usize,
}

/// A value that was looked for. Positions are bytes of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub wanted: usize,
    pub start: usize,
    pub end: usize,
    /// Where the member begins, name included.
    pub member: usize,
    pub kind: Kind,
}

impl Finder {
    pub fn new(wanted: &[Wanted], ignore_case: bool) -> Result<Self, PathError> {
        let mut steps = Steps::new(ignore_case);
        let mut slots = 0;
        let places: Vec<StepId> = wanted.iter().map(|wanted| steps.add(&wanted.path)).collect::<Result<_, _>>()?;
        let mut targets = Vec::with_capacity(wanted.len());
        for (wanted, step) in wanted.iter().zip(&places) {
            if wanted.deep {
                steps.go_deep(*step);
            }
            let conditions = conditions(&mut steps, *step, &wanted.when, &mut slots)?;
            targets.push(Target { step: *step, conditions, deep: wanted.deep, scalar: wanted.scalar, any: wanted.any });
        }
        let mut at = vec![Vec::new(); steps.count()];
        for (index, target) in targets.iter().enumerate() {
            at[usize::from(target.step)].push(index);
        }
        Ok(Self { steps, targets, at, slots })
    }

    /// Returns what is there, by its place in the document.
    pub fn find(&self, source: &[u8]) -> Result<Vec<Found>, Invalid> {
        let mut reader = Reader::default();
        let tree = reader.read(source, &self.steps)?;
        let mut answers = Answers::default();
        answers.reset(self.slots);
        let mut found = Vec::new();
        for node in 0..tree.nodes.len() as u32 {
            let step = tree.nodes[node as usize].step;
            if step == BELOW {
                continue;
            }
            for index in &self.at[usize::from(step)] {
                self.take(*index, &tree, node, &mut answers, &mut found);
            }
        }
        found.sort_by_key(|found| (found.start, found.wanted));
        Ok(found)
    }

    fn take(&self, wanted: usize, tree: &Tree<'_>, node: u32, answers: &mut Answers, found: &mut Vec<Found>) {
        let target = &self.targets[wanted];
        if !all_hold(&target.conditions, tree, node, answers) {
            return;
        }
        let mut push = |value: u32| {
            let value = &tree.nodes[value as usize];
            let (start, end, member) = (value.start as usize, value.end as usize, value.member as usize);
            found.push(Found { wanted, start, end, member, kind: value.kind });
        };
        if target.deep {
            tree.texts(node).for_each(push);
            return;
        }
        match tree.nodes[node as usize].kind {
            Kind::String => push(node),
            Kind::Array | Kind::Object if target.any => push(node),
            Kind::Null | Kind::True | Kind::False | Kind::Number if target.scalar || target.any => push(node),
            _ => {}
        }
    }
}

/// The ends (exclusive) of the objects at `path`.
pub fn objects(source: &[u8], path: &str) -> Result<Vec<usize>, FindError> {
    let wanted = Wanted { path: path.to_owned(), any: true, ..Wanted::default() };
    let found = Finder::new(&[wanted], false)?.find(source)?;
    Ok(found.iter().filter(|found| found.kind == Kind::Object).map(|found| found.end).collect())
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("not JSON: {0}")]
    Invalid(#[from] Invalid),
}
