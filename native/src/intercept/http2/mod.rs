//! HTTP/2 without TLS, by prior knowledge: two connections back to back, stream by stream.
//!
//! What concerns a connection (settings, windows, pings) is each side's own; streams go on with their headers, their
//! data under flow control, their trailers and their resets, so that gRPC passes. WebSockets over HTTP/2 (RFC 8441) are
//! not offered, and neither is server push.

pub mod call;
pub mod call_answer;
pub mod io;
pub mod message;
pub mod stream;

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::io::Rewound;
use super::connection::Context;
use super::input::Broken;
use super::pipe::Pipe;
use crate::flow::counters::add;
use crate::tunnel::buffers::Buffer;

/// Streams at once; most servers allow 100 to 250.
const MOST_STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const LONGEST_HEADERS: u32 = 64 * 1024;
/// What may wait to be sent of one stream.
const SEND_BUFFER: usize = 256 * 1024;

type Client = h2::server::Connection<Rewound<TcpStream>, Bytes>;

/// Serves a connection to its end. Both sides have said whatever is in `early` already.
pub async fn serve(context: Context, application: TcpStream, server: &Pipe, early: [Buffer; 2]) -> Result<(), Broken> {
    let [from_client, from_server] = early;
    let mut client: Client = h2::server::Builder::new()
        .max_concurrent_streams(MOST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LONGEST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Rewound { early: from_client, stream: application })
        .await
        .map_err(|error| Broken::Client(std::io::Error::other(error)))?;
    let (upstream, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LONGEST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(Rewound { early: from_server, stream: server.clone() })
        .await
        .map_err(|error| Broken::Server(std::io::Error::other(error)))?;
    let mut tasks = JoinSet::new();
    let (leaving, mut left) = watch::channel(false);
    let told = leaving.clone();
    tasks.spawn(async move {
        // Also when it says goodbye and its streams have ended.
        let result = connection.await;
        told.send_replace(true);
        if let Err(error) = result {
            crate::log::debug(format!("a server's connection of HTTP/2 ended: {error}"));
        }
    });
    let context = Arc::new(context);
    accept(&context, &mut client, &upstream, &mut tasks, (leaving, &mut left)).await
    // Whatever is still under way is dropped with `tasks`, which cancels it on the server.
}

async fn accept(
    context: &Arc<Context>,
    client: &mut Client,
    upstream: &h2::client::SendRequest<Bytes>,
    tasks: &mut JoinSet<()>,
    (leaving, left): (watch::Sender<bool>, &mut watch::Receiver<bool>),
) -> Result<(), Broken> {
    let mut saying_goodbye = false;
    loop {
        let accepted = tokio::select! {
            accepted = client.accept() => accepted,
            _ = left.wait_for(|leaving| *leaving), if !saying_goodbye => {
                saying_goodbye = true;
                client.graceful_shutdown();
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Some(Ok((request, respond))) => {
                add(&context.interception.counters.intercepted_exchanges, 1);
                let stream = stream::Stream::new(Arc::clone(context), upstream.clone(), leaving.clone());
                tasks.spawn(stream.serve(request, respond));
            }
            Some(Err(error)) => return Err(Broken::Client(std::io::Error::other(error))),
            None => return Ok(()),
        }
    }
}
