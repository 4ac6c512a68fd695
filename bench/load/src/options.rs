//! `--name value` pairs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// A day, in seconds.
const LONGEST: f64 = 86_400.0;

pub(crate) struct Options(HashMap<String, String>);

impl Options {
    /// Only options that are `known` count: one with a slip in its name would otherwise be left out in silence.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, String> {
        let mut found = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("usage: {word:?} is no option"))?;
            let value = words.next().ok_or_else(|| format!("usage: --{name} needs a value"))?;
            if !known.contains(&name) {
                return Err(format!("usage: --{name} is not an option of this verb"));
            }
            if found.insert(name.to_owned(), value).is_some() {
                return Err(format!("usage: --{name} is given twice"));
            }
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

    /// At least one: a check of nothing would succeed.
    pub(crate) fn several(&self, name: &str) -> Result<u64, String> {
        match self.number(name)? {
            0 => Err(format!("usage: --{name} has to be above zero")),
            number => Ok(number),
        }
    }

    pub(crate) fn address(&self, name: &str) -> Result<SocketAddr, String> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("usage: --{name} {text:?} is not ADDRESS:PORT"))
    }

    pub(crate) fn seconds(&self) -> Result<Duration, String> {
        let seconds = self.number::<f64>("seconds")?;
        if seconds > 0.0 && seconds <= LONGEST {
            Ok(Duration::from_secs_f64(seconds))
        } else {
            Err(format!("usage: --seconds {seconds} is not between 0 and {LONGEST}"))
        }
    }
}
