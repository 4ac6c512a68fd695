//! Frames, records, handshakes and certificates as nobody honest sends them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsConnector, TlsStream};

use super::buffers::SIZE;
use super::identity;
use super::records::tests::{LOOPBACK, identity, name, pair, sockets};
use super::tls::{HandshakeError, Identity};
use super::wire::tests::{any_frame, encode};
use super::wire::{Decoder, Event, WireError};
use crate::hostile::{Change, Claim, changed, changes, corpus};

/// Far more than anything here takes, on a machine that others use too.
const SOON: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What the decoder makes of `pieces`: events, DATA joined, and how it ended.
fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>, Option<WireError>) {
    let (mut decoder, mut events, mut data) = (Decoder::default(), Vec::new(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Event::Data(bytes))) => data.extend_from_slice(bytes),
                Ok(Some(event)) => events.push(format!("{event:?} after {}", data.len())),
                Ok(None) => break,
                Err(error) => return (events, data, Some(error)),
            }
        }
        assert!(piece.is_empty(), "bytes were left over without an event");
    }
    (events, data, None)
}

const FRAMES: Claim = Claim {
    claim: "Whatever a peer sends as frames is an event or a named error, the same however it is cut, and the decoder holds at most 48 bytes of it",
    file: file!(),
    test: "hostile_frames_are_events_or_errors_however_they_are_cut",
};

#[test]
fn hostile_frames_are_events_or_errors_however_they_are_cut() {
    assert!(size_of::<Decoder>() <= 48 + 48, "the decoder keeps more than one control frame");
    for (name, bytes) in corpus("frames") {
        let whole = decoded(std::iter::once(&bytes[..]));
        assert_eq!(decoded(bytes.chunks(1)), whole, "{name}");
        // Files that begin so are to be refused, all others are right.
        assert_eq!(whole.2.is_some(), name.starts_with("bad-"), "{name}: {whole:?}");
    }
    let frames = prop::collection::vec(any_frame(), 0..8);
    let values = (frames, changes(6), 1_usize..300);
    FRAMES.holds(100_000, values, |(frames, changes, size)| {
        let bytes = changed(&frames.iter().flat_map(encode).collect::<Vec<_>>(), &changes);
        let whole = decoded(std::iter::once(&bytes[..]));
        prop_assert_eq!(decoded(bytes.chunks(size)), whole.clone());
        prop_assert!(whole.1.len() <= bytes.len());
        Ok(())
    });
}

const RECORDS: Claim = Claim {
    claim: "What was changed, cut, repeated or put in another order on the wire is never delivered: only what came before it is",
    file: file!(),
    test: "hostile_records_deliver_nothing_that_was_not_sent",
};

/// `count` records of rustls as they would go over the wire, each with its own number in it.
fn sealed(theirs: &mut TlsStream<tokio::net::TcpStream>, lengths: &[usize]) -> (Vec<Vec<u8>>, Vec<u8>) {
    use std::io::Write;
    let (mut records, mut sent) = (Vec::new(), Vec::new());
    for (number, length) in lengths.iter().enumerate() {
        let plaintext = vec![u8::try_from(number).unwrap(); *length];
        let mut record = Vec::new();
        let TlsStream::Client(stream) = &mut *theirs else { panic!("rustls is the client here") };
        let connection = stream.get_mut().1;
        connection.writer().write_all(&plaintext).unwrap();
        while connection.wants_write() {
            connection.write_tls(&mut record).unwrap();
        }
        records.push(record);
        sent.extend(plaintext);
    }
    (records, sent)
}

#[test]
fn hostile_records_deliver_nothing_that_was_not_sent() {
    let runtime = runtime();
    let lengths = prop::collection::vec(1_usize..3000, 1..6);
    let order = prop::collection::vec(any::<prop::sample::Index>(), 0..8);
    let values = (lengths, order, prop::option::of(changes(3)));
    RECORDS.holds(1000, values, |(lengths, order, changes): (_, Vec<prop::sample::Index>, Option<Vec<Change>>)| {
        let (got, outcome, sent, honest) = runtime.block_on(async {
            let (mut ours, mut theirs) = pair(false).await;
            let (records, sent) = sealed(&mut theirs, &lengths);
            // Records in an order of the attacker's, some twice and some never, then bytes of them changed.
            let chosen: Vec<u8> = if order.is_empty() {
                records.concat()
            } else {
                order.iter().flat_map(|index| index.get(&records).clone()).collect()
            };
            let wire = changes.as_ref().map_or_else(|| chosen.clone(), |changes| changed(&chosen, changes));
            let socket = theirs.get_mut().0;
            socket.write_all(&wire).await.unwrap();
            socket.shutdown().await.unwrap();
            let (mut got, mut buffer) = (Vec::new(), vec![0; SIZE]);
            let outcome = loop {
                match tokio::time::timeout(SOON, ours.read(&mut buffer)).await.expect("reading hangs") {
                    Ok(0) => break None,
                    Ok(count) => got.extend_from_slice(&buffer[..count]),
                    Err(error) => break Some(error),
                }
            };
            (got, outcome, sent, wire == records.concat())
        });
        prop_assert!(sent.starts_with(&got), "{} bytes came that were not sent so", got.len());
        prop_assert!(!honest || (got == sent && outcome.is_none()));
        Ok(())
    });
}

/// What a client says first.
fn client_hello(identity: &Identity) -> Vec<u8> {
    let mut connection = ClientConnection::new(identity.client_config(), name()).unwrap();
    let mut out = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut out).unwrap();
    }
    out
}

/// Sends `bytes` in place of a handshake, to our server or to our client, and ends. How our side ends, and how many bytes
/// it has said.
async fn handshake_with(identity: &Identity, bytes: &[u8], as_server: bool) -> (Option<HandshakeError>, usize) {
    let (mut theirs, ours) = sockets().await;
    let attack = async {
        // Our side may have gone already.
        if theirs.write_all(bytes).await.is_ok() {
            let _ = theirs.shutdown().await;
        }
        let mut said = Vec::new();
        let _ = theirs.read_to_end(&mut said).await;
        said.len()
    };
    let ours = async {
        let outcome =
            if as_server { identity.accept(ours, LOOPBACK).await } else { identity.connect(ours, LOOPBACK).await };
        outcome.err()
    };
    tokio::time::timeout(SOON, async { tokio::join!(ours, attack) }).await.expect("a handshake hangs")
}

const HANDSHAKES: Claim = Claim {
    claim: "No bytes in place of a handshake are let in, hang, or make either side crash",
    file: file!(),
    test: "hostile_handshakes_end",
};

#[test]
fn hostile_handshakes_end() {
    let (runtime, identity) = (runtime(), identity());
    let hello = client_hello(&identity);
    for (name, bytes) in corpus("handshakes") {
        for as_server in [true, false] {
            let (outcome, _) = runtime.block_on(handshake_with(&identity, &bytes, as_server));
            assert!(outcome.is_some(), "{name} was let in");
        }
    }
    let values = (prop::option::weighted(0.8, changes(4)), prop::collection::vec(any::<u8>(), 0..600), any::<bool>());
    HANDSHAKES.holds(4000, values, |(changes, garbage, as_server)| {
        let bytes = changes.map_or(garbage, |changes| changed(&hello, &changes));
        let (outcome, said) = runtime.block_on(handshake_with(&identity, &bytes, as_server));
        prop_assert!(outcome.is_some(), "it was let in");
        // An answer to a ClientHello is one flight; there is nothing to be amplified.
        prop_assert!(said < 16 * 1024, "{said} bytes were said");
        Ok(())
    });
}

const ENDLESS: Claim = Claim {
    claim: "A handshake that does not end, or has records longer than TLS allows, is given up after 64 KiB",
    file: file!(),
    test: "hostile_handshakes_that_are_oversized_are_given_up",
};

/// How many bytes our side takes before it gives up.
async fn taken(identity: &Identity, mut next: impl FnMut() -> Vec<u8>) -> usize {
    let (theirs, ours) = sockets().await;
    socket2::SockRef::from(&theirs).set_send_buffer_size(4096).unwrap();
    socket2::SockRef::from(&ours).set_recv_buffer_size(4096).unwrap();
    let outcome = std::pin::pin!(identity.accept(ours, LOOPBACK));
    let mut sent = 0;
    let mut theirs = theirs;
    let flood = async {
        loop {
            let bytes = next();
            if theirs.write_all(&bytes).await.is_err() {
                return;
            }
            sent += bytes.len();
        }
    };
    let refused =
        tokio::time::timeout(SOON, async { tokio::join!(outcome, flood).0 }).await.expect("it is never given up");
    assert!(refused.is_err());
    sent
}

#[test]
fn hostile_handshakes_that_are_oversized_are_given_up() {
    let (runtime, identity) = (runtime(), identity());
    let record = |kind: u8, length: usize| {
        let [.., high, low] = length.to_be_bytes();
        [&[kind, 3, 1, high, low][..], &vec![0; length]].concat()
    };
    // One handshake message of 16 MiB in many records; a record of 65,535 bytes; an alert that goes on; no record at all.
    let hello_of = |length: usize| {
        let mut bytes = record(22, 16_000);
        let [.., a, b, c] = length.to_be_bytes();
        bytes[5..9].copy_from_slice(&[1, a, b, c]);
        bytes
    };
    let mut most = 0;
    let mut first = true;
    let endless = || {
        if std::mem::take(&mut first) { hello_of(0xff_ffff) } else { record(22, 16_000) }
    };
    most = most.max(runtime.block_on(taken(&identity, endless)));
    for bytes in [record(22, 65_535), record(23, 16_641), record(0, 4000), vec![0xff; 4000]] {
        most = most.max(runtime.block_on(taken(&identity, || bytes.clone())));
    }
    // What the sockets' own buffers hold was sent, but not taken.
    assert!(most < 64 * 1024 + 65_540 + 32 * 1024, "{most} bytes were taken");
    ENDLESS.note(&[("kinds of endless handshakes", 5), ("bytes at most", most as u64)]);
}

const CHAINS: Claim = Claim {
    claim: "A chain of 100 certificates, all of one name so that any may have issued any, or a name of 30,000 characters is refused within a second",
    file: file!(),
    test: "hostile_chains_cost_little",
};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The stranger does not care whom it speaks to.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The client's configuration with a leaf of a stranger and 99 further certificates.
fn stranger(uri: &str) -> ClientConfig {
    let issuer = authority("one of many");
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap()), SanType::IpAddress(LOOPBACK)];
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let mut chain = vec![leaf.der().clone()];
    let others = if uri.len() < 1000 { 99 } else { 1 };
    chain.extend((0..others).map(|_| CertificateDer::from(authority("one of many").der().to_vec())));
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_client_auth_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap()
}

#[test]
fn hostile_chains_cost_little() {
    let (runtime, identity) = (runtime(), identity());
    let mut slowest = Duration::ZERO;
    let long = format!("spiffe://test/{}", "a".repeat(30_000));
    for uri in ["spiffe://test/ns/a/sa/b", &long] {
        let config = Arc::new(stranger(uri));
        let (client, server) = runtime.block_on(sockets());
        let began = Instant::now();
        let (outcome, _) = runtime.block_on(async {
            // The stranger's own outcome says nothing: it may end before or after it is told.
            tokio::join!(identity.accept(server, LOOPBACK), async {
                let connected = TlsConnector::from(config).connect(name(), client).await;
                if let Ok(mut stream) = connected {
                    let _ = stream.read_u8().await;
                }
            })
        });
        slowest = slowest.max(began.elapsed());
        let refused = outcome.err().expect("a stranger was let in").to_string();
        assert!(refused.contains("unknown authority") || refused.contains("certificate is not accepted"), "{refused}");
    }
    assert!(slowest < Duration::from_secs(1), "it took {slowest:?}");
    CHAINS.note(&[("certificates", 100), ("characters", 30_014), ("ms at most", slowest.as_millis() as u64)]);
}

const CERTIFICATES: Claim = Claim {
    claim: "Whatever is in a certificate, it is read or refused with a sentence",
    file: file!(),
    test: "hostile_certificates_are_read_or_refused",
};

#[test]
fn hostile_certificates_are_read_or_refused() {
    let issuer = authority("root");
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names =
        vec![SanType::URI("spiffe://test/ns/a/sa/b".try_into().unwrap()), SanType::IpAddress(LOOPBACK)];
    let right = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec();
    assert!(identity::check(&right, "test", LOOPBACK).is_ok());
    CERTIFICATES.holds(50_000, changes(5), |changes| {
        if let Err(why) = identity::check(&changed(&right, &changes), "test", LOOPBACK) {
            prop_assert!(!why.is_empty());
        }
        Ok(())
    });
}
