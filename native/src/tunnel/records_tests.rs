//! Our record layer against rustls' own, in either role.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::*;
use crate::tunnel::tls::Identity;

pub(crate) const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) fn name() -> ServerName<'static> {
    ServerName::IpAddress(LOOPBACK.into())
}

pub(crate) fn identity() -> Identity {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names =
        vec![SanType::URI("spiffe://test/ns/a/sa/b".try_into().unwrap()), SanType::IpAddress(LOOPBACK)];
    let key = KeyPair::generate().unwrap();
    let chain = leaf.signed_by(&key, &issuer).unwrap().pem();
    Identity::new(1, &chain, &key.serialize_pem(), &issuer.pem(), "test").unwrap()
}

pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Ours as the client or as the server, rustls at the other end.
pub(crate) async fn pair(ours_is_client: bool) -> (Records, TlsStream<TcpStream>) {
    let identity = identity();
    let (client, server) = sockets().await;
    if ours_is_client {
        let theirs = TlsAcceptor::from(identity.server_config());
        let (ours, theirs) = tokio::join!(identity.connect(client, LOOPBACK), theirs.accept(server));
        (ours.unwrap().transport, theirs.unwrap().into())
    } else {
        let theirs = TlsConnector::from(identity.client_config());
        let (ours, theirs) = tokio::join!(identity.accept(server, LOOPBACK), theirs.connect(name(), client));
        (ours.unwrap().transport, theirs.unwrap().into())
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

/// Sends `length` bytes both ways at once and compares them.
async fn exchange(ours: Records, theirs: TlsStream<TcpStream>, length: usize) {
    let expected = Arc::new(pattern(length));
    let (mut our_reader, mut our_writer) = tokio::io::split(ours);
    let (mut their_reader, mut their_writer) = tokio::io::split(theirs);
    let (sent, answered) = (Arc::clone(&expected), Arc::clone(&expected));
    let up = tokio::spawn(async move {
        our_writer.write_all(&sent).await.unwrap();
        our_writer.flush().await.unwrap();
        our_writer
    });
    let down = tokio::spawn(async move {
        their_writer.write_all(&answered).await.unwrap();
        their_writer.flush().await.unwrap();
        their_writer
    });
    let mut got = vec![0; length];
    their_reader.read_exact(&mut got).await.unwrap();
    assert!(got == *expected, "what rustls read differs");
    let mut got = Vec::new();
    let mut buffer = vec![0; SIZE];
    while got.len() < length {
        let count = our_reader.read(&mut buffer).await.unwrap();
        assert!(count > 0, "ended early");
        got.extend_from_slice(&buffer[..count]);
    }
    assert!(got == *expected, "what we read differs");
    drop((up.await.unwrap(), down.await.unwrap()));
}

#[tokio::test]
async fn bytes_are_the_same_in_both_roles() {
    for ours_is_client in [true, false] {
        for length in [1, 5000, PLAINTEXT, PLAINTEXT + 1, 3_000_000] {
            let (ours, theirs) = pair(ours_is_client).await;
            exchange(ours, theirs, length).await;
        }
    }
}

#[tokio::test]
async fn our_key_updates_are_understood() {
    for ours_is_client in [true, false] {
        let (mut ours, theirs) = pair(ours_is_client).await;
        ours.rekey_after = 8;
        exchange(ours, theirs, 5_000_000).await;
    }
}

#[tokio::test]
async fn their_key_updates_are_followed() {
    for ours_is_client in [true, false] {
        let (mut ours, mut theirs) = pair(ours_is_client).await;
        let mut buffer = vec![0; SIZE];
        for round in 0..5 {
            match &mut theirs {
                TlsStream::Client(stream) => stream.get_mut().1.refresh_traffic_keys().unwrap(),
                TlsStream::Server(stream) => stream.get_mut().1.refresh_traffic_keys().unwrap(),
            }
            theirs.write_all(&[round]).await.unwrap();
            theirs.flush().await.unwrap();
            assert_eq!(ours.read(&mut buffer).await.unwrap(), 1);
            assert_eq!(buffer[0], round);
            // The update asks for one of ours; rustls reads what follows it.
            ours.write_all(&[round]).await.unwrap();
            ours.flush().await.unwrap();
            assert_eq!(theirs.read_u8().await.unwrap(), round);
        }
    }
}

#[tokio::test]
async fn an_orderly_end_is_an_end_and_what_follows_the_handshake_at_once_is_not_lost() {
    let identity = identity();
    let (client, server) = sockets().await;
    let theirs = TlsConnector::from(identity.client_config());
    let eager = tokio::spawn(async move {
        let mut stream = theirs.connect(name(), client).await.unwrap();
        stream.write_all(b"at once").await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    });
    // Everything is there before our side begins to read.
    let mut ours = identity.accept(server, LOOPBACK).await.unwrap().transport;
    let stream = eager.await.unwrap();
    let mut buffer = vec![0; SIZE];
    let mut got = Vec::new();
    loop {
        match ours.read(&mut buffer).await.unwrap() {
            0 => break,
            count => got.extend_from_slice(&buffer[..count]),
        }
    }
    assert_eq!(got, b"at once");
    drop(stream);
}

/// Sends `bytes` in place of a record after the handshake and returns how our side ends.
async fn after_handshake(bytes: &[u8]) -> io::Error {
    let (mut ours, mut theirs) = pair(true).await;
    theirs.get_mut().0.write_all(bytes).await.unwrap();
    let mut buffer = vec![0; SIZE];
    ours.read(&mut buffer).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_record_or_was_changed_is_refused() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[23, 3, 3, 0x41, 0x01],
        &[23, 3, 3, 0, 16],
        &[22, 3, 3, 0, 20],
        &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    ] {
        assert_eq!(after_handshake(bytes).await.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_reader_with_too_little_room_is_told() {
    let (mut ours, mut theirs) = pair(true).await;
    theirs.write_all(b"hello").await.unwrap();
    assert_eq!(ours.read(&mut [0; 3]).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_stranger_is_refused_by_either_side_and_told_with_an_alert() {
    for strangers_connect in [true, false] {
        let (ours, stranger) = (identity(), identity());
        let (client, server) = sockets().await;
        let (outcome, told) = if strangers_connect {
            let theirs = TlsConnector::from(stranger.client_config());
            let (outcome, told) = tokio::join!(ours.accept(server, LOOPBACK), theirs.connect(name(), client));
            (outcome.err(), told.err())
        } else {
            let theirs = TlsAcceptor::from(stranger.server_config());
            let (outcome, told) = tokio::join!(ours.connect(client, LOOPBACK), theirs.accept(server));
            (outcome.err(), told.err())
        };
        let outcome = outcome.expect("a stranger was let in").to_string();
        let told = told.expect("the stranger was not told").to_string();
        if strangers_connect {
            // The stranger finds our certificate as strange as we find its own, and is the first to see one.
            assert!(outcome.contains("TLS alert UnknownCA") || outcome.contains("TLS alert DecryptError"), "{outcome}");
        } else {
            assert_eq!(outcome, "its certificate is of an unknown authority");
            assert!(
                told.contains("UnknownCA") || told.contains("DecryptError") || told.contains("BadCertificate"),
                "{told}"
            );
        }
    }
}
