//! From this pod's application to wherever it wanted to go: to that address, or to a backend of the Service that has it.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::application::{Application, Socket};
use super::attempt::{Connection, Miss, Outcome};
use super::backends::Service;
use super::counters::add;
use super::gateway::Gateway;
use super::services::Answer;
use super::sockets::reset_on_drop;
use crate::log;
use crate::tunnel::wire::Open;

/// How long one backend after the other is tried: an application has no more patience than that.
const TRY_FOR: Duration = Duration::from_secs(30);

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
    carry(gateway, application, from, destination).await;
}

/// Carries a connection of the application that is to go to `destination`.
pub async fn carry(gateway: Arc<Gateway>, application: TcpStream, from: SocketAddr, destination: SocketAddr) {
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
    let open = Open { connection: gateway.next_connection(), destination, source: SocketAddr::new(own, from.port()) };
    let application = Application::new(application, &gateway.interception, open.connection, destination);
    Connection::new(&gateway, application, open).run().await;
}

impl Connection<'_> {
    async fn run(mut self) {
        let destination = self.open.destination;
        let outcome = match self.gateway.resolve(destination).await {
            Some(Answer::Service(service)) => self.try_backends(destination, service).await,
            Some(Answer::NoService) | None => self.attempt(false).await,
        };
        match outcome {
            Outcome::Done => {}
            Outcome::Refuse(why) | Outcome::Missed(Miss { refused: true, why }) => self.refuse(&why),
            Outcome::Missed(Miss { refused: false, why }) => {
                log::debug(format!("connection {} to {}: {why}", self.open.connection, self.open.destination));
                self.application.reset_on_drop();
            }
        }
    }

    /// Tries the backends of a Service, one after the other, each once.
    async fn try_backends(&mut self, destination: SocketAddr, service: Arc<Service>) -> Outcome {
        let give_up = Instant::now() + TRY_FOR;
        let mut backends = self.gateway.services.choose(&service, destination);
        if !backends.has_more() {
            return self.without_backends(destination, &service);
        }
        add(&self.gateway.counters.services_resolved, 1);
        let source = self.open.source;
        self.service = Some((Arc::clone(&service), destination));
        let mut outcome = Outcome::Done;
        while let Some(backend) = backends.next() {
            let Some(own) = self.gateway.own_address(backend.ip()) else {
                outcome = Outcome::Refuse(format!("the pod has no address of the family of {backend}"));
                continue;
            };
            self.open.destination = backend;
            self.open.source = SocketAddr::new(own, source.port());
            let others = backends.has_more() && Instant::now() < give_up;
            outcome = self.attempt(others).await;
            match &outcome {
                Outcome::Missed(miss) if others => log::debug(format!(
                    "connection {}: {backend} of {} was not reached ({}), trying another",
                    self.open.connection, service.name, miss.why
                )),
                _ => break,
            }
        }
        outcome
    }

    fn without_backends(&self, destination: SocketAddr, service: &Service) -> Outcome {
        add(&self.gateway.counters.services_without_backends, 1);
        let text = format!("reset a connection to {destination}: no backend of {} is ready", service.name);
        self.gateway.once.warn(destination.ip(), &text);
        self.application.reset_on_drop();
        Outcome::Done
    }

    fn refuse(&self, why: &str) {
        let peer = self.open.destination.ip();
        add(&self.gateway.counters.refused_outbound, 1);
        self.gateway.peers.count_refused(peer);
        self.gateway.once.warn(peer, &format!("refused a connection to {peer}: {why}"));
        self.application.reset_on_drop();
    }
}
