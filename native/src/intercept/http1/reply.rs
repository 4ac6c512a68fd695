//! Answers of the gateway itself.

use crate::intercept::head::{Request, to_latin1};
use crate::intercept::policy::{Again, Reply};

/// Fields that say how a message is framed, which is not for a policy to say.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => "",
    }
}

/// The whole answer. `close`: the connection ends after it; `keep_alive`: an HTTP/1.0 client has to be told that it
/// does not.
pub fn complete(reply: &Reply, close: bool, keep_alive: bool) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status)).into_bytes();
    for (name, value) in &reply.headers {
        if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
            continue;
        }
        out.extend(to_latin1(name));
        out.extend_from_slice(b": ");
        out.extend(to_latin1(value));
        out.extend_from_slice(b"\r\n");
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", reply.body.len()).as_bytes());
    out.extend_from_slice(&reply.body);
    out
}

/// An answer in plain text, after which the connection ends.
pub fn plain(status: u16, text: &str, again: Again) -> Vec<u8> {
    complete(&Reply::plain(status, text, again), true, false)
}

/// Whether the connection ends after an answer to `request`, and whether its client has to be told if not.
pub fn persistence(request: &Request) -> (bool, bool) {
    let options = request.head.list("connection");
    let has = |option: &str| options.iter().any(|each| each == option);
    if request.is_1_1 { (has("close"), false) } else { (has("close") || !has("keep-alive"), true) }
}
