//! What a filter has seen: the mirror of `kube_gateway.ai.dialect.Outcome`, which has the words on each field.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::view;

/// A mapping in the order in which its keys were seen.
#[derive(Debug, Clone)]
pub struct Seen<V>(Vec<(String, V)>);

impl<V> Default for Seen<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> Seen<V> {
    pub fn entry(&mut self, key: &str) -> &mut V {
        let at = self.0.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), V::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

impl<V: Serialize> Serialize for Seen<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Reasons to finish, and ends, that are noted.
const MOST: usize = 1024;
/// Bytes of one of them. No API has longer ones, and they are kept for as long as the answer takes.
const LONGEST: usize = 256;

/// See `kube_gateway.ai.dialect.Outcome`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    pub events: u64,
    pub sent: u64,
    pub opened: bool,
    pub model: Option<String>,
    pub usage: Seen<u64>,
    pub finish: Vec<String>,
    pub captured: Seen<String>,
    pub sequence: Option<i64>,
    pub open_keys: Vec<Vec<String>>,
    pub ended_keys: Vec<Vec<String>>,
    pub characters: Seen<u64>,
    pub matches: Seen<u64>,
    pub shadow_matches: Seen<u64>,
    pub unreadable: u64,
    pub texts: Seen<String>,
    pub denied: Option<String>,
    pub cut: bool,
    pub failed: bool,
    pub done: bool,
}

impl Outcome {
    pub(super) fn note_finish(&mut self, reason: &str) {
        let fits = !reason.is_empty() && reason.len() <= LONGEST && self.finish.len() < MOST;
        if fits && !self.finish.iter().any(|known| known == reason) {
            self.finish.push(reason.to_owned());
        }
    }

    pub(super) fn note_end(&mut self, key: &str) {
        if key.len() > LONGEST || self.ended_keys.len() >= MOST {
            return;
        }
        let parts = view::parts(key);
        if !self.ended_keys.contains(&parts) {
            self.ended_keys.push(parts);
        }
    }
}
