//! Paths to members of a document, as one tree that is walked once while the document is read.
//!
//! All paths that somebody is interested in are joined into `Steps`. The parser goes along and notes only values that
//! stand on one of them, so that a body of many megabytes costs no more memory than the part that matters.

/// Index of a step in `Steps`.
pub type StepId = u16;

/// The document itself.
pub const TOP: StepId = 0;
/// Not on any path.
pub const NOWHERE: StepId = u16::MAX;
/// A string or a number somewhere below a path that goes deep.
pub const BELOW: StepId = u16::MAX - 1;

#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("path {0:?} has an empty name")]
    EmptyName(String),
    #[error("too many different paths")]
    TooMany,
}

#[derive(Debug)]
struct Step {
    parent: StepId,
    is_element: bool,
    deep: bool,
    element: StepId,
    members: Vec<(Box<str>, StepId)>,
}

/// The tree of all paths.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<Step>,
    ignore_case: bool,
}

impl Step {
    fn new(parent: StepId, is_element: bool) -> Self {
        Self { parent, is_element, deep: false, element: NOWHERE, members: Vec::new() }
    }
}

impl Steps {
    /// `ignore_case`: names of members match in any case, as they do for servers written in Go.
    pub fn new(ignore_case: bool) -> Self {
        Self { steps: vec![Step::new(TOP, false)], ignore_case }
    }

    pub fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// Adds `path`, such as `messages[].content[].text`; the empty one is the document.
    pub fn add(&mut self, path: &str) -> Result<StepId, PathError> {
        let mut at = TOP;
        if path.is_empty() {
            return Ok(at);
        }
        for (index, part) in path.split('.').enumerate() {
            let name = part.trim_end_matches("[]");
            let elements = (part.len() - name.len()) / 2;
            if !name.is_empty() {
                at = self.add_member(at, name)?;
            } else if index > 0 || elements == 0 {
                return Err(PathError::EmptyName(path.to_owned()));
            }
            for _ in 0..elements {
                at = self.add_element(at)?;
            }
        }
        Ok(at)
    }

    /// Has every string and number below this step noted.
    pub fn go_deep(&mut self, step: StepId) {
        if let Some(step) = self.steps.get_mut(usize::from(step)) {
            step.deep = true;
        }
    }

    pub fn is_deep(&self, step: StepId) -> bool {
        self.get(step).is_some_and(|step| step.deep)
    }

    /// How many steps there are; ids are below that.
    pub fn count(&self) -> usize {
        self.steps.len()
    }

    /// The step of a member called `name`, as it is after unescaping.
    pub fn member(&self, step: StepId, name: &str) -> StepId {
        let Some(step) = self.get(step) else { return NOWHERE };
        let same = |known: &str| if self.ignore_case { is_folded(known, name) } else { known == name };
        step.members.iter().find(|(known, _)| same(known)).map_or(NOWHERE, |(_, id)| *id)
    }

    pub fn has_members(&self, step: StepId) -> bool {
        self.get(step).is_some_and(|step| !step.members.is_empty())
    }

    pub fn element(&self, step: StepId) -> StepId {
        self.get(step).map_or(NOWHERE, |step| step.element)
    }

    pub fn is_element(&self, step: StepId) -> bool {
        self.get(step).is_some_and(|step| step.is_element)
    }

    /// The steps from the top to `step`, both included.
    pub fn line(&self, step: StepId) -> Vec<StepId> {
        let mut line = vec![step];
        let mut at = step;
        while at != TOP {
            at = self.get(at).map_or(TOP, |step| step.parent);
            line.push(at);
        }
        line.reverse();
        line
    }

    /// The last element that both lines go through, or the top: there, the same value is meant for both.
    pub fn shared(&self, one: StepId, other: StepId) -> StepId {
        let pairs = self.line(one).into_iter().zip(self.line(other));
        let common = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a);
        common.filter(|step| self.is_element(*step)).last().unwrap_or(TOP)
    }

    fn get(&self, step: StepId) -> Option<&Step> {
        self.steps.get(usize::from(step))
    }

    fn add_member(&mut self, at: StepId, name: &str) -> Result<StepId, PathError> {
        let known = self.member(at, name);
        if known != NOWHERE {
            return Ok(known);
        }
        let new = self.push(at, false)?;
        self.steps[usize::from(at)].members.push((name.into(), new));
        Ok(new)
    }

    fn add_element(&mut self, at: StepId) -> Result<StepId, PathError> {
        let known = self.element(at);
        if known != NOWHERE {
            return Ok(known);
        }
        let new = self.push(at, true)?;
        self.steps[usize::from(at)].element = new;
        Ok(new)
    }

    fn push(&mut self, parent: StepId, is_element: bool) -> Result<StepId, PathError> {
        let new = StepId::try_from(self.steps.len()).ok().filter(|id| *id < BELOW).ok_or(PathError::TooMany)?;
        self.steps.push(Step::new(parent, is_element));
        Ok(new)
    }
}

/// Whether both are the same name without case. For Go, two letters of ASCII have a third form, which takes more bytes.
pub fn is_folded(known: &str, name: &str) -> bool {
    let fold = |char: char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    known.eq_ignore_ascii_case(name) || known.len() < name.len() && known.chars().map(fold).eq(name.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_as_servers_do() {
        for name in ["tasks", "TASKS", "ta\u{17f}k\u{17f}", "Tas\u{212a}S"] {
            assert!(is_folded("tasks", name), "{name:?}");
        }
        for name in ["task", "tasksk", "ta\u{df}ks", "ta\u{17f}ks\u{17f}", "ta\u{15f}ks", "\u{17f}"] {
            assert!(!is_folded("tasks", name), "{name:?}");
        }
    }
}
