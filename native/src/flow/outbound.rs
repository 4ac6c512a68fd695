//! From this pod's application to wherever it wanted to go: through the tunnel, in clear, or not at all.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::clear;
use super::counters::{Active, add};
use super::gateway::{Gateway, Mode};
use super::peers::{REFUSED_FOR, SILENT_FOR, Standing};
use super::pool::Pool;
use super::relay::relay;
use super::sockets::{dial, prepare_network, reset_on_drop};
use crate::log;
use crate::tunnel::identity::PeerIdentity;
use crate::tunnel::records::Records;
use crate::tunnel::session::{Control, Session, SessionError};
use crate::tunnel::tls::{HandshakeError, Identity};
use crate::tunnel::transport::Transport;
use crate::tunnel::wire::{self, Open, Status, WireError};

const TLS_TUNNEL_PORT: u16 = 18443;
const PLAIN_TUNNEL_PORT: u16 = 18001;

/// An address that may well be no pod at all does not answer: the application should not wait long for that.
const UNKNOWN_WITHIN: Duration = Duration::from_secs(1);
const ENROLLED_WITHIN: Duration = Duration::from_secs(3);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a known gateway that does not answer is tried again; a new one takes its place within that time.
const RETRY_FOR: Duration = Duration::from_secs(8);
const RETRY_EVERY: Duration = Duration::from_millis(50);
/// The other side gives its application 10 seconds.
const STATUS_WITHIN: Duration = Duration::from_secs(15);
const CLEAR_WITHIN: Duration = Duration::from_secs(30);
/// The application's first bytes travel with OPEN if they are there already.
const EARLY_BYTES: usize = 16 * 1024 - 64;

/// How streams to peers travel: over TLS, or plainly while encryption is off.
trait Tunnel: Sync {
    type Carrier: Transport;
    const PORT: u16;

    fn pool<'a>(&self, gateway: &'a Gateway) -> &'a Pool<Session<Self::Carrier>>;
    fn generation(&self) -> u64;
    fn handshake(
        &self,
        stream: TcpStream,
        peer: IpAddr,
    ) -> impl Future<Output = Result<Session<Self::Carrier>, HandshakeError>> + Send;
}

struct Tls(Arc<Identity>);
struct Plain;

impl Tunnel for Tls {
    type Carrier = Records;
    const PORT: u16 = TLS_TUNNEL_PORT;

    fn pool<'a>(&self, gateway: &'a Gateway) -> &'a Pool<Session<Self::Carrier>> {
        &gateway.tls_pool
    }

    fn generation(&self) -> u64 {
        self.0.generation
    }

    async fn handshake(&self, stream: TcpStream, peer: IpAddr) -> Result<Session<Self::Carrier>, HandshakeError> {
        self.0.connect(stream, peer).await
    }
}

impl Tunnel for Plain {
    type Carrier = TcpStream;
    const PORT: u16 = PLAIN_TUNNEL_PORT;

    fn pool<'a>(&self, gateway: &'a Gateway) -> &'a Pool<Session<Self::Carrier>> {
        &gateway.plain_pool
    }

    fn generation(&self) -> u64 {
        0
    }

    async fn handshake(&self, stream: TcpStream, _peer: IpAddr) -> Result<Session<Self::Carrier>, HandshakeError> {
        Ok(Session::new(stream, None))
    }
}

/// What becomes of a connection.
enum Outcome {
    Done,
    Clear,
    Refuse(String),
}

enum NoSession {
    /// Nobody there. `silent`: it took the whole wait to find out.
    Absent { silent: bool, why: io::Error },
    /// Somebody is there who is not to be trusted, or does not trust us.
    Refused(String),
}

pub async fn handle(gateway: Arc<Gateway>, application: TcpStream, from: SocketAddr) {
    let destination = match gateway.maps.original_destination(application.as_fd()) {
        Ok(Some(destination)) => destination,
        Ok(None) => {
            // Somebody in the pod dialled the redirect port itself.
            add(&gateway.counters.unknown_destination, 1);
            gateway.once.warn(from.ip(), "a connection to port 18000 that no hook redirected was reset");
            return reset_on_drop(&application);
        }
        Err(error) => {
            add(&gateway.counters.unknown_destination, 1);
            gateway.once.warn(from.ip(), &format!("cannot read an original destination: {error}"));
            return reset_on_drop(&application);
        }
    };
    let Ok(_permit) = gateway.streams.try_acquire() else {
        add(&gateway.counters.over_limit, 1);
        gateway.once.warn(from.ip(), "too many connections at once, new ones are reset");
        return reset_on_drop(&application);
    };
    let Some(own) = gateway.own_address(destination.ip()) else {
        gateway.once.warn(destination.ip(), &format!("the pod has no address of the family of {destination}"));
        return reset_on_drop(&application);
    };
    // Nagle would hold back the end of each burst towards the application.
    if let Err(error) = application.set_nodelay(true) {
        log::debug(format!("the application was gone at once: {error}"));
        return;
    }
    let mut connection = Connection {
        gateway: &gateway,
        application,
        open: Open { connection: gateway.next_connection(), destination, source: SocketAddr::new(own, from.port()) },
    };
    connection.run().await;
}

struct Connection<'a> {
    gateway: &'a Gateway,
    application: TcpStream,
    open: Open,
}

impl Connection<'_> {
    async fn run(&mut self) {
        let mode = self.gateway.mode();
        let mut outcome = match (mode, self.gateway.identity.load_full()) {
            (Mode::Off, _) => self.route(&Plain).await,
            (_, Some(identity)) => self.route(&Tls(identity)).await,
            (_, None) => Outcome::Clear,
        };
        if mode == Mode::Strict && matches!(outcome, Outcome::Clear) {
            outcome = Outcome::Refuse("it is not enrolled, and this pod is strict".to_owned());
        }
        let peer = self.open.destination.ip();
        match outcome {
            Outcome::Done => {}
            Outcome::Clear => self.in_clear().await,
            Outcome::Refuse(why) => {
                add(&self.gateway.counters.refused_outbound, 1);
                self.gateway.peers.count_refused(peer);
                self.gateway.once.warn(peer, &format!("refused a connection to {peer}: {why}"));
                reset_on_drop(&self.application);
            }
        }
    }

    async fn route<T: Tunnel>(&mut self, tunnel: &T) -> Outcome {
        let peer = self.open.destination.ip();
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            let standing = self.gateway.peers.standing(peer);
            if standing == Standing::Clear {
                return Outcome::Clear;
            }
            let (silent, why) = match self.session(tunnel, peer, standing).await {
                Ok((session, reused)) => match self.through(tunnel, session, reused).await {
                    Some(outcome) => return outcome,
                    None => continue,
                },
                Err(NoSession::Refused(why)) => {
                    self.gateway.peers.bad(peer);
                    return Outcome::Refuse(why);
                }
                Err(NoSession::Absent { silent, why }) => (silent, why),
            };
            if standing == Standing::Unknown {
                log::debug(format!("{peer} is not enrolled: {why}"));
                self.gateway.peers.not_enrolled(peer, if silent { SILENT_FOR } else { REFUSED_FOR });
                return Outcome::Clear;
            }
            // Known to be enrolled: silence is no reason to go in clear, only the watcher's word is.
            if self.gateway.ask(peer).await == Some(false) {
                log::info(format!("{peer} has left, connections to it are in clear"));
                self.gateway.peers.not_enrolled(peer, REFUSED_FOR);
                tunnel.pool(self.gateway).forget(peer);
                return Outcome::Clear;
            }
            if Instant::now() >= give_up {
                return Outcome::Refuse(format!("its gateway does not answer ({why}), and it has not left"));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// A pooled session, or a new one. The flag tells which.
    async fn session<T: Tunnel>(
        &self,
        tunnel: &T,
        peer: IpAddr,
        standing: Standing,
    ) -> Result<(Session<T::Carrier>, bool), NoSession> {
        if let Some(session) = tunnel.pool(self.gateway).take(peer, tunnel.generation(), Session::is_quiet) {
            add(&self.gateway.counters.sessions_reused, 1);
            return Ok((session, true));
        }
        let absent = |why: io::Error| NoSession::Absent { silent: why.kind() == io::ErrorKind::TimedOut, why };
        let within = if standing == Standing::Enrolled { ENROLLED_WITHIN } else { UNKNOWN_WITHIN };
        let own = self.open.source.ip();
        let stream = dial(SocketAddr::new(peer, T::PORT), own, 0, within).await.map_err(absent)?;
        prepare_network(&stream).map_err(absent)?;
        let session = tokio::time::timeout(HANDSHAKE_WITHIN, tunnel.handshake(stream, peer))
            .await
            .unwrap_or_else(|_| Err(HandshakeError::Broken(io::ErrorKind::TimedOut.into())))
            .map_err(|error| match error {
                HandshakeError::Broken(why) => absent(why),
                HandshakeError::Refused(why) => {
                    add(&self.gateway.counters.handshakes_failed, 1);
                    NoSession::Refused(why)
                }
            })?;
        add(&self.gateway.counters.sessions_dialled, 1);
        if standing != Standing::Enrolled {
            let how = session.peer.as_deref().map_or_else(|| "without TLS".to_owned(), describe);
            log::info(format!("{peer} is enrolled, {how}"));
        }
        self.gateway.peers.enrolled(peer, session.peer.clone());
        Ok((session, false))
    }

    /// One stream over `session`. `None`: nothing of the application was sent, another session may be tried.
    async fn through<T: Tunnel>(
        &mut self,
        tunnel: &T,
        mut session: Session<T::Carrier>,
        reused: bool,
    ) -> Option<Outcome> {
        let peer = self.open.destination.ip();
        let mut first = wire::open(&self.open);
        let early = self.append_early_bytes(&mut first);
        let status = match tokio::time::timeout(STATUS_WITHIN, ask_for_stream(&mut session, &first)).await {
            Ok(Ok(status)) => status,
            Ok(Err(SessionError::Io(error))) => match HandshakeError::from(error) {
                HandshakeError::Refused(why) => {
                    self.gateway.peers.bad(peer);
                    return Some(Outcome::Refuse(why));
                }
                HandshakeError::Broken(_) if reused && early == 0 => return None,
                HandshakeError::Broken(why) => return Some(self.lost(&why.to_string())),
            },
            Ok(Err(SessionError::Closed)) if reused && early == 0 => return None,
            Ok(Err(error)) => return Some(self.lost(&error.to_string())),
            Err(_) => return Some(self.lost("no answer to OPEN")),
        };
        if status == Status::Ok {
            let _active = Active::new(&self.gateway.counters.streams_active);
            add(&self.gateway.counters.streams_outbound, 1);
            add(&self.gateway.counters.bytes_sent, early as u64);
            self.gateway.peers.count_tunnelled(peer);
            match relay(&mut self.application, &mut session, &self.gateway.counters).await {
                Ok(true) => self.give_back(tunnel, session),
                Ok(false) => {}
                Err(error) => log::debug(format!("connection {} broke: {error}", self.open.connection)),
            }
        } else {
            log::debug(format!("connection {} to {}: {}", self.open.connection, self.open.destination, status.text()));
            if status == Status::Denied {
                let text = format!("{peer} denies a connection to {}", self.open.destination);
                self.gateway.once.warn(peer, &text);
            }
            reset_on_drop(&self.application);
            if session.send(&wire::reset()).await.is_ok() {
                self.give_back(tunnel, session);
            }
        }
        Some(Outcome::Done)
    }

    fn lost(&self, why: &str) -> Outcome {
        log::debug(format!("connection {} to {} was lost: {why}", self.open.connection, self.open.destination));
        reset_on_drop(&self.application);
        Outcome::Done
    }

    fn give_back<T: Tunnel>(&self, tunnel: &T, session: Session<T::Carrier>) {
        if !*self.gateway.draining.borrow() {
            let expires = session.peer.as_ref().map_or(i64::MAX, |peer| peer.not_after);
            tunnel.pool(self.gateway).put(self.open.destination.ip(), session, tunnel.generation(), expires);
        }
    }

    /// Adds what the application has already sent, as a DATA frame, and returns how many bytes that is.
    fn append_early_bytes(&self, first: &mut Vec<u8>) -> usize {
        let open = first.len();
        first.resize(open + wire::HEADER + EARLY_BYTES, 0);
        // An end or an error shows again when the relay reads.
        let length = self.application.try_read(&mut first[open + wire::HEADER..]).unwrap_or(0);
        if length > 0 {
            first[open..open + wire::HEADER].copy_from_slice(&wire::data_header(length));
            first.truncate(open + wire::HEADER + length);
        } else {
            first.truncate(open);
        }
        length
    }

    async fn in_clear(&mut self) {
        let Open { destination, source, .. } = self.open;
        add(&self.gateway.counters.clear_outbound, 1);
        self.gateway.peers.count_clear(destination.ip());
        let _active = Active::new(&self.gateway.counters.clear_active);
        let result = async {
            let mut remote = dial(destination, source.ip(), source.port(), CLEAR_WITHIN).await?;
            prepare_network(&remote)?;
            clear::relay(&mut self.application, &mut remote).await
        };
        if let Err(error) = result.await {
            log::debug(format!("connection {} to {destination} in clear: {error}", self.open.connection));
            reset_on_drop(&self.application);
        }
    }
}

async fn ask_for_stream<T: Transport>(session: &mut Session<T>, first: &[u8]) -> Result<Status, SessionError> {
    session.send(first).await?;
    match session.receive(false).await? {
        Control::Status(status) => Ok(status),
        Control::GoAway => Err(SessionError::Closed),
        _ => Err(WireError::Unexpected("an answer that is no STATUS").into()),
    }
}

fn describe(peer: &PeerIdentity) -> String {
    format!("{} ({}, {})", peer.spiffe_id, peer.cipher, peer.key_exchange)
}
