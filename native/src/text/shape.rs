//! Where things are in bodies: the mirror of `kube_gateway.ai.shape`, which has the words on each field.

use std::collections::BTreeMap;

use serde::Deserialize;

/// See `kube_gateway.ai.shape.When`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub path: String,
    pub any_of: Vec<String>,
    pub or_absent: bool,
    pub negated: bool,
}

/// See `kube_gateway.ai.shape.Lane`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lane {
    pub name: String,
    pub path: String,
    pub when: Vec<When>,
    pub key: Vec<String>,
    pub begins: Option<String>,
    pub deep: bool,
    pub complete: bool,
    pub copy: bool,
    pub escaped: bool,
    pub immutable: bool,
}

/// What a finder looks for: a lane, or other values under a name of the caller's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    pub name: String,
    pub path: String,
    pub when: Vec<When>,
    pub deep: bool,
    /// Also numbers, `true`, `false` and `null`.
    pub scalar: bool,
    /// Also arrays and objects.
    pub any: bool,
}

/// See `kube_gateway.ai.shape.End`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct End {
    pub when: Vec<When>,
    pub key: Vec<String>,
}

/// See `kube_gateway.ai.shape.ToolCall`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolCall {
    pub name: String,
    pub arguments: String,
    pub when: Vec<When>,
    pub key: Vec<String>,
    pub begins: Option<String>,
    pub deep: bool,
    pub copy: bool,
}

/// See `kube_gateway.ai.shape.ResponseShape`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseShape {
    pub lanes: Vec<Lane>,
    pub ends: Vec<End>,
    pub tools: Vec<ToolCall>,
    pub model: Vec<String>,
    pub usage: BTreeMap<String, Vec<String>>,
    pub usage_event: Vec<When>,
    pub usage_members: Vec<String>,
    pub finish: Vec<String>,
    pub captured: BTreeMap<String, String>,
    pub sequence: Option<String>,
    pub scrub: Vec<String>,
    pub scrub_after: Vec<String>,
    pub once: Vec<String>,
    pub error: Vec<When>,
    pub last: Option<String>,
}
