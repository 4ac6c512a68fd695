//! A shape, patterns and rules for tools, compiled into what is done with each value of an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::path::{PathError, StepId, Steps};
use super::patterns::Patterns;
use super::select::{Condition, Route, conditions};
use super::shape::{End, Lane, ResponseShape, ToolCall, When};
use super::tools::{RuleError, ToolRules};

/// What a value on some path is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Lane(usize),
    ToolName(usize),
    /// Where an end is looked for: the element, or the document, that its conditions and keys are in.
    End(usize),
    Model,
    Usage(usize),
    UsageMember,
    Finish,
    Captured(usize),
    Sequence,
    Scrub,
    ScrubAfter,
    Once,
}

/// A lane of the shape, see `kube_gateway.ai.shape.Lane`.
pub(super) struct LaneRule {
    pub(super) name: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) key: Vec<Route>,
    pub(super) begins: Option<Route>,
    pub(super) deep: bool,
    pub(super) complete: bool,
    pub(super) copy: bool,
    pub(super) escaped: bool,
    pub(super) immutable: bool,
    pub(super) patterns: Option<Arc<Patterns>>,
    pub(super) shadow: Option<Arc<Patterns>>,
    /// The call whose arguments these are, and on which conditions.
    pub(super) tool: Option<(usize, Vec<Condition>)>,
    /// From the arguments to the name of that call, where both are in one event.
    pub(super) named: Option<Route>,
}

pub(super) struct EndRule {
    pub(super) conditions: Vec<Condition>,
    pub(super) key: Vec<Route>,
}

/// A call of a tool, see `kube_gateway.ai.shape.ToolCall`.
pub(super) struct CallRule {
    pub(super) conditions: Vec<Condition>,
    pub(super) key: Vec<Route>,
    pub(super) begins: Option<Route>,
    /// From the name to the arguments, where both are in one event.
    pub(super) arguments: Route,
    pub(super) complete: bool,
    pub(super) copy: bool,
}

/// Everything about the answers to one kind of request, shared by all of them.
pub struct FilterPlan {
    pub(super) steps: Steps,
    pub(super) slots: usize,
    roles: Vec<Vec<Role>>,
    pub(super) lanes: Vec<LaneRule>,
    pub(super) ends: Vec<EndRule>,
    pub(super) calls: Vec<CallRule>,
    pub(super) rules: ToolRules,
    pub(super) usage: Vec<String>,
    pub(super) captured: Vec<String>,
    pub(super) usage_event: Vec<Condition>,
    pub(super) error: Vec<Condition>,
    pub(super) last: Option<String>,
}

/// Patterns by the name of the lane that they are for.
pub type ByLane = BTreeMap<String, Arc<Patterns>>;

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("unusable shape: {0}")]
    Path(#[from] PathError),
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// The lane of arguments of calls.
const ARGUMENTS: &str = "tool_arguments";

struct Builder {
    steps: Steps,
    slots: usize,
    places: Vec<(StepId, Role)>,
}

impl FilterPlan {
    pub fn new(shape: &ResponseShape, patterns: &ByLane, shadow: &ByLane, rules: ToolRules) -> Result<Self, PlanError> {
        let mut builder = Builder { steps: Steps::new(false), slots: 0, places: Vec::new() };
        let calls = if rules.is_empty() { &[][..] } else { &shape.tools };
        let lanes = builder.lanes(shape, calls, patterns, shadow)?;
        let calls = calls.iter().enumerate().map(|(index, call)| builder.call(index, call, &lanes));
        let calls = calls.collect::<Result<Vec<_>, PathError>>()?;
        let ends = shape.ends.iter().enumerate().map(|(index, end)| builder.end(index, end));
        let ends = ends.collect::<Result<Vec<_>, PathError>>()?;
        builder.members(shape)?;
        let top = builder.steps.add("")?;
        let usage_event = builder.conditions(top, &shape.usage_event)?;
        let error = builder.conditions(top, &shape.error)?;
        Ok(Self {
            roles: builder.roles(),
            steps: builder.steps,
            slots: builder.slots,
            lanes: lanes.into_iter().map(|(_, lane)| lane).collect(),
            ends,
            calls,
            rules,
            usage: shape.usage.keys().cloned().collect(),
            captured: shape.captured.keys().cloned().collect(),
            usage_event,
            error,
            last: shape.last.clone(),
        })
    }

    pub(super) fn roles(&self, step: StepId) -> &[Role] {
        self.roles.get(usize::from(step)).map_or(&[], Vec::as_slice)
    }
}

/// A lane and the path that it was made for.
type Placed = (String, LaneRule);

impl Builder {
    fn routes(&mut self, from: StepId, paths: &[String]) -> Result<Vec<Route>, PathError> {
        paths.iter().map(|path| self.route(from, path)).collect()
    }

    fn route(&mut self, from: StepId, path: &str) -> Result<Route, PathError> {
        let to = self.steps.add(path)?;
        Ok(Route::new(&self.steps, from, to))
    }

    fn conditions(&mut self, from: StepId, whens: &[When]) -> Result<Vec<Condition>, PathError> {
        conditions(&mut self.steps, from, whens, &mut self.slots)
    }

    fn lanes(
        &mut self,
        shape: &ResponseShape,
        calls: &[ToolCall],
        patterns: &ByLane,
        shadow: &ByLane,
    ) -> Result<Vec<Placed>, PathError> {
        let mut placed = Vec::new();
        for lane in &shape.lanes {
            let is_its = |call: &ToolCall| call.arguments == lane.path && !call.copy && lane.name == ARGUMENTS;
            let tool = calls.iter().position(is_its).map(|index| (index, &calls[index]));
            placed.push(self.lane(placed.len(), lane, tool, (patterns, shadow))?);
        }
        for (index, call) in calls.iter().enumerate() {
            let is_there = |(path, lane): &Placed| *path == call.arguments && lane.name == ARGUMENTS;
            if call.deep || call.copy || placed.iter().any(is_there) {
                continue;
            }
            let (path, when, key) = (call.arguments.clone(), call.when.clone(), call.key.clone());
            let lane =
                Lane { name: ARGUMENTS.to_owned(), path, when, key, begins: call.begins.clone(), ..Lane::default() };
            placed.push(self.lane(placed.len(), &lane, Some((index, call)), (patterns, shadow))?);
        }
        Ok(placed)
    }

    fn lane(
        &mut self,
        index: usize,
        lane: &Lane,
        tool: Option<(usize, &ToolCall)>,
        (patterns, shadow): (&ByLane, &ByLane),
    ) -> Result<Placed, PathError> {
        let step = self.steps.add(&lane.path)?;
        if lane.deep {
            self.steps.go_deep(step);
        }
        self.places.push((step, Role::Lane(index)));
        let named = tool.map(|(_, call)| self.route(step, &call.name)).transpose()?;
        let tool = tool.map(|(index, call)| Ok((index, self.conditions(step, &call.when)?))).transpose()?;
        let rule = LaneRule {
            conditions: self.conditions(step, &lane.when)?,
            key: self.routes(step, &lane.key)?,
            begins: lane.begins.as_ref().map(|path| self.route(step, path)).transpose()?,
            deep: lane.deep,
            complete: lane.complete || lane.copy || lane.deep,
            copy: lane.copy,
            escaped: lane.escaped,
            immutable: lane.immutable,
            patterns: patterns.get(&lane.name).filter(|patterns| !patterns.is_empty()).map(Arc::clone),
            shadow: shadow.get(&lane.name).filter(|patterns| !patterns.is_empty()).map(Arc::clone),
            name: lane.name.clone(),
            tool,
            named,
        };
        Ok((lane.path.clone(), rule))
    }

    fn call(&mut self, index: usize, call: &ToolCall, lanes: &[Placed]) -> Result<CallRule, PathError> {
        let name = self.steps.add(&call.name)?;
        self.places.push((name, Role::ToolName(index)));
        let stands_whole = |(path, lane): &Placed| *path == call.arguments && lane.complete;
        Ok(CallRule {
            conditions: self.conditions(name, &call.when)?,
            key: self.routes(name, &call.key)?,
            begins: call.begins.as_ref().map(|path| self.route(name, path)).transpose()?,
            arguments: self.route(name, &call.arguments)?,
            complete: call.deep || call.copy || lanes.iter().any(stands_whole),
            copy: call.copy,
        })
    }

    fn end(&mut self, index: usize, end: &End) -> Result<EndRule, PathError> {
        let mut place = self.steps.add("")?;
        if let Some(path) = end.key.last() {
            let key = self.steps.add(path)?;
            place = self.steps.shared(key, key);
        }
        self.places.push((place, Role::End(index)));
        Ok(EndRule { conditions: self.conditions(place, &end.when)?, key: self.routes(place, &end.key)? })
    }

    fn members(&mut self, shape: &ResponseShape) -> Result<(), PathError> {
        let names = shape.tools.iter().map(|call| &call.name);
        let begins = shape.tools.iter().filter_map(|call| call.begins.as_ref());
        let begins = begins.chain(shape.lanes.iter().filter_map(|lane| lane.begins.as_ref()));
        let once = shape.once.iter().chain(names).chain(begins);
        self.place(once, Role::Once)?;
        self.place(&shape.model, Role::Model)?;
        self.place(&shape.usage_members, Role::UsageMember)?;
        self.place(&shape.finish, Role::Finish)?;
        self.place(shape.sequence.iter(), Role::Sequence)?;
        self.place(&shape.scrub, Role::Scrub)?;
        self.place(&shape.scrub_after, Role::ScrubAfter)?;
        for (index, paths) in shape.usage.values().enumerate() {
            self.place(paths, Role::Usage(index))?;
        }
        for (index, path) in shape.captured.values().enumerate() {
            self.place([path], Role::Captured(index))?;
        }
        Ok(())
    }

    fn place<'a>(&mut self, paths: impl IntoIterator<Item = &'a String>, role: Role) -> Result<(), PathError> {
        for path in paths {
            let step = self.steps.add(path)?;
            if !self.places.contains(&(step, role)) {
                self.places.push((step, role));
            }
        }
        Ok(())
    }

    fn roles(&self) -> Vec<Vec<Role>> {
        let mut roles = vec![Vec::new(); self.steps.count()];
        for (step, role) in &self.places {
            roles[usize::from(*step)].push(*role);
        }
        roles
    }
}
