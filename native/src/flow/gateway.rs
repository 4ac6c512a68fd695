//! The state that all connections of a pod share, and the listeners that feed them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::access::{Access, AccessReport};
use super::authorization::Authorization;
use super::counters::{Counters, LogOnce, add};
use super::dialling::Dialling;
use super::handshakes::Handshakes;
use super::peers::{PeerReport, Peers, Standing};
use super::places::Places;
use super::pool::Pool;
use super::question::{ANSWER_WITHIN, Question};
use super::revocation::Revocations;
use super::services::{Answer, Services};
use super::sockets::reset_when_closed;
use super::{inbound, outbound};
use crate::hooks::maps::SocketMaps;
use crate::intercept::Interception;
use crate::kernel::descriptor_limit;
use crate::log;
use crate::tunnel::session::Session;
use crate::tunnel::tls::{Identity, TlsSession};

/// Application connections at once, both directions. Beyond, new ones are reset and counted: memory stays bounded.
const MOST_STREAMS: usize = 20_000;
/// Accepted sessions at once, those that wait for a stream too; of one peer, so many that others have room. Fewer where
/// there are not enough descriptors: a part of those stays for everything else.
const MOST_SESSIONS: usize = 24_000;
const MOST_SESSIONS_OF_ONE: usize = 16_000;
const STAMP_EVERY: Duration = Duration::from_secs(1);
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// Questions that wait to be passed on; beyond, they count as not answered.
const MOST_QUERIES: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Whom a warning is about that is about no peer.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Off = 0,
    Permissive = 1,
    Strict = 2,
    /// No tunnels at all: straight to the destination.
    Clear = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    Redirect,
    TlsTunnel,
    PlainTunnel,
    /// Whatever connects goes there.
    Fixed(SocketAddr),
}

/// What the watcher is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Is this workload enrolled?
    Peer(IpAddr),
    /// Is this a Service's, and what is behind it?
    Service(SocketAddr),
}

pub struct Gateway {
    pub addresses: Vec<IpAddr>,
    pub maps: SocketMaps,
    pub identity: ArcSwapOption<Identity>,
    pub peers: Peers,
    pub services: Services,
    pub revocations: Revocations,
    pub interception: Arc<Interception>,
    pub access: Access,
    pub tls_pool: Pool<TlsSession>,
    pub plain_pool: Pool<Session<TcpStream>>,
    pub counters: Counters,
    pub once: LogOnce,
    pub streams: Semaphore,
    pub handshakes: Handshakes,
    pub dialling: Dialling,
    pub sessions: Places,
    pub draining: watch::Sender<bool>,
    next_connection: AtomicU64,
    mode: AtomicU8,
    queries: mpsc::Sender<Query>,
    answers: Mutex<HashMap<IpAddr, Question>>,
    accepting: Mutex<HashMap<Listener, Vec<JoinHandle<()>>>>,
}

#[derive(Serialize)]
struct Snapshot {
    counters: HashMap<&'static str, u64>,
    peers: Vec<PeerReport>,
    access: Option<AccessReport>,
}

/// Places for accepted sessions, as many as descriptors allow.
fn sessions() -> Places {
    let descriptors = descriptor_limit().unwrap_or(usize::MAX);
    Places::new(MOST_SESSIONS.min(descriptors / 5 * 3), MOST_SESSIONS_OF_ONE.min(descriptors / 5 * 2))
}

impl Gateway {
    /// The receiver gets what the watcher shall be asked.
    pub fn new(addresses: Vec<IpAddr>, maps: SocketMaps) -> (Arc<Self>, mpsc::Receiver<Query>) {
        let (queries, receiver) = mpsc::channel(MOST_QUERIES);
        let gateway = Arc::new(Self {
            addresses,
            maps,
            identity: ArcSwapOption::empty(),
            peers: Peers::default(),
            services: Services::default(),
            revocations: Revocations::default(),
            interception: Arc::default(),
            access: Access::default(),
            tls_pool: Pool::default(),
            plain_pool: Pool::default(),
            counters: Counters::default(),
            once: LogOnce::default(),
            streams: Semaphore::new(MOST_STREAMS),
            handshakes: Handshakes::default(),
            dialling: Dialling::default(),
            sessions: sessions(),
            draining: watch::Sender::new(false),
            next_connection: AtomicU64::new(1),
            mode: AtomicU8::new(Mode::Permissive as u8),
            queries,
            answers: Mutex::default(),
            accepting: Mutex::default(),
        });
        (gateway, receiver)
    }

    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            0 => Mode::Off,
            1 => Mode::Permissive,
            3 => Mode::Clear,
            _ => Mode::Strict,
        }
    }

    /// With encryption switched on or off, what is known of peers is about another port, or old: it is forgotten.
    pub fn set_mode(&self, mode: Mode) {
        let before = self.mode();
        self.mode.store(mode as u8, Ordering::Relaxed);
        let encrypts = |mode| matches!(mode, Mode::Permissive | Mode::Strict);
        if before != mode && !(encrypts(before) && encrypts(mode)) {
            self.peers.forget();
            self.tls_pool.clear();
            self.plain_pool.clear();
        }
    }

    /// Puts the rules of who may reach this pod in force, also for streams that stand.
    pub fn set_authorization(&self, name: String, authorization: Authorization) {
        for (caller, port, verdict) in self.access.set(name, authorization) {
            add(&self.counters.authorization_ended, 1);
            let text = format!("ended a connection of {} to port {port}: {verdict}", caller.name());
            self.once.warn(caller.address, &text);
            self.access.remember(&caller, port, verdict, false);
        }
    }

    /// Peers with these pod uids are no peers any more: what stands with them ends.
    pub fn set_revoked(&self, uids: Vec<String>) {
        self.revocations.set(uids);
        // Whichever of these are theirs.
        self.tls_pool.clear();
    }

    pub fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// The pod's own address of the family of `peer`.
    pub fn own_address(&self, peer: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|own| own.is_ipv4() == peer.is_ipv4())
    }

    /// Asks the watcher whether `peer` is enrolled; `None` without an answer in time.
    pub async fn ask(&self, peer: IpAddr) -> Option<bool> {
        if !self.services.watcher_is_there() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let asks = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.entry(peer).or_default().wait(sender, Instant::now())
        };
        if asks {
            self.queries.try_send(Query::Peer(peer)).ok()?;
        }
        tokio::time::timeout(ANSWER_WITHIN, receiver).await.ok()?.ok()
    }

    pub fn answer(&self, peer: IpAddr, enrolled: bool) {
        let question = self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        if let Some(question) = question {
            question.answer(enrolled);
        }
    }

    /// Whether `destination` is a Service's, as far as is known or the watcher says in time.
    pub async fn resolve(&self, destination: SocketAddr) -> Option<Answer> {
        // The address of a pod that is enrolled is no Service's, and most connections go to such.
        if self.peers.standing(destination.ip()) == Standing::Enrolled {
            return Some(Answer::NoService);
        }
        let ask = || self.queries.try_send(Query::Service(destination)).is_ok();
        let answer = self.services.resolve(destination, ask).await;
        if answer.is_none() {
            add(&self.counters.services_unanswered, 1);
        }
        answer
    }

    pub fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    pub fn listen(self: &Arc<Self>, kind: Listener, socket: std::net::TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        if matches!(kind, Listener::Redirect | Listener::Fixed(_)) {
            reset_when_closed(&socket);
        }
        let listener = TcpListener::from_std(socket)?;
        let task = tokio::spawn(Arc::clone(self).accept_forever(kind, listener));
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().push(task);
        Ok(())
    }

    /// Stops accepting; connections that stand go on.
    pub fn stop_listening(&self, kind: Listener) {
        let tasks = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
    }

    /// Takes no new tunnels, tells idle sessions to go, lets streams finish.
    pub fn drain(&self) {
        self.stop_listening(Listener::TlsTunnel);
        self.stop_listening(Listener::PlainTunnel);
        self.draining.send_replace(true);
        self.tls_pool.clear();
        self.plain_pool.clear();
    }

    /// Application connections, also those that are still being set up, and accepted sessions that have not ended.
    pub fn active(&self) -> u64 {
        let connections = MOST_STREAMS - self.streams.available_permits();
        connections as u64 + self.counters.sessions_active.load(Ordering::Relaxed)
    }

    /// `GatewaySnapshot` as JSON.
    pub fn snapshot(&self) -> serde_json::Result<Vec<u8>> {
        let mut counters: HashMap<_, _> = self.counters.values().into_iter().collect();
        counters.extend(self.interception.counters.values());
        counters.insert("sessions_pooled", (self.tls_pool.idle_sessions() + self.plain_pool.idle_sessions()) as u64);
        serde_json::to_vec(&Snapshot { counters, peers: self.peers.report(), access: self.access.report() })
    }

    /// Housekeeping: the sign of life that the connect hooks look for, and sessions that nobody needs any more.
    pub async fn keep_house(self: Arc<Self>) {
        let mut stamp = tokio::time::interval(STAMP_EVERY);
        let mut expire = tokio::time::interval(EXPIRE_EVERY);
        loop {
            tokio::select! {
                _ = stamp.tick() => if let Err(error) = self.give_sign_of_life() {
                    log::warn(format!("cannot write the sign of life for the hooks: {error}"));
                },
                _ = expire.tick() => {
                    self.tls_pool.expire();
                    self.plain_pool.expire();
                    self.dialling.expire();
                }
            }
        }
    }

    /// Only who takes redirected connections says that somebody does: a gateway that has handed over shares the maps of
    /// the next one, and would hide that it hangs.
    fn give_sign_of_life(&self) -> io::Result<()> {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&Listener::Redirect);
        if accepting { self.maps.stamp() } else { Ok(()) }
    }

    async fn accept_forever(self: Arc<Self>, kind: Listener, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let gateway = Arc::clone(&self);
                    match kind {
                        Listener::Redirect => drop(tokio::spawn(outbound::handle(gateway, stream, from))),
                        Listener::TlsTunnel => drop(tokio::spawn(inbound::handle_tls(gateway, stream, from.ip()))),
                        Listener::Fixed(to) => drop(tokio::spawn(outbound::carry(gateway, stream, from, to))),
                        Listener::PlainTunnel => drop(tokio::spawn(inbound::handle_plain(gateway, stream, from.ip()))),
                    }
                }
                Err(error) => {
                    // Out of descriptors, most likely: others have to end first.
                    add(&self.counters.over_limit, 1);
                    self.once.warn(NOBODY, &format!("cannot accept connections, new ones wait: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
