//! Clients that ask for chat completions, one request after the other on connections that stay open.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Outcome, all, float, percentile, step};
use crate::http::{read_body, read_head};
use crate::options::Options;

/// What a prompt is made of. Not one word again and again: a matcher should have something to look at.
const PROSE: &str = "A letter from the harbour said that the ships were late again and nobody knew why the wind had \
    turned so early in the year, so the clerks wrote long lists of barrels, ropes and lamps and waited for better news. ";

struct Times {
    whole: Duration,
    first: Option<Duration>,
    events: usize,
}

pub(crate) async fn ask(options: &Options) -> Outcome<Value> {
    let to = options.address("to")?;
    let (connections, seconds) = (options.several("connections")?, options.seconds()?);
    let streamed = match options.text("stream")? {
        "yes" => true,
        "no" => false,
        other => return Err(format!("usage: --stream {other:?} is neither yes nor no")),
    };
    let body = body(options.text("model")?, options.number("bytes")?, streamed);
    let request = request(options.text("key")?, &body, &to.to_string());
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let request = request.clone();
        tasks.spawn(async move {
            let mut stream = BufReader::with_capacity(256 * 1024, step(TcpStream::connect(to)).await?);
            step(async { stream.get_ref().set_nodelay(true) }).await?;
            // The first request of a connection pays for things that later ones have.
            one(&mut stream, &request).await?;
            let mut times = Vec::new();
            let began = Instant::now();
            while times.is_empty() || began.elapsed() < seconds {
                times.push(one(&mut stream, &request).await?);
            }
            Ok::<_, String>(times)
        });
    }
    let times = all(tasks).await?.into_iter().flatten().collect::<Vec<_>>();
    Ok(summary(&times, began.elapsed()))
}

async fn one(stream: &mut BufReader<TcpStream>, request: &[u8]) -> Outcome<Times> {
    let began = Instant::now();
    step(stream.write_all(request)).await?;
    let head = step(read_head(stream)).await?.ok_or("the connection ended before an answer")?;
    if !head.first_line.contains(" 200") {
        let mut text = Vec::new();
        step(read_body(stream, head.body, |piece| text.extend_from_slice(piece))).await?;
        return Err(format!("{}: {}", head.first_line, String::from_utf8_lossy(&text)));
    }
    let (mut first, mut events, mut held) = (None, 0, Vec::new());
    step(read_body(stream, head.body, |piece| {
        events += piece.windows(2).filter(|two| two == b"\n\n").count();
        if first.is_none() {
            held.extend_from_slice(piece);
            if has_text(&held) {
                first = Some(began.elapsed());
                held = Vec::new();
            }
        }
    }))
    .await?;
    Ok(Times { whole: began.elapsed(), first, events })
}

/// Whether there is text of the model that is not empty.
fn has_text(bytes: &[u8]) -> bool {
    const BEFORE: &[u8] = b"\"content\":\"";
    bytes.windows(BEFORE.len() + 1).any(|window| window.starts_with(BEFORE) && window.last() != Some(&b'"'))
}

fn body(model: &str, bytes: usize, streamed: bool) -> String {
    let prompt: String = PROSE.chars().cycle().take(bytes).collect();
    json!({ "model": model, "messages": [{ "role": "user", "content": prompt }], "stream": streamed }).to_string()
}

fn request(key: &str, body: &str, host: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nAccept: */*\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn summary(times: &[Times], elapsed: Duration) -> Value {
    let whole: Vec<Duration> = times.iter().map(|one| one.whole).collect();
    let first: Vec<Duration> = times.iter().filter_map(|one| one.first).collect();
    let events: u64 = times.iter().map(|one| one.events as u64).sum();
    json!({
        "requests": whole.len(),
        "per_second": float(whole.len() as u64) / elapsed.as_secs_f64(),
        "p50_us": percentile(&whole, 50),
        "p99_us": percentile(&whole, 99),
        "first_p50_us": percentile(&first, 50),
        "first_p99_us": percentile(&first, 99),
        "events": events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_is_no_first_token() {
        assert!(!has_text(br#"{"delta":{"role":"assistant","content":""}}"#));
        assert!(has_text(br#"{"delta":{"content":"The"}}"#));
    }
}
