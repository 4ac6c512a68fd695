//! One connection of the application that is looked into, from its first bytes to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::head::BadHead;
use super::input::{Broken, Input, Output, Side, Wire};
use super::pipe::Pipe;
use super::policy::Policy;
use super::sniff::{self, First};
use super::{Interception, Subject, http1, http2};
use crate::flow::counters::{Active, add};
use crate::flow::sockets::{end_on_drop, reset_on_drop};
use crate::log;
use crate::tunnel::buffers::Buffer;

/// A client whose connection we end may still be sending: an end that it has not read yet must not be lost to a reset.
const FAREWELL: Duration = Duration::from_secs(30);

/// A policy, and the index of one of its endpoints.
pub type Called = (Arc<Box<dyn Policy>>, usize);

/// What the parts of the engine know of the connection that they work for.
pub struct Context {
    pub interception: Arc<Interception>,
    pub subject: Subject,
}

impl Context {
    /// The policy that is in force now, and the endpoint of it that a request is for, if it is for any.
    pub fn endpoint(&self, method: &str, target: &str) -> Result<Option<Called>, BadHead> {
        let Some(policy) = self.interception.policy.load_full() else { return Ok(None) };
        let endpoint = policy.endpoints().find(method, target)?;
        Ok(endpoint.map(|endpoint| (policy, endpoint)))
    }
}

pub async fn run(
    interception: Arc<Interception>,
    mut application: TcpStream,
    server: Pipe,
    subject: Subject,
    first: Vec<u8>,
) {
    let _active = Active::new(&interception.counters.intercepted_active);
    add(&interception.counters.intercepted_connections, 1);
    let context = Context { interception: Arc::clone(&interception), subject };
    let turn = {
        let (read, write) = application.split();
        let mut wire = Wire {
            client: Input::new(read, Side::Client),
            client_out: Output::new(write, Side::Client),
            server: Input::new(server.clone(), Side::Server),
            server_out: Output::new(server.clone(), Side::Server),
        };
        wire.client.buffer.append(&first);
        drop(first);
        converse(&context, &mut wire).await.map(|turn| (turn, [wire.client.buffer, wire.server.buffer]))
    };
    let result = match turn {
        Ok((Turn::Http2, early)) => {
            // Whoever speaks HTTP/2 knows by its frames what is whole.
            end_on_drop(&application);
            http2::serve(context, application, &server, early).await
        }
        Ok((Turn::Over, _)) => {
            end_on_drop(&application);
            Ok(())
        }
        Err(error) => {
            reset_on_drop(&application);
            Err(error)
        }
    };
    if let Err(error) = result {
        let counters = &interception.counters;
        match &error {
            Broken::Client(_) | Broken::Server(_) => {}
            Broken::Malformed => add(&counters.intercepted_malformed, 1),
            Broken::Policy(failed) => {
                add(&counters.llm_policy_failures, 1);
                interception.warn(subject, &format!("reset a connection to {}: {failed}", subject.destination));
            }
        }
        log::debug(format!("connection {} to {}: {error}", subject.connection, subject.destination));
        server.reset();
    }
}

enum Turn {
    Over,
    /// Nothing has been used yet.
    Http2,
}

async fn converse(context: &Context, wire: &mut Wire<'_>) -> Result<Turn, Broken> {
    let mut forwarded = 0;
    loop {
        let bytes = wire.client.buffer.bytes();
        let hold = match sniff::first(bytes) {
            First::Http1 => return http1::serve(context, wire, forwarded).await.map(|()| Turn::Over),
            First::Http2 => return Ok(Turn::Http2),
            First::Undecided { hold } => hold,
            First::Other if !bytes.is_empty() || wire.client.ended => break,
            First::Other => true,
        };
        if !hold && forwarded < bytes.len() {
            forwarded += wire.server_out.some(&bytes[forwarded..]).await?;
            continue;
        }
        tokio::select! {
            read = wire.client.fill() => if read? == 0 { break },
            // A server that speaks first speaks no HTTP/1.
            read = wire.server.fill(), if wire.server.buffer.is_empty() => {
                read?;
                if !sniff::is_settings(wire.server.buffer.bytes()) { break }
            }
        }
    }
    add(&context.interception.counters.intercepted_tunnels, 1);
    wire.client.buffer.consume(forwarded);
    wire.tunnel().await.map(|()| Turn::Over)
}

/// Ends both sides in order. What the client still sends is not read by anybody.
pub async fn close(wire: &mut Wire<'_>) -> Result<(), Broken> {
    wire.client_out.end().await;
    wire.server_out.end().await;
    let rest = async {
        loop {
            // With a full buffer nothing could be read, which looks like the end.
            wire.client.buffer = Buffer::default();
            if wire.client.fill().await? == 0 {
                return Ok(());
            }
        }
    };
    match tokio::time::timeout(FAREWELL, rest).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Client(std::io::ErrorKind::TimedOut.into())),
    }
}
