//! From a peer's gateway to this pod's application.
//!
//! Nothing a peer says is believed beyond its certificate: it may only speak for its own addresses, and only reach this
//! pod's addresses, never loopback, never the gateway itself. There is no way on from here to anybody else.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::access::Caller;
use super::application::Socket;
use super::counters::{Active, add};
use super::gateway::Gateway;
use super::pool::{IDLE_FOR, now};
use super::relay::relay;
use super::sockets::{dial_application, prepare_network};
use crate::log;
use crate::tunnel::session::{Control, Session, SessionError};
use crate::tunnel::tls::HandshakeError;
use crate::tunnel::transport::Transport;
use crate::tunnel::wire::{self, Open, Status, WireError};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the other side keeps a session, so that it is never ended under a stream that is just being opened.
const PATIENCE: Duration = Duration::from_secs(IDLE_FOR.as_secs() * 3 / 2);
/// After GOAWAY: time for an OPEN that was already under way.
const FAREWELL: Duration = Duration::from_millis(500);
/// A peer whose stream was not opened has this long to end its side.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// 18000, 18001, 18443: the gateway's own, never a destination.
const RESERVED_PORTS: [u16; 3] = [18000, 18001, 18443];

pub async fn handle_tls(gateway: Arc<Gateway>, stream: TcpStream, from: IpAddr) {
    let from = from.to_canonical();
    let Some(identity) = gateway.identity.load_full() else { return };
    let mut place = gateway.handshakes.enter(from);
    if let Some(displaced) = place.displaced {
        add(&gateway.counters.over_limit, 1);
        gateway.once.warn(displaced, &format!("too many handshakes at once, the oldest one of {displaced} is ended"));
    }
    let handshake = async {
        prepare_network(&stream).map_err(HandshakeError::Broken)?;
        identity.accept(stream, from).await
    };
    let result = tokio::select! {
        result = tokio::time::timeout(HANDSHAKE_WITHIN, handshake) => {
            result.unwrap_or_else(|_| Err(HandshakeError::Broken(io::ErrorKind::TimedOut.into())))
        }
        () = place.lost() => Err(HandshakeError::Broken(io::ErrorKind::QuotaExceeded.into())),
    };
    drop(place);
    match result {
        Ok(session) if gateway.revocations.contains(session.peer.as_deref()) => {
            add(&gateway.counters.revoked_refused, 1);
            gateway.once.warn(from, &format!("refused a tunnel from {from}: its certificate is revoked"));
        }
        Ok(session) => {
            // Whoever dials us with a valid certificate has a gateway: never in clear to it either.
            gateway.peers.enrolled(from, session.peer.clone());
            serve(gateway, session, from, identity.generation).await;
        }
        Err(error) => {
            add(&gateway.counters.handshakes_failed, 1);
            gateway.once.warn(from, &format!("refused a tunnel from {from}: {error}"));
        }
    }
}

pub async fn handle_plain(gateway: Arc<Gateway>, stream: TcpStream, from: IpAddr) {
    match prepare_network(&stream) {
        Ok(()) => serve(gateway, Session::new(stream, None), from.to_canonical(), 0).await,
        Err(error) => log::debug(format!("lost a tunnel from {from}: {error}")),
    }
}

/// `accepted_by`: the generation of the identity that the peer proved itself to, if it did.
async fn serve<T: Transport>(gateway: Arc<Gateway>, mut session: Session<T>, from: IpAddr, accepted_by: u64) {
    let Some(_place) = gateway.sessions.take(from) else {
        add(&gateway.counters.over_limit, 1);
        return gateway.once.warn(from, &format!("too many tunnels at once, a new one from {from} is ended"));
    };
    add(&gateway.counters.sessions_accepted, 1);
    let _active = Active::new(&gateway.counters.sessions_active);
    let result = streams(&gateway, &mut session, from, accepted_by).await;
    match result {
        Ok(()) | Err(SessionError::Closed | SessionError::Withdrawn) => {}
        Err(SessionError::Wire(error)) => {
            add(&gateway.counters.malformed_inbound, 1);
            gateway.once.warn(from, &format!("ended a tunnel from {from}: {error}"));
        }
        Err(SessionError::Io(error)) => log::debug(format!("lost a tunnel from {from}: {error}")),
    }
}

/// Serves one stream after the other until the peer, the drain, or a certificate that counts no more ends the session.
async fn streams<T: Transport>(
    gateway: &Gateway,
    session: &mut Session<T>,
    from: IpAddr,
    mut accepted_by: u64,
) -> Result<(), SessionError> {
    let mut draining = gateway.draining.subscribe();
    let session_peer = session.peer.clone();
    loop {
        let waited = tokio::select! {
            received = tokio::time::timeout(PATIENCE, session.receive(false)) => Some(received),
            () = async { drop(draining.wait_for(|draining| *draining).await) } => None,
            () = gateway.revocations.of(session_peer.clone()) => {
                ended_by_revocation(gateway, from);
                return Ok(());
            }
        };
        let received = match waited {
            Some(received) => received,
            None => {
                session.send(&wire::go_away()).await?;
                tokio::time::timeout(FAREWELL, session.receive(false)).await
            }
        };
        let Ok(received) = received else { return Ok(()) };
        let open = expect_open(received?)?;
        if session.peer.as_ref().is_some_and(|peer| peer.not_after <= now()) {
            gateway.once.warn(from, &format!("ended a tunnel from {from}: its certificate has expired"));
            return Ok(());
        }
        if let Some(peer) = &session.peer
            && let Some(identity) = gateway.identity.load_full()
            && identity.generation != accepted_by
        {
            // A root that was trusted when it came may have been replaced, as others have its key.
            if !identity.still_accepts(peer) {
                gateway.once.warn(from, &format!("ended a tunnel from {from}: its certificate is accepted no more"));
                return Ok(());
            }
            accepted_by = identity.generation;
        }
        if !stream(gateway, session, from, &open).await? {
            return Ok(());
        }
    }
}

fn ended_by_revocation(gateway: &Gateway, peer: IpAddr) {
    add(&gateway.counters.revoked_ended, 1);
    gateway.once.warn(peer, &format!("ended a tunnel with {peer}: its certificate is revoked"));
}

fn expect_open(control: Control) -> Result<Open, SessionError> {
    match control {
        Control::Open(open) => Ok(open),
        Control::GoAway => Err(SessionError::Closed),
        _ => Err(WireError::Unexpected("a frame without a stream").into()),
    }
}

/// `Ok(true)`: the session can carry another stream.
async fn stream<T: Transport>(
    gateway: &Gateway,
    session: &mut Session<T>,
    from: IpAddr,
    open: &Open,
) -> Result<bool, SessionError> {
    if let Err(why) = check(gateway, session, from, open) {
        add(&gateway.counters.denied_inbound, 1);
        gateway.once.warn(from, &format!("denied {from} a connection to {}: {why}", open.destination));
        return refuse(session, Status::Denied).await;
    }
    let caller = Caller { identity: session.peer.clone(), address: from };
    let standing = gateway.access.stands(caller.clone(), open.destination.port());
    if !authorize(gateway, &caller, open.destination.port()) {
        return refuse(session, Status::Denied).await;
    }
    let Ok(_permit) = gateway.streams.try_acquire() else {
        add(&gateway.counters.over_limit, 1);
        gateway.once.warn(from, "too many connections at once, new ones are refused");
        return refuse(session, Status::Failed).await;
    };
    let _active = Active::new(&gateway.counters.streams_active);
    let dialled = dial_application(open.destination, open.source, &gateway.maps, DIAL_WITHIN).await;
    let mut application = match dialled {
        Ok(application) => application,
        Err(error) => {
            log::debug(format!("the application at {} does not answer {}: {error}", open.destination, open.source));
            return refuse(session, status_of(&error)).await;
        }
    };
    add(&gateway.counters.streams_inbound, 1);
    gateway.peers.count_tunnelled(from);
    log::debug(format!("connection {} from {} to {} opened", open.connection, open.source, open.destination));
    session.send(&wire::status(Status::Ok)).await?;
    let peer = session.peer.clone();
    let result = tokio::select! {
        biased;
        result = relay(&mut application, session, &gateway.counters, Some(&standing.withdrawal)) => result,
        () = gateway.revocations.of(peer) => {
            ended_by_revocation(gateway, from);
            application.reset_on_drop();
            Ok(false)
        }
    };
    log::debug(format!("connection {} from {} to {} ended", open.connection, open.source, open.destination));
    result
}

fn check<T>(gateway: &Gateway, session: &Session<T>, from: IpAddr, open: &Open) -> Result<(), String> {
    let (to, source) = (open.destination, open.source.ip());
    if !gateway.addresses.contains(&to.ip()) {
        return Err("it is not an address of this pod".to_owned());
    }
    if RESERVED_PORTS.contains(&to.port()) || to.port() == 0 {
        return Err("the port is the gateway's own".to_owned());
    }
    let speaks_for_itself = match &session.peer {
        Some(peer) => peer.addresses.contains(&source),
        None => source == from,
    };
    if speaks_for_itself { Ok(()) } else { Err(format!("it claims to speak for {source}")) }
}

/// Whether the rules let `caller` reach `port`; says and counts it if not, or if only a dry run does.
fn authorize(gateway: &Gateway, caller: &Caller, port: u16) -> bool {
    let decision = gateway.access.decide(caller, port);
    if let Some(dry) = decision.dry {
        add(&gateway.counters.authorization_would_deny, 1);
        let text = format!("would deny {} a connection to port {port} (dry run): {dry}", caller.name());
        gateway.once.warn(caller.address, &text);
        gateway.access.remember(caller, port, dry, true);
    }
    let verdict = decision.verdict;
    let allowed = verdict.allowed;
    if !allowed {
        add(&gateway.counters.denied_inbound, 1);
        add(&gateway.counters.authorization_denied, 1);
        let text = format!("denied {} a connection to port {port}: {verdict}", caller.name());
        gateway.once.warn(caller.address, &text);
        gateway.access.remember(caller, port, verdict, false);
    }
    allowed
}

/// Says no, and waits for the peer to end its side, so that the session can go on.
async fn refuse<T: Transport>(session: &mut Session<T>, status: Status) -> Result<bool, SessionError> {
    session.send(&wire::status(status)).await?;
    match tokio::time::timeout(REFUSED_WITHIN, session.receive(true)).await {
        Ok(received) => match received? {
            Control::Fin | Control::Reset => Ok(true),
            _ => Err(WireError::Unexpected("a frame on a refused stream").into()),
        },
        Err(_) => Ok(false),
    }
}

fn status_of(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Status::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Status::Unreachable,
        io::ErrorKind::TimedOut => Status::TimedOut,
        _ => Status::Failed,
    }
}
