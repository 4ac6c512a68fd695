//! A peer that says on a stream whatever it likes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::application::Socket;
use super::counters::Counters;
use super::relay::relay;
use crate::hostile::{Claim, changed, changes};
use crate::tunnel::session::Session;
use crate::tunnel::wire::tests::{Owned, any_frame, encode};
use crate::tunnel::wire::{self, Decoder, Event};

const SOON: Duration = Duration::from_secs(20);

/// The application's socket, in memory.
struct Near(DuplexStream);

impl Socket for Near {
    fn reset_on_drop(&self) {}
    fn end_on_drop(&self) {}
}

impl AsyncRead for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The payload of the stream that `bytes` begin with: all that comes before its end, or before what has no place in it.
fn payload(bytes: &[u8]) -> Vec<u8> {
    let (mut decoder, mut rest, mut out) = (Decoder::default(), bytes, Vec::new());
    while let Ok(Some(event)) = decoder.next(&mut rest) {
        match event {
            Event::Data(data) => out.extend_from_slice(data),
            Event::GoAway => {}
            _ => break,
        }
    }
    out
}

const STREAMS: Claim = Claim {
    claim: "Whatever a peer says on a stream, the application gets the payload before the first thing that is wrong, in order, and nothing else",
    file: file!(),
    test: "hostile_streams_deliver_only_their_payload",
};

/// What reached the application, and whether the session could go on.
async fn carried(bytes: &[u8], says: &[u8]) -> (Vec<u8>, bool) {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let (ours, mut peer) = tokio::io::duplex(64 * 1024);
    let counters = Counters::default();
    let mut near = Near(near);
    let mut session = Session::new(ours, None);
    let stream = async {
        let result = relay(&mut near, &mut session, &counters, None).await;
        drop((near, session));
        matches!(result, Ok(true))
    };
    let attack = async {
        // The other side may have ended before all is said.
        let _ = peer.write_all(bytes).await;
        let _ = peer.shutdown().await;
        let mut heard = Vec::new();
        let _ = peer.read_to_end(&mut heard).await;
    };
    let application = async {
        let _ = far.write_all(says).await;
        let _ = far.shutdown().await;
        let mut got = Vec::new();
        let _ = far.read_to_end(&mut got).await;
        got
    };
    let all = async { tokio::join!(stream, attack, application) };
    let (goes_on, (), got) = tokio::time::timeout(SOON, all).await.expect("a stream hangs");
    (got, goes_on)
}

#[test]
fn hostile_streams_deliver_only_their_payload() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let frames = prop::collection::vec(any_frame(), 0..8);
    let values = (frames, any::<bool>(), prop::option::of(changes(4)), prop::collection::vec(any::<u8>(), 0..2000));
    STREAMS.holds(20_000, values, |(frames, ends, changes, says): (Vec<Owned>, _, _, _)| {
        let mut bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        if ends {
            bytes.extend(wire::fin());
        }
        let bytes = changes.map_or_else(|| bytes.clone(), |changes| changed(&bytes, &changes));
        let (got, goes_on) = runtime.block_on(carried(&bytes, &says));
        let expected = payload(&bytes);
        prop_assert!(expected.starts_with(&got), "{} of {} bytes, and other ones", got.len(), expected.len());
        prop_assert!(!goes_on || got == expected);
        Ok(())
    });
}
