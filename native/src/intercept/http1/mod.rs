//! Requests of one connection, one after the other; within one, both directions at once.

pub mod answer;
pub mod call;
pub mod call_answer;
pub mod collect;
pub mod reply;
pub mod sending;

use std::time::Instant;

use super::connection::{Context, close};
use super::framing;
use super::head::{BadHead, Edit, Request, parse_request};
use super::input::{Broken, Wire, pump};
use super::policy::Again;
use crate::flow::counters::add;
use crate::log;
use answer::{After, Answer};
use sending::Sending;

/// What comes after an exchange.
pub enum Next {
    Request,
    /// The rest of the connection is not HTTP/1 any more.
    Tunnel,
    Close,
    /// The client has all that it gets; the server is to stop at once.
    Cut,
}

enum Begin {
    Request(Request),
    Bad(BadHead),
    /// The client has ended, perhaps in the middle of a head.
    End,
    /// The server has ended.
    ServerEnd,
    /// The server says something that nobody asked for.
    Unasked,
}

/// Serves requests until the connection ends. Of the first one, `forwarded` bytes are with the server already.
pub async fn serve(context: &Context, wire: &mut Wire<'_>, mut forwarded: usize) -> Result<(), Broken> {
    loop {
        let mut request = match next_request(wire).await? {
            Begin::Request(request) => request,
            Begin::Bad(why) => {
                refuse(context, wire, why).await?;
                return close(wire).await;
            }
            Begin::End => return end(wire, forwarded).await,
            Begin::ServerEnd => return server_end(wire).await,
            Begin::Unasked => return unasked(wire).await,
        };
        if request.head.skip(forwarded) {
            forwarded = 0;
        }
        match exchange(context, wire, &request, std::mem::take(&mut forwarded)).await? {
            Next::Request => {}
            Next::Tunnel => {
                add(&context.interception.counters.intercepted_tunnels, 1);
                return wire.tunnel().await;
            }
            Next::Close => return close(wire).await,
            Next::Cut => {
                wire.server_out.writer.reset();
                return close(wire).await;
            }
        }
    }
}

async fn next_request(wire: &mut Wire<'_>) -> Result<Begin, Broken> {
    if !wire.server.buffer.is_empty() {
        return Ok(Begin::Unasked);
    }
    loop {
        match parse_request(wire.client.buffer.bytes()) {
            Ok(Some(request)) => {
                wire.client.buffer.consume(request.head.raw().len());
                return Ok(Begin::Request(request));
            }
            Ok(None) => {}
            Err(why) => return Ok(Begin::Bad(why)),
        }
        if wire.client.ended {
            return Ok(Begin::End);
        }
        tokio::select! {
            biased;
            read = wire.client.fill() => drop(read?),
            read = wire.server.fill() => return Ok(if read? == 0 { Begin::ServerEnd } else { Begin::Unasked }),
        }
    }
}

async fn exchange(context: &Context, wire: &mut Wire<'_>, request: &Request, forwarded: usize) -> Result<Next, Broken> {
    let began = Instant::now();
    add(&context.interception.counters.intercepted_exchanges, 1);
    let read = framing::of_request(request)
        .and_then(|framing| Ok((framing, context.endpoint(&request.method, &request.target)?)));
    let (framing, endpoint) = match read {
        Ok(read) => read,
        Err(why) => {
            refuse(context, wire, why).await?;
            return Ok(Next::Close);
        }
    };
    let mut sending = Sending::new(framing);
    if let Some((policy, endpoint)) = endpoint {
        if forwarded > 0 {
            refuse(context, wire, BadHead("a method in an unusual spelling")).await?;
            return Ok(Next::Cut);
        }
        let call = call::Incoming { context, policy, endpoint, request, began };
        if let Some(next) = call.handle(wire, &mut sending).await? {
            return Ok(next);
        }
    }
    let edits = hop_edits(request, &sending);
    let mut head = if edits.is_empty() { request.head.raw().to_vec() } else { request.head.edited(None, &edits) };
    head.drain(..forwarded.min(head.len()));
    sending.put_first(head.into());
    pass(wire, request, &mut sending).await
}

/// Everything goes on as it is.
async fn pass(wire: &mut Wire<'_>, request: &Request, sending: &mut Sending) -> Result<Next, Broken> {
    let after = {
        let mut answer = Answer { server: &mut wire.server, out: &mut wire.client_out, request, sent: 0 };
        tokio::select! {
            biased;
            after = answer.pass() => after?,
            broken = sending.run(&mut wire.client, &mut wire.server_out) => return Err(broken),
        }
    };
    after_answer(wire, sending, after).await
}

/// The answer is with the client; the request may still be on its way.
async fn after_answer(wire: &mut Wire<'_>, sending: &mut Sending, after: After) -> Result<Next, Broken> {
    match after {
        After::Tunnel => return Ok(Next::Tunnel),
        After::Close => return Ok(Next::Close),
        After::Cut => return Ok(Next::Cut),
        After::Next => {}
    }
    tokio::select! {
        biased;
        complete = sending.complete(&mut wire.client, &mut wire.server_out) => {
            Ok(if complete? { Next::Request } else { Next::Close })
        }
        ended = wire.server.watch() => {
            ended?;
            Ok(Next::Close)
        }
    }
}

/// What concerns this connection alone and must not reach the server: a switch to HTTP/2 would hide what follows.
fn hop_edits(request: &Request, sending: &Sending) -> Vec<Edit> {
    let mut edits = Vec::new();
    if sending.invited {
        edits.push(("expect".to_owned(), None));
    }
    let offered = request.head.list("upgrade");
    if !offered.iter().any(|protocol| protocol == "h2c") && !request.head.has("http2-settings") {
        return edits;
    }
    let rest = |name: &str, without: &[&str]| {
        let kept: Vec<String> =
            request.head.list(name).into_iter().filter(|each| !without.contains(&each.as_str())).collect();
        (name.to_owned(), (!kept.is_empty()).then(|| kept.join(", ")))
    };
    let upgrade = rest("upgrade", &["h2c"]);
    let hops: &[&str] = if upgrade.1.is_none() { &["http2-settings", "upgrade"] } else { &["http2-settings"] };
    edits.extend([rest("connection", hops), upgrade, ("http2-settings".to_owned(), None)]);
    edits
}

/// 400: the head or the body of a request leaves room for two opinions.
async fn refuse(context: &Context, wire: &mut Wire<'_>, why: BadHead) -> Result<(), Broken> {
    add(&context.interception.counters.intercepted_malformed, 1);
    let subject = context.subject;
    log::debug(format!("connection {} to {}: refused a request: {why}", subject.connection, subject.destination));
    wire.client_out.send(&reply::plain(400, &format!("kube-gateway: {why}\n"), Again::No)).await
}

/// No more requests: what is left of one goes on, and so does what the server still says.
async fn end(wire: &mut Wire<'_>, forwarded: usize) -> Result<(), Broken> {
    let rest = wire.client.buffer.bytes().get(forwarded..).unwrap_or_default();
    wire.server_out.send(rest).await?;
    wire.server_out.end().await;
    pump(&mut wire.server, &mut wire.client_out).await
}

async fn server_end(wire: &mut Wire<'_>) -> Result<(), Broken> {
    wire.client_out.end().await;
    // Nothing could answer whatever else the client asks.
    if !wire.client.ended && wire.client.fill().await? > 0 {
        return Err(Broken::server("it has closed the connection"));
    }
    wire.server_out.end().await;
    Ok(())
}

/// Some servers say why they are about to close. Requests can no longer be told from each other's answers.
async fn unasked(wire: &mut Wire<'_>) -> Result<(), Broken> {
    tokio::select! {
        passed = pump(&mut wire.server, &mut wire.client_out) => passed?,
        ended = wire.client.watch() => ended?,
    }
    wire.server_out.end().await;
    if !wire.server.ended {
        pump(&mut wire.server, &mut wire.client_out).await?;
    }
    Ok(())
}
