//! The clients.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::options::Options;
use crate::pattern::{Checksum, Pattern};
use crate::server::{BUFFER, ECHO, PINGPONG, SINK, SOURCE, UPLOAD};

/// Nothing here takes this long for one step unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE: usize = 64;

pub(crate) type Outcome<T> = Result<T, String>;

pub(crate) async fn bulk(options: &Options) -> Outcome<Value> {
    let (to, connections, seconds) = (options.address("to")?, options.several("connections")?, options.seconds()?);
    let up = match options.text("direction")? {
        "up" => true,
        "down" => false,
        other => return Err(format!("usage: --direction {other:?} is neither up nor down")),
    };
    let moved = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let moved = Arc::clone(&moved);
        tasks.spawn(async move {
            let mut stream = open(to, if up { SINK } else { SOURCE }).await?;
            let mut buffer = vec![0x5a; BUFFER];
            if !up {
                step(stream.write_u64(u64::MAX)).await?;
            }
            loop {
                let length =
                    if up { step(stream.write(&buffer)).await? } else { step(stream.read(&mut buffer)).await? };
                if length == 0 {
                    return Err::<(), _>("the connection ended early".to_owned());
                }
                moved.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    }
    // The first moments are slow start and handshakes.
    wait_or_fail(&mut tasks, seconds / 5).await?;
    let (before, began) = (moved.load(Ordering::Relaxed), Instant::now());
    wait_or_fail(&mut tasks, seconds).await?;
    let (bytes, elapsed) = (moved.load(Ordering::Relaxed) - before, began.elapsed().as_secs_f64());
    if bytes == 0 {
        return Err("nothing moved".to_owned());
    }
    Ok(json!({ "bytes": bytes, "seconds": elapsed, "gbit_per_second": float(bytes) * 8.0 / elapsed / 1e9 }))
}

pub(crate) async fn echo(options: &Options) -> Outcome<Value> {
    let (to, connections) = (options.address("to")?, options.several("connections")?);
    let bytes = options.several("bytes")?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        // The first ones carry what cannot be divided.
        let each = bytes / connections + u64::from(connection < bytes % connections);
        tasks.spawn(async move {
            echo_one(to, connection, each).await.map_err(|error| format!("connection {connection}: {error}"))
        });
    }
    all(tasks).await?;
    let elapsed = began.elapsed().as_secs_f64();
    Ok(json!({ "bytes": bytes, "seconds": elapsed, "gbit_per_second": float(bytes) * 8.0 / elapsed / 1e9 }))
}

async fn echo_one(to: SocketAddr, connection: u64, bytes: u64) -> Outcome<()> {
    let stream = open(to, ECHO).await?;
    let pattern = Arc::new(Pattern::new(connection));
    let (mut reader, mut writer) = stream.into_split();
    let sent = Arc::clone(&pattern);
    let upload = tokio::spawn(async move {
        let mut offset = 0;
        while offset < bytes {
            let length = usize::try_from(bytes - offset).unwrap_or(BUFFER).min(BUFFER);
            offset += step(writer.write(sent.at(offset, length))).await? as u64;
        }
        step(writer.shutdown()).await
    });
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    loop {
        let length = step(reader.read(&mut buffer)).await.map_err(|error| format!("after {offset} bytes: {error}"))?;
        if length == 0 {
            break;
        }
        let expected = pattern.at(offset, length);
        if buffer[..length] != *expected {
            let first = buffer[..length].iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
            return Err(format!("byte {} differs", offset + first as u64));
        }
        offset += length as u64;
    }
    if offset != bytes {
        upload.abort();
        return Err(format!("{offset} of {bytes} bytes came back"));
    }
    upload.await.map_err(|error| error.to_string())?
}

pub(crate) async fn pingpong(options: &Options) -> Outcome<Value> {
    let (to, connections, seconds) = (options.address("to")?, options.several("connections")?, options.seconds()?);
    let began = Instant::now();
    let end = began + seconds;
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        tasks.spawn(async move {
            let mut stream = open(to, PINGPONG).await?;
            let mut times = Vec::new();
            let (mut message, mut answer) = ([7; MESSAGE], [0; MESSAGE]);
            message[..8].copy_from_slice(&connection.to_le_bytes());
            while Instant::now() < end {
                message[8..16].copy_from_slice(&(times.len() as u64).to_le_bytes());
                let sent = Instant::now();
                step(stream.write_all(&message)).await?;
                step(stream.read_exact(&mut answer)).await?;
                times.push(sent.elapsed());
                if answer != message {
                    return Err(format!("connection {connection}: answer {} differs", times.len()));
                }
            }
            Ok::<_, String>(times)
        });
    }
    let times = all(tasks).await?.concat();
    let elapsed = began.elapsed().as_secs_f64();
    Ok(json!({
        "p50_us": percentile(&times, 50), "p99_us": percentile(&times, 99),
        "per_second": float(times.len() as u64) / elapsed,
    }))
}

pub(crate) async fn connect(options: &Options) -> Outcome<Value> {
    let (to, concurrency) = (options.address("to")?, options.several("concurrency")?);
    let count = if options.has("count") { Some(options.several("count")?) } else { None };
    let began = Instant::now();
    let end = if count.is_some() { None } else { Some(began + options.seconds()?) };
    let left = Arc::new(AtomicU64::new(count.unwrap_or(u64::MAX)));
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let left = Arc::clone(&left);
        tasks.spawn(async move {
            let (mut times, mut errors) = (Vec::new(), BTreeMap::<String, u64>::new());
            while end.is_none_or(|end| Instant::now() < end)
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let started = Instant::now();
                match connect_one(to).await {
                    Ok(()) => times.push(started.elapsed()),
                    Err(error) => *errors.entry(error).or_default() += 1,
                }
            }
            Ok::<_, String>((times, errors))
        });
    }
    let (times, errors): (Vec<_>, Vec<_>) = all(tasks).await?.into_iter().unzip();
    let (times, elapsed) = (times.concat(), began.elapsed().as_secs_f64());
    let mut kinds = BTreeMap::<String, u64>::new();
    for (kind, number) in errors.into_iter().flatten() {
        *kinds.entry(kind).or_default() += number;
    }
    if count.is_some() && !kinds.is_empty() {
        return Err(format!("{} connections succeeded, others did not: {kinds:?}", times.len()));
    }
    Ok(json!({
        "connections": times.len(), "per_second": float(times.len() as u64) / elapsed, "errors": kinds,
        "p50_us": percentile(&times, 50), "p99_us": percentile(&times, 99),
    }))
}

async fn connect_one(to: SocketAddr) -> Outcome<()> {
    let mut stream = step(TcpStream::connect(to)).await?;
    step(async { stream.set_nodelay(true) }).await?;
    let mut message = [7; MESSAGE + 1];
    message[0] = PINGPONG;
    step(stream.write_all(&message)).await?;
    step(stream.read_exact(&mut message[1..])).await?;
    Ok(())
}

pub(crate) async fn upload(options: &Options) -> Outcome<Value> {
    let (to, bytes) = (options.address("to")?, options.number::<u64>("bytes")?);
    let began = Instant::now();
    let mut stream = open(to, UPLOAD).await?;
    let (pattern, mut checksum, mut offset) = (Pattern::new(0), Checksum::new(), 0);
    while offset < bytes {
        let piece = pattern.at(offset, usize::try_from(bytes - offset).unwrap_or(BUFFER).min(BUFFER));
        step(stream.write_all(piece)).await?;
        checksum.add(piece);
        offset += piece.len() as u64;
    }
    step(stream.shutdown()).await?;
    let answer = (step(stream.read_u64()).await?, step(stream.read_u64()).await?);
    if answer.0 != bytes {
        return Err(format!("the server got {} of {bytes} bytes", answer.0));
    }
    if answer.1 != checksum.finish() {
        return Err(format!("the server got other bytes than the {bytes} that were sent"));
    }
    Ok(json!({ "bytes": bytes, "seconds": began.elapsed().as_secs_f64() }))
}

async fn open(to: SocketAddr, mode: u8) -> Outcome<TcpStream> {
    let mut stream = step(TcpStream::connect(to)).await?;
    step(async { stream.set_nodelay(true) }).await?;
    step(stream.write_u8(mode)).await?;
    Ok(stream)
}

/// One step with an end to its patience.
pub(crate) async fn step<T>(work: impl Future<Output = io::Result<T>>) -> Outcome<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("no progress for a minute".to_owned()),
    }
}

pub(crate) async fn all<T: 'static>(mut tasks: JoinSet<Outcome<T>>) -> Outcome<Vec<T>> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.map_err(|error| error.to_string())??);
    }
    Ok(results)
}

/// Waits; a task that ends within that time has failed.
async fn wait_or_fail(tasks: &mut JoinSet<Outcome<()>>, time: Duration) -> Outcome<()> {
    match tokio::time::timeout(time, tasks.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(result)) => result.map_err(|error| error.to_string())?,
        Ok(None) => Err("there is nothing to measure".to_owned()),
    }
}

/// In microseconds.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than the 53 bits of a double")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
