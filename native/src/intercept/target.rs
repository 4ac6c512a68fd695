//! Which requests are calls to look into: by method and path, never by host.
//!
//! Servers and frameworks differ in what they do to a path before they route it: some decode `%2F`, some merge slashes,
//! resolve dots, cut off parameters, or take no notice of upper case. A request is a call if any of these readings is one.
//! To look into a request too many does little harm; the policy sees that it is none. Readings that are calls of different
//! kinds are refused: whichever of them the policy sees, the server may take the body for the other.

use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, PatternSet};

use super::head::BadHead;

/// The endpoints of a policy: method, and what the path ends with.
pub struct Endpoints {
    methods: Vec<String>,
    paths: Regex,
    kinds: Vec<String>,
}

impl Endpoints {
    /// Each regular expression is matched against the path without its query, and has to reach its end. Endpoints whose
    /// bodies are read in the same way have the same one of `kinds`; where it ends, each has a kind of its own.
    pub fn new(endpoints: &[(String, String)], kinds: Vec<String>) -> Result<Self, Box<BuildError>> {
        let patterns: Vec<String> = endpoints.iter().map(|(_, path)| format!("(?:{path})/?\\z")).collect();
        let paths = Regex::builder()
            .syntax(syntax::Config::new().case_insensitive(true).unicode(false).utf8(false))
            .configure(Regex::config().utf8_empty(false).match_kind(regex_automata::MatchKind::All))
            .build_many(&patterns)
            .map_err(Box::new)?;
        Ok(Self { methods: endpoints.iter().map(|(method, _)| method.clone()).collect(), paths, kinds })
    }

    /// The endpoint that a request is for: of those that a path is for, the first.
    pub fn find(&self, method: &str, target: &str) -> Result<Option<usize>, BadHead> {
        let with_method = |index: &usize| self.methods[*index].eq_ignore_ascii_case(method);
        if !(0..self.methods.len()).any(|index| with_method(&index)) {
            return Ok(None);
        }
        let mut meant: Option<usize> = None;
        let mut found = PatternSet::new(self.paths.pattern_len());
        for path in readings(path_of(target)) {
            found.clear();
            self.paths.which_overlapping_matches(&Input::new(&path), &mut found);
            let Some(endpoint) = found.iter().map(|pattern| pattern.as_usize()).find(with_method) else { continue };
            if meant.is_some_and(|other| !self.are_alike(other, endpoint)) {
                return Err(BadHead("a path that can be read as different calls"));
            }
            meant = Some(meant.map_or(endpoint, |other| other.min(endpoint)));
        }
        Ok(meant)
    }

    fn are_alike(&self, one: usize, other: usize) -> bool {
        one == other || self.kinds.get(one).zip(self.kinds.get(other)).is_some_and(|(one, other)| one == other)
    }
}

/// The path of a request target in origin or absolute form, without query.
pub fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) => {
            rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    path.find(['?', '#']).map_or(path, |end| &path[..end])
}

/// How servers may read a path.
fn readings(raw: &str) -> Vec<String> {
    let mut readings = vec![raw.to_owned()];
    let mut add = |reading: String| {
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    };
    if raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_:".contains(&byte)) && !raw.contains("//") {
        return readings;
    }
    let once = decode(raw);
    let twice = decode(&once);
    for path in [raw, &once, &twice] {
        let path = path.replace('\\', "/");
        let bare = without_parameters(&path);
        for path in [&path, &bare] {
            add(path.clone());
            let merged = resolve(path, true);
            // Decoding, then cutting at what has become a query: as a server behind a server would.
            add(path_of(&merged).to_owned());
            add(merged);
            add(resolve(path, false));
        }
    }
    readings
}

/// Undoes percent-encoding, also of slashes. What is no UTF-8 after it has no place in a path of an endpoint.
fn decode(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Without `;parameters` of segments.
fn without_parameters(path: &str) -> String {
    let bare: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or("")).collect();
    bare.join("/")
}

/// Resolves `.` and `..`; `merge`: several slashes are one.
fn resolve(path: &str, merge: bool) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(out.pop()),
            "" if merge => {}
            segment => out.push(segment),
        }
    }
    format!("/{}", out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        let list = [
            ("POST", "/chat/completions"),
            ("POST", "/api/chat"),
            ("GET", "/models"),
            ("POST", "/models/(?P<model>.+):generateContent"),
            ("POST", "/api/blobs/[^/]+"),
            ("POST", "/deployments/[^/]+/chat/completions"),
        ];
        let kinds = ["chat", "ollama", "models", "gemini", "blobs", "chat"].map(str::to_owned).to_vec();
        Endpoints::new(&list.map(|(method, path)| (method.to_owned(), path.to_owned())), kinds).unwrap()
    }

    #[test]
    fn every_reading_of_a_path_is_found() {
        let endpoints = endpoints();
        let spellings = [
            "/v1/chat/completions",
            "/v1/chat/completions?api-version=1",
            "/v1/chat/completions/",
            "/openai/v1//chat//completions",
            "/v1/chat/./completions",
            "/v1/chat/x/../completions",
            "/v1/chat%2Fcompletions",
            "/v1/ch%61t/completions",
            "/v1/ch%2561t/completions",
            "/v1/chat;a=b/completions;c",
            "/V1/Chat/COMPLETIONS",
            "/v1\\chat\\completions",
            "http://ollama:11434/v1/chat/completions",
            "/v1/chat/%2e/completions#x",
            "/v1/chat/completions%3Fx=1",
        ];
        for target in spellings {
            assert_eq!(endpoints.find("POST", target), Ok(Some(0)), "{target}");
        }
        assert_eq!(endpoints.find("post", "/api/chat"), Ok(Some(1)));
        assert_eq!(endpoints.find("POST", "/v1beta/models/gemini-2.5:generateContent?alt=sse"), Ok(Some(3)));
    }

    #[test]
    fn what_is_no_call_is_not_found() {
        let endpoints = endpoints();
        let others = [
            ("GET", "/v1/chat/completions"),
            ("POST", "/v1/chat/completions/x"),
            ("POST", "/x?/v1/chat/completions"),
            ("POST", "*"),
            ("POST", ""),
            ("POST", "/%"),
            ("DELETE", "/models"),
            ("CONNECT", "models:443"),
        ];
        for (method, target) in others {
            assert_eq!(endpoints.find(method, target), Ok(None), "{method} {target}");
        }
    }

    #[test]
    fn a_path_that_is_one_call_here_and_another_there_is_refused() {
        let endpoints = endpoints();
        let others = [
            "/api/blobs/x%2F..%2F..%2Fchat",
            "/api/blobs/..%252Fchat",
            "/api/blobs/%2e%2e\\chat",
            "/models/x/../../api/chat;:generateContent",
            "/v1/chat/completions%3F/models/m:generateContent",
        ];
        for target in others {
            assert!(endpoints.find("POST", target).is_err(), "{target}");
        }
        for target in ["/api/blobs/sha256:0a", "/api/blobs/sha256%3A0a", "/x/../api/blobs/sha256:0a"] {
            assert_eq!(endpoints.find("POST", target), Ok(Some(4)), "{target}");
        }
        assert_eq!(endpoints.find("POST", "/deployments/azure%2Fgpt/chat/completions"), Ok(Some(0)));
    }
}
