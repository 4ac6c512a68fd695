//! `--name value` pairs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

pub(crate) struct Options(HashMap<String, String>);

impl Options {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut found = HashMap::new();
        let mut words = words;
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("usage: {word:?} is no option"))?;
            let value = words.next().ok_or_else(|| format!("usage: --{name} needs a value"))?;
            found.insert(name.to_owned(), value);
        }
        Ok(Self(found))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("usage: --{name} is missing"))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("usage: --{name} {text:?} is not a number"))
    }

    pub(crate) fn address(&self, name: &str) -> Result<SocketAddr, String> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("usage: --{name} {text:?} is not ADDRESS:PORT"))
    }

    pub(crate) fn seconds(&self) -> Result<Duration, String> {
        Duration::try_from_secs_f64(self.number("seconds")?).map_err(|error| format!("usage: --seconds: {error}"))
    }
}
