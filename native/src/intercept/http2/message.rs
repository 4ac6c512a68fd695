//! Bodies under flow control, and heads as text.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::intercept::head::{Edit, latin1, media_type, to_latin1};

/// Fields of a connection or of framing: those do not exist here, or are not for a policy to set.
const NOT_HERE: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length"];

pub fn reason(error: &h2::Error) -> Reason {
    error.reason().unwrap_or(Reason::CANCEL)
}

pub fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
}

pub fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(http::header::CONTENT_TYPE).map(|value| media_type(&latin1(value.as_bytes())))
}

/// The elements of Content-Encoding, in lower case.
pub fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(http::header::CONTENT_ENCODING).iter().map(|value| latin1(value.as_bytes()));
    let lists: Vec<String> = values.collect();
    let elements = lists.iter().flat_map(|list| list.split(','));
    elements.map(|each| each.trim().to_ascii_lowercase()).filter(|each| !each.is_empty()).collect()
}

/// Makes edits in order. What is no field of HTTP/2 is left out.
pub fn edit(headers: &mut HeaderMap, edits: &[Edit]) {
    for (name, value) in edits {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if NOT_HERE.contains(&name.as_str()) {
            continue;
        }
        match value.as_ref().map(|value| HeaderValue::from_bytes(&to_latin1(value).collect::<Vec<u8>>())) {
            Some(Ok(value)) => drop(headers.insert(name, value)),
            Some(Err(_)) => {}
            None => drop(headers.remove(name)),
        }
    }
}

/// Sends all of `data` as the peer takes it.
pub async fn send(to: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Reason> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = match poll_fn(|cx| to.poll_capacity(cx)).await {
            Some(Ok(room)) => room.min(data.len()),
            Some(Err(error)) => return Err(reason(&error)),
            None => return Err(Reason::CANCEL),
        };
        to.send_data(data.split_to(room), false).map_err(|error| reason(&error))?;
    }
    Ok(())
}

pub fn end(to: &mut SendStream<Bytes>) -> Result<(), Reason> {
    to.send_data(Bytes::new(), true).map_err(|error| reason(&error))
}

/// The next piece of a body; the sender may go on as soon as it is here.
pub async fn next(from: &mut RecvStream) -> Option<Result<Bytes, Reason>> {
    let data = from.data().await?;
    Some(data.map_err(|error| reason(&error)).and_then(|data| {
        from.flow_control().release_capacity(data.len()).map_err(|error| reason(&error))?;
        Ok(data)
    }))
}

/// Ends a body as the other side ended it.
pub async fn finish(from: &mut RecvStream, to: &mut SendStream<Bytes>) -> Result<(), Reason> {
    match from.trailers().await.map_err(|error| reason(&error))? {
        Some(trailers) => to.send_trailers(trailers).map_err(|error| reason(&error)),
        None => end(to),
    }
}

/// Waits until the peer takes no more.
pub async fn given_up(to: &mut SendStream<Bytes>) -> Reason {
    poll_fn(|cx| to.poll_reset(cx)).await.unwrap_or(Reason::CANCEL)
}

/// Passes on the rest of a body, with its trailers. A piece is released when it is sent, so that a slow reader stops the
/// sender.
pub async fn pump(from: &mut RecvStream, to: &mut SendStream<Bytes>) -> Result<(), Reason> {
    loop {
        let data = tokio::select! {
            biased;
            data = from.data() => data,
            reason = given_up(to) => return Err(reason),
        };
        let Some(data) = data else { break };
        let data = data.map_err(|error| reason(&error))?;
        let length = data.len();
        send(to, data).await?;
        from.flow_control().release_capacity(length).map_err(|error| reason(&error))?;
    }
    finish(from, to).await
}
