//! A server of OpenAI's chat completions that answers at once and always the same: what is measured is what is before it.
//!
//! A stream of the model `bench` comes as fast as it can, one of `bench-slow` with a pause after each event, and one of
//! `bench-short` is such a one of few events. The first text of that is decided: nothing that comes can make it a part of an
//! address. That of `bench-held` is a word that could still become one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::http::{Body, read_head};
use crate::options::Options;

const SHORT: [&str; 4] = ["Well, ", "the", " quick", " answer"];
const HELD: [&str; 4] = ["The", " quick", " answer", " of"];

/// Whether a stream is asked for, and of which model, stands near the begin or the end of a body, whoever wrote it.
const LOOK_AT: usize = 1024;

/// What is said over and over in a stream, a piece an event; the last pieces come once, at the end.
const PIECES: [&str; 12] =
    ["The", " quick", " answer", " of", " a", " model", " comes", " in", " small", " pieces", ",", " like"];
const LAST: [&str; 7] = [" write", " to", " ada@", "example", ".org", " about", " bananas"];

struct Answers {
    whole: Vec<u8>,
    head: Vec<u8>,
    events: Vec<Vec<u8>>,
    short: Vec<Vec<u8>>,
    held: Vec<Vec<u8>>,
    pause: Duration,
}

enum Asked {
    Whole,
    Stream,
    Slow,
    Short,
    Held,
}

pub(crate) async fn serve(options: &Options) -> Result<Value, String> {
    let address = options.address("listen")?;
    let answers = Arc::new(Answers::new(options.number("events")?, options.number("pause-us")?));
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("ready");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                // A client that goes away in the middle is its own business.
                drop(tokio::spawn(async move { drop(connection(stream, &answers).await) }));
            }
            Err(error) => {
                eprintln!("error: accept: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    while let Some(head) = read_head(&mut stream).await? {
        let Body::Length(length) = head.body else {
            stream.write_all(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(());
        };
        match asked(&mut stream, length).await? {
            Asked::Whole => stream.write_all(&answers.whole).await?,
            Asked::Stream => answers.stream(&mut stream, &answers.events, Duration::ZERO).await?,
            Asked::Slow => answers.stream(&mut stream, &answers.events, answers.pause).await?,
            Asked::Short => answers.stream(&mut stream, &answers.short, answers.pause).await?,
            Asked::Held => answers.stream(&mut stream, &answers.held, answers.pause).await?,
        }
    }
    Ok(())
}

/// Reads a body and looks at its begin and its end.
async fn asked(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Asked> {
    let mut begin = vec![0; length.min(LOOK_AT)];
    stream.read_exact(&mut begin).await?;
    let middle = length.saturating_sub(2 * LOOK_AT) as u64;
    tokio::io::copy_buf(&mut (&mut *stream).take(middle), &mut tokio::io::sink()).await?;
    let mut end = vec![0; length.saturating_sub(begin.len()).saturating_sub(usize::try_from(middle).unwrap_or(0))];
    stream.read_exact(&mut end).await?;
    begin.extend_from_slice(&end);
    let mut text = String::from_utf8_lossy(&begin).into_owned();
    text.retain(|character| character != ' ');
    Ok(if !text.contains("\"stream\":true") {
        Asked::Whole
    } else if text.contains("\"bench-slow\"") {
        Asked::Slow
    } else if text.contains("\"bench-short\"") {
        Asked::Short
    } else if text.contains("\"bench-held\"") {
        Asked::Held
    } else {
        Asked::Stream
    })
}

impl Answers {
    fn new(events: usize, pause: u64) -> Self {
        let said: Vec<&str> = PIECES.iter().copied().cycle().take(events).chain(LAST).collect();
        let usage = json!({ "prompt_tokens": 100, "completion_tokens": said.len(), "total_tokens": 100 + said.len() });
        let message = json!({ "role": "assistant", "content": said.concat(), "refusal": null });
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
        let mut whole = head("chat.completion");
        whole["choices"] = json!([choice]);
        whole["usage"] = usage;
        let whole = whole.to_string();
        Self {
            whole: answer("application/json", &format!("Content-Length: {}", whole.len()), &whole),
            head: answer("text/event-stream", "Transfer-Encoding: chunked", ""),
            events: stream_of(&said),
            short: stream_of(&SHORT),
            held: stream_of(&HELD),
            pause: Duration::from_micros(pause),
        }
    }

    /// Each event is a write of its own, as a server makes one for each token.
    async fn stream(&self, to: &mut BufReader<TcpStream>, events: &[Vec<u8>], pause: Duration) -> io::Result<()> {
        to.write_all(&self.head).await?;
        for event in events {
            to.write_all(event).await?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        to.write_all(b"0\r\n\r\n").await
    }
}

/// The chunks of a stream that says these pieces.
fn stream_of(said: &[&str]) -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = vec![event(&json!({ "role": "assistant", "content": "" }), &Value::Null)];
    lines.extend(said.iter().map(|piece| event(&json!({ "content": piece }), &Value::Null)));
    lines.push(event(&json!({}), &json!("stop")));
    lines.push("data: [DONE]\n\n".to_owned());
    lines.iter().map(|line| format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()).collect()
}

fn answer(kind: &str, framing: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n{body}").into_bytes()
}

fn event(delta: &Value, finish: &Value) -> String {
    let mut chunk = head("chat.completion.chunk");
    chunk["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]);
    format!("data: {chunk}\n\n")
}

fn head(kind: &str) -> Value {
    json!({ "id": "chatcmpl-bench", "object": kind, "created": 1_767_225_600, "model": "bench" })
}
