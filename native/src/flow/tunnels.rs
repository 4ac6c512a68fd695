//! The two kinds of tunnels, which differ in port, pool and handshake only.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::gateway::Gateway;
use super::pool::Pool;
use crate::tunnel::records::Records;
use crate::tunnel::session::Session;
use crate::tunnel::tls::{HandshakeError, Identity};
use crate::tunnel::transport::Transport;

const TLS_TUNNEL_PORT: u16 = 18443;
const PLAIN_TUNNEL_PORT: u16 = 18001;

/// How streams to peers travel: over TLS, or plainly while encryption is off.
pub trait Tunnel: Sync {
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

pub struct Tls(pub Arc<Identity>);
pub struct Plain;

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
