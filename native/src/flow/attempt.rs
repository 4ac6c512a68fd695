//! One try to reach one destination: through the tunnel, in clear, or not at all.
//!
//! Until a destination has been reached nothing of the application is lost, and another one may be tried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::application::{Application, Socket};
use super::backends::Service;
use super::clear;
use super::counters::{Active, add};
use super::gateway::{Gateway, Mode};
use super::peers::{REFUSED_FOR, SILENT_FOR, Standing};
use super::relay::relay;
use super::sockets::{dial, is_short, prepare_network};
use super::tunnels::{Plain, Tls, Tunnel};
use crate::log;
use crate::tunnel::identity::PeerIdentity;
use crate::tunnel::session::{Session, SessionError};
use crate::tunnel::tls::HandshakeError;
use crate::tunnel::wire::{self, Open, Status};

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
/// Where there are others to try.
const CLEAR_WITHIN_OF_MANY: Duration = Duration::from_secs(3);
/// The application's first bytes travel with OPEN if they are there already.
const EARLY_BYTES: usize = 16 * 1024 - 64;

/// What came of a try.
pub enum Outcome {
    Done,
    /// Not reached, and nothing of the application is lost.
    Missed(Miss),
    Refuse(String),
}

/// `refused`: by what is known of the peer, rather than by the network.
pub struct Miss {
    pub refused: bool,
    pub why: String,
}

enum Route {
    Clear,
    Ended(Outcome),
}

enum NoSession {
    /// Nobody there. `silent`: it took the whole wait to find out.
    Absent { silent: bool, why: io::Error },
    /// Somebody is there who is not to be trusted, or does not trust us.
    Refused(String),
    /// Not even tried: this gateway has no descriptor, memory or port left. That says nothing about the peer.
    Short(io::Error),
}

/// An application's connection. `open` names the destination that is tried now; `service` is the Service that it is a
/// backend of, and the address of it that the application connected to.
pub struct Connection<'a> {
    pub gateway: &'a Gateway,
    pub application: Application,
    pub open: Open,
    pub service: Option<(Arc<Service>, SocketAddr)>,
    /// What the application has sent already, and nobody has taken yet.
    early: Vec<u8>,
}

fn missed(why: impl ToString) -> Outcome {
    Outcome::Missed(Miss { refused: false, why: why.to_string() })
}

fn refused(why: &str) -> Outcome {
    Outcome::Missed(Miss { refused: true, why: why.to_owned() })
}

impl<'a> Connection<'a> {
    pub fn new(gateway: &'a Gateway, application: Application, open: Open) -> Self {
        Self { gateway, application, open, service: None, early: Vec::new() }
    }

    /// Tries the destination. `others`: there are more to try, so this one is not waited for as long.
    pub async fn attempt(&mut self, others: bool) -> Outcome {
        if self.gateway.is_own(self.open.destination.ip()) {
            // The pod is a backend of its own: nothing leaves it, and the hooks leave such a connection alone too.
            return self.in_clear(others).await;
        }
        let route = match self.gateway.mode() {
            Mode::Clear => Route::Clear,
            Mode::Off => self.route(&Plain, others).await,
            Mode::Permissive | Mode::Strict => self.route_over_tls(others).await,
        };
        match route {
            Route::Ended(outcome) => outcome,
            // What was in force when the try began need not be any more.
            Route::Clear if self.gateway.mode() == Mode::Strict => {
                refused("it is not enrolled, and this pod is strict")
            }
            Route::Clear => self.in_clear(others).await,
        }
    }

    fn reached(&self) {
        if let Some((service, destination)) = &self.service {
            self.gateway.services.used(service, *destination, self.open.destination);
        }
    }

    /// Over TLS, with the identity that is in use. One that was replaced meanwhile may have been refused for its age: a
    /// peer may have learned of another root, or have forgotten ours, while this one was being dialled.
    async fn route_over_tls(&mut self, others: bool) -> Route {
        let Some(mut identity) = self.gateway.identity.load_full() else { return Route::Clear };
        loop {
            let route = self.route(&Tls(Arc::clone(&identity)), others).await;
            let now = self.gateway.identity.load_full();
            match (route, now) {
                (Route::Ended(Outcome::Refuse(_)), Some(now)) if now.generation != identity.generation => {
                    identity = now
                }
                (route, _) => return route,
            }
        }
    }

    async fn route<T: Tunnel>(&mut self, tunnel: &T, others: bool) -> Route {
        let peer = self.open.destination.ip();
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            let session = match self.pooled(tunnel, peer) {
                Some(session) => Ok((session, true)),
                None => {
                    let turn = self.gateway.dialling.turn(peer);
                    let Ok(_turn) = tokio::time::timeout_at(give_up.into(), turn).await else {
                        return Route::Ended(refused("too many connections to it wait for a tunnel"));
                    };
                    // What is known may have changed meanwhile, and a session may have come back.
                    match self.gateway.peers.standing(peer) {
                        Standing::Clear => return Route::Clear,
                        standing => self.session(tunnel, peer, standing).await,
                    }
                }
            };
            let (silent, why) = match session {
                Ok((session, reused)) => match self.through(tunnel, session, reused).await {
                    Some(outcome) => return Route::Ended(outcome),
                    None => continue,
                },
                Err(NoSession::Refused(why)) => {
                    self.gateway.peers.bad(peer);
                    return Route::Ended(Outcome::Refuse(why));
                }
                Err(NoSession::Short(why)) => return Route::Ended(self.without_resources(&why)),
                Err(NoSession::Absent { silent, why }) => (silent, why),
            };
            // Another connection may have found it enrolled while this one did not get through.
            if self.gateway.peers.unanswered(peer, if silent { SILENT_FOR } else { REFUSED_FOR }) {
                log::debug(format!("{peer} is not enrolled: {why}"));
                return Route::Clear;
            }
            // Known to be enrolled: silence is no reason to go in clear, only the watcher's word is.
            if self.gateway.ask(peer).await == Some(false) {
                log::info(format!("{peer} has left, connections to it are in clear"));
                self.gateway.peers.not_enrolled(peer, REFUSED_FOR);
                tunnel.pool(self.gateway).forget(peer);
                return Route::Clear;
            }
            if others || Instant::now() >= give_up {
                return Route::Ended(refused(&format!("its gateway does not answer ({why}), and it has not left")));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    fn pooled<T: Tunnel>(&self, tunnel: &T, peer: IpAddr) -> Option<Session<T::Carrier>> {
        // Of a peer that is revoked one may have come back after the pool was emptied.
        let usable = |session: &mut Session<T::Carrier>| {
            !self.gateway.revocations.contains(session.peer.as_deref()) && session.is_quiet()
        };
        let session = tunnel.pool(self.gateway).take(peer, tunnel.generation(), usable)?;
        add(&self.gateway.counters.sessions_reused, 1);
        Some(session)
    }

    /// To wait for resources would keep those that this connection has from others.
    fn without_resources(&self, why: &io::Error) -> Outcome {
        add(&self.gateway.counters.over_limit, 1);
        self.gateway.once.warn(self.open.source.ip(), &format!("new connections are reset: {why}"));
        missed(why)
    }

    /// A pooled session, or a new one. The flag tells which.
    async fn session<T: Tunnel>(
        &self,
        tunnel: &T,
        peer: IpAddr,
        standing: Standing,
    ) -> Result<(Session<T::Carrier>, bool), NoSession> {
        if let Some(session) = self.pooled(tunnel, peer) {
            return Ok((session, true));
        }
        let absent = |why: io::Error| {
            if is_short(&why) {
                return NoSession::Short(why);
            }
            NoSession::Absent { silent: why.kind() == io::ErrorKind::TimedOut, why }
        };
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
        if self.gateway.revocations.contains(session.peer.as_deref()) {
            add(&self.gateway.counters.revoked_refused, 1);
            return Err(NoSession::Refused("its certificate is revoked".to_owned()));
        }
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
        let answer = tokio::time::timeout(STATUS_WITHIN, session.ask_for_stream(&first)).await;
        let (status, going_away) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(SessionError::Io(error))) => match HandshakeError::from(error) {
                HandshakeError::Refused(why) => {
                    self.gateway.peers.bad(peer);
                    // Its gateway has not read what came with OPEN.
                    self.early = first.split_off(first.len() - early);
                    return Some(Outcome::Refuse(why));
                }
                HandshakeError::Broken(_) if reused && early == 0 => return None,
                HandshakeError::Broken(why) => return Some(self.lost(early, &why.to_string())),
            },
            Ok(Err(SessionError::Closed)) if reused && early == 0 => return None,
            Ok(Err(error)) => return Some(self.lost(early, &error.to_string())),
            Err(_) => return Some(self.lost(early, "no answer to OPEN")),
        };
        if status == Status::Ok {
            let _active = Active::new(&self.gateway.counters.streams_active);
            add(&self.gateway.counters.streams_outbound, 1);
            add(&self.gateway.counters.bytes_sent, early as u64);
            self.gateway.peers.count_tunnelled(peer);
            self.reached();
            // A connection that is idle owns no buffer.
            drop(first);
            let other = session.peer.clone();
            let relayed = tokio::select! {
                biased;
                relayed = relay(&mut self.application, &mut session, &self.gateway.counters, None) => relayed,
                () = self.gateway.revocations.of(other) => {
                    add(&self.gateway.counters.revoked_ended, 1);
                    let text = format!("ended a tunnel with {peer}: its certificate is revoked");
                    self.gateway.once.warn(peer, &text);
                    self.application.reset_on_drop();
                    Ok(false)
                }
            };
            match relayed {
                Ok(true) if !going_away => self.give_back(tunnel, session),
                Ok(_) => {}
                Err(SessionError::Withdrawn) => self.denied(&session, "has ended"),
                Err(error) => log::debug(format!("connection {} broke: {error}", self.open.connection)),
            }
            return Some(Outcome::Done);
        }
        // Whoever answers so has passed nothing on: what came with OPEN is still to be sent.
        self.early = first.split_off(first.len() - early);
        if status == Status::Denied {
            self.denied(&session, "denies");
        }
        if session.send(&wire::reset()).await.is_ok() && !going_away {
            self.give_back(tunnel, session);
        }
        Some(missed(status.text()))
    }

    /// By the peer's policy; which one is for its log.
    fn denied<T>(&self, session: &Session<T>, how: &str) {
        let peer = self.open.destination.ip();
        let id = session.peer.as_deref().map_or(String::new(), |peer| format!(" ({})", peer.spiffe_id));
        add(&self.gateway.counters.denied_outbound, 1);
        self.gateway
            .once
            .warn(peer, &format!("{peer}{id} {how} a connection to {}: its policy", self.open.destination));
    }

    /// The session broke before it was known whether the other side has passed on what came with OPEN.
    fn lost(&self, early: usize, why: &str) -> Outcome {
        if early == 0 {
            return missed(why);
        }
        log::debug(format!("connection {} to {} was lost: {why}", self.open.connection, self.open.destination));
        self.application.reset_on_drop();
        Outcome::Done
    }

    fn give_back<T: Tunnel>(&self, tunnel: &T, session: Session<T::Carrier>) {
        if !*self.gateway.draining.borrow() {
            let expires = session.peer.as_ref().map_or(i64::MAX, |peer| peer.not_after);
            tunnel.pool(self.gateway).put(self.open.destination.ip(), session, tunnel.generation(), expires);
        }
    }

    /// Adds what the application has already sent, as a DATA frame, and returns how many bytes that is.
    fn append_early_bytes(&mut self, first: &mut Vec<u8>) -> usize {
        let open = first.len();
        if self.early.is_empty() {
            first.resize(open + wire::HEADER + EARLY_BYTES, 0);
            // An end or an error shows again when the relay reads.
            let length = self.application.try_read(&mut first[open + wire::HEADER..]);
            first.truncate(open + wire::HEADER + length);
        } else {
            first.resize(open + wire::HEADER, 0);
            first.append(&mut self.early);
        }
        let length = first.len() - open - wire::HEADER;
        if length > 0 {
            first[open..open + wire::HEADER].copy_from_slice(&wire::data_header(length));
        } else {
            first.truncate(open);
        }
        length
    }

    /// Without the tunnel: to a peer that is not enrolled, or within the pod.
    async fn in_clear(&mut self, others: bool) -> Outcome {
        let Open { destination, source, .. } = self.open;
        let counters = &self.gateway.counters;
        let (count, active) = if self.gateway.is_own(destination.ip()) {
            (&counters.own_outbound, &counters.own_active)
        } else {
            self.gateway.peers.count_clear(destination.ip());
            (&counters.clear_outbound, &counters.clear_active)
        };
        add(count, 1);
        let _active = Active::new(active);
        let within = if others { CLEAR_WITHIN_OF_MANY } else { CLEAR_WITHIN };
        let mut remote = match dial(destination, source.ip(), source.port(), within).await {
            Ok(remote) => remote,
            Err(error) => return missed(error),
        };
        remote.reset_on_drop();
        self.reached();
        let result = async {
            prepare_network(&remote)?;
            remote.write_all(&std::mem::take(&mut self.early)).await?;
            clear::relay(&mut self.application, &mut remote).await
        };
        if let Err(error) = result.await {
            log::debug(format!("connection {} to {destination} in clear: {error}", self.open.connection));
            self.application.reset_on_drop();
        }
        Outcome::Done
    }
}

fn describe(peer: &PeerIdentity) -> String {
    format!("{} ({}, {})", peer.spiffe_id, peer.cipher, peer.key_exchange)
}
