//! Who may reach which port of this pod: what the rules say of one connection. Pure.
//!
//! The same as `kube_gateway/model/authorization.py`, which says what the rules mean; the tests hold both against each
//! other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Effect,
    anyone: bool,
    peers: Vec<Pattern>,
    ports: Vec<(u16, u16)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(deserialize_with = "shared")]
    policy: Arc<str>,
    dry_run: bool,
    default: Effect,
    rules: Vec<Rule>,
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

/// The rules of a pod. None at all: everything is allowed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    policies: Vec<Policy>,
}

/// What decided: a policy, empty if none had anything to say, and the number of its rule from 1 on; 0 where no rule is
/// about the connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    pub allowed: bool,
    pub policy: Arc<str>,
    pub rule: usize,
}

/// `dry` is what would be if every dry run ended, `None` where that is allowed, or denied anyway.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub dry: Option<Verdict>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.policy.as_ref(), self.rule) {
            ("", _) => write!(f, "no policy is about it"),
            (policy, 0) => write!(f, "policy {policy}: no rule allows it"),
            (policy, rule) => write!(f, "policy {policy} rule {rule}"),
        }
    }
}

impl Authorization {
    /// Reads the rules as the watcher has compiled them; empty text is no rules.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        if text.is_empty() { Ok(Self::default()) } else { serde_json::from_slice(text) }
    }

    /// What the rules say of a connection of `peer`, a SPIFFE id, to `port`. `None` is a peer that has proved nothing.
    pub fn decide(&self, peer: Option<&str>, port: u16) -> Decision {
        let verdict = self.verdict(peer, port, false);
        let dry = verdict.allowed.then(|| self.verdict(peer, port, true)).filter(|verdict| !verdict.allowed);
        Decision { verdict, dry }
    }

    fn verdict(&self, peer: Option<&str>, port: u16, dry_runs: bool) -> Verdict {
        let (mut allowed, mut refused) = (None, None);
        for policy in self.policies.iter().filter(|policy| dry_runs || !policy.dry_run) {
            let verdict = |allowed, rule| Verdict { allowed, policy: Arc::clone(&policy.policy), rule };
            if policy.default == Effect::Deny {
                refused.get_or_insert_with(|| verdict(false, 0));
            }
            for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| rule.is_about(port)) {
                if rule.action == Effect::Allow {
                    refused.get_or_insert_with(|| verdict(false, 0));
                }
                if rule.meets(peer) {
                    if rule.action == Effect::Deny {
                        return verdict(false, index + 1);
                    }
                    allowed.get_or_insert_with(|| verdict(true, index + 1));
                }
            }
        }
        allowed.or(refused).unwrap_or(Verdict { allowed: true, policy: "".into(), rule: 0 })
    }
}

impl Rule {
    fn is_about(&self, port: u16) -> bool {
        self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Who has proved nothing may be anybody, so whoever is denied may be that one.
    fn meets(&self, peer: Option<&str>) -> bool {
        match peer {
            _ if self.anyone => true,
            None => self.action == Effect::Deny,
            Some(peer) => self.peers.iter().any(|pattern| pattern.matches(peer)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// Any bytes but the slash.
    Star,
    /// Any bytes.
    DoubleStar,
}

/// A pattern of SPIFFE ids.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Pattern {
    tokens: Vec<Token>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let (mut tokens, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
        loop {
            rest = match rest {
                [b'*', b'*', rest @ ..] => {
                    tokens.push(Token::DoubleStar);
                    rest
                }
                [b'*', rest @ ..] => {
                    tokens.push(Token::Star);
                    rest
                }
                [byte, rest @ ..] => {
                    tokens.push(Token::Byte(*byte));
                    rest
                }
                [] => return Self { tokens },
            };
        }
    }
}

impl Pattern {
    /// Follows all places of the pattern at once: never more work than both lengths multiplied.
    fn matches(&self, id: &str) -> bool {
        let mut places = vec![false; self.tokens.len() + 1];
        places[0] = true;
        self.step_behind_stars(&mut places);
        for byte in id.bytes() {
            let mut reached = vec![false; places.len()];
            for (place, token) in self.tokens.iter().enumerate().filter(|(place, _)| places[*place]) {
                match token {
                    Token::Byte(wanted) => reached[place + 1] |= *wanted == byte,
                    Token::Star => reached[place] |= byte != b'/',
                    Token::DoubleStar => reached[place] = true,
                }
            }
            if !reached.contains(&true) {
                return false;
            }
            self.step_behind_stars(&mut reached);
            places = reached;
        }
        places.last().is_some_and(|end| *end)
    }

    fn step_behind_stars(&self, places: &mut [bool]) {
        for (place, token) in self.tokens.iter().enumerate() {
            if places[place] && !matches!(token, Token::Byte(_)) {
                places[place + 1] = true;
            }
        }
    }
}

#[cfg(test)]
#[path = "authorization_tests.rs"]
mod tests;
