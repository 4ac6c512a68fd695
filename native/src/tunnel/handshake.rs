//! The TLS handshake, driven so that not a byte behind it is consumed: rustls is shown whole records, one after the other,
//! and what follows the last one belongs to the record layer.

use std::io;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ExtractedSecrets, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::records::{KeySchedule, Records};
use super::tls::HandshakeError;

/// A handshake is a few kilobytes; a peer that sends more without ending it is no peer.
const LONGEST: usize = 64 * 1024;
const READ: usize = 16 * 1024;
/// RFC 8446, 5.1 and 5.2: a record's types, and how long it may be.
const TYPES: std::ops::RangeInclusive<u8> = 20..=23;
const LONGEST_RECORD: usize = 16 * 1024 + 256;

/// What was agreed on.
pub struct Agreed {
    pub records: Records,
    /// The peer's own certificate first; empty if it presented none.
    pub chain: Vec<CertificateDer<'static>>,
    pub alpn: Option<Vec<u8>>,
    pub cipher: &'static str,
    pub key_exchange: &'static str,
}

enum Step {
    Again,
    Send,
    Receive,
    Done,
}

/// What both sides' connections have in common.
trait Side {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn state(&self) -> &CommonState;
    fn finish(self) -> Result<(ExtractedSecrets, KeySchedule), rustls::Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, KeySchedule), rustls::Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, schedule)| (secrets, KeySchedule::Client(schedule)))
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, KeySchedule), rustls::Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, schedule)| (secrets, KeySchedule::Server(schedule)))
    }
}

pub async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<Agreed, HandshakeError> {
    drive(UnbufferedClientConnection::new(config, name)?, stream).await
}

pub async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Result<Agreed, HandshakeError> {
    drive(UnbufferedServerConnection::new(config)?, stream).await
}

async fn drive<S: Side>(mut side: S, mut stream: TcpStream) -> Result<Agreed, HandshakeError> {
    let (mut incoming, mut shown, mut outgoing) = (Vec::new(), 0, Vec::new());
    loop {
        let step = match advance(side.process(&mut incoming[..shown]), &mut outgoing) {
            (discard, Ok(step)) => {
                incoming.drain(..discard);
                shown -= discard;
                step
            }
            (discard, Err(error)) => {
                incoming.drain(..discard);
                say_why(&mut side, &mut stream, &mut incoming[..shown - discard], &mut outgoing).await;
                return Err(error.into());
            }
        };
        match step {
            Step::Again => {}
            Step::Send => {
                stream.write_all(&outgoing).await?;
                outgoing.clear();
            }
            Step::Receive => shown = next_record(&mut stream, &mut incoming, shown).await?,
            Step::Done => break,
        }
    }
    let state = side.state();
    let agreed = (
        state.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect(),
        state.alpn_protocol().map(<[u8]>::to_vec),
        state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
        state.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or("unknown"),
    );
    let (chain, alpn, cipher, key_exchange) = agreed;
    let (secrets, schedule) = side.finish()?;
    let records = Records::new(stream, secrets, schedule, &incoming[shown..])?;
    Ok(Agreed { records, chain, alpn, cipher, key_exchange })
}

/// How many bytes of the input are done with, and what to do next.
fn advance<D>(status: UnbufferedStatus<'_, '_, D>, outgoing: &mut Vec<u8>) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Send)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Receive),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        _ => Err(rustls::Error::General("the peer ended the handshake in the middle".to_owned())),
    });
    (discard, step)
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let before = outgoing.len();
    let wanted = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(wanted)) => wanted.required_size,
        Ok(_) => return Ok(()),
        Err(error) => return Err(rustls::Error::General(error.to_string())),
    };
    outgoing.resize(before + wanted, 0);
    data.encode(&mut outgoing[before..]).map(drop).map_err(|error| rustls::Error::General(error.to_string()))
}

/// Sends the alert that rustls has ready, if it has one; the connection is lost either way. rustls remembers where in the
/// input it is, so it has to be shown the same again.
async fn say_why<S: Side>(side: &mut S, stream: &mut TcpStream, incoming: &mut [u8], outgoing: &mut Vec<u8>) {
    while let (0, Ok(Step::Again)) = advance(side.process(incoming), outgoing) {}
    if stream.write_all(outgoing).await.is_ok() {
        // With an end of its own, so that the alert is not overtaken by a reset.
        let _ = stream.shutdown().await;
    }
}

/// Reads until another whole record is there and returns the end of the last one that may be shown.
async fn next_record(stream: &mut TcpStream, incoming: &mut Vec<u8>, shown: usize) -> io::Result<usize> {
    loop {
        if let Some(&[kind, _, _, high, low]) = incoming[shown..].first_chunk::<5>() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if !TYPES.contains(&kind) || length > LONGEST_RECORD {
                // No record: rustls says what is wrong with it, and more of it is not waited for.
                return Ok(incoming.len());
            }
            let end = shown + 5 + length;
            if end <= incoming.len() {
                return Ok(end);
            }
        }
        if incoming.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless handshake"));
        }
        if incoming.capacity() == incoming.len() {
            incoming.reserve_exact(READ);
        }
        if stream.read_buf(incoming).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
