//! TLS 1.3 with a certificate on both sides, and nothing else.
//!
//! Session tickets are off: a resumed session would keep an old identity, and pooled sessions make handshakes rare.
//! X25519MLKEM768 is offered first (feature `prefer-post-quantum`); AES-128-GCM is preferred for its speed.

use std::io::{self, BufReader};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;

use super::handshake::{self, Agreed};
use super::identity::{self, PeerIdentity};
use super::records::Records;
use super::session::Session;
use super::wire;
use crate::error::{Error, Result};

pub type TlsSession = Session<Records>;

/// The gateway's own identity and whom it trusts. Replaced as a whole at renewal; `generation` tells them apart.
pub struct Identity {
    pub generation: u64,
    pub trust_domain: String,
    pub own: PeerIdentity,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke: a gateway that restarts, or not a gateway at all.
    #[error("the handshake broke off: {0}")]
    Broken(io::Error),
    /// The peer could not prove who it is, or did not accept who we are.
    #[error("{0}")]
    Refused(String),
}

impl Identity {
    /// Builds both sides' configuration from PEM text. Errors name what is wrong, never the key.
    pub fn new(generation: u64, chain: &str, key: &str, bundle: &str, trust_domain: &str) -> Result<Self> {
        let chain = certificates(chain, "certificate chain")?;
        let first = chain.first().ok_or_else(|| Error::message("the certificate chain is empty"))?;
        let own = identity::read(first).map_err(|why| Error::message(format!("own certificate: {why}")))?;
        let key = || {
            PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| Error::message("the private key is not readable as PEM"))
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(bundle, "trust bundle")? {
            roots.add(root).map_err(|error| Error::message(format!("a root of the trust bundle: {error}")))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(provider());
        let failed = |error: rustls::Error| Error::message(format!("cannot use the identity: {error}"));

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key()?)
            .map_err(failed)?;
        client.alpn_protocols = vec![wire::ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        // For our own record layer, in this process only.
        client.enable_secret_extraction = true;

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| Error::message(format!("cannot use the trust bundle: {error}")))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain, key()?)
            .map_err(failed)?;
        server.alpn_protocols = vec![wire::ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.enable_secret_extraction = true;

        Ok(Self {
            generation,
            trust_domain: trust_domain.to_owned(),
            own,
            client: Arc::new(client),
            server: Arc::new(server),
            verifier,
        })
    }

    /// Proves to the peer who we are and checks that it is who it must be at `address`.
    pub async fn connect(&self, stream: TcpStream, address: IpAddr) -> std::result::Result<TlsSession, HandshakeError> {
        let name = ServerName::IpAddress(address.to_canonical().into());
        let (records, peer) =
            self.agreed(handshake::connect(Arc::clone(&self.client), name, stream).await?, address)?;
        Ok(Session::new(records, Some(Arc::new(PeerIdentity { chain: Vec::new(), ..peer }))))
    }

    /// The other side of `connect`; `address` is where the connection comes from.
    pub async fn accept(&self, stream: TcpStream, address: IpAddr) -> std::result::Result<TlsSession, HandshakeError> {
        let (records, peer) = self.agreed(handshake::accept(Arc::clone(&self.server), stream).await?, address)?;
        Ok(Session::new(records, Some(Arc::new(peer))))
    }

    /// Whether a peer that proved itself under an earlier identity of ours could do so now.
    pub fn still_accepts(&self, peer: &PeerIdentity) -> bool {
        let Some((first, others)) = peer.chain.split_first() else { return false };
        self.verifier.verify_client_cert(first, others, UnixTime::now()).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    #[cfg(test)]
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    fn agreed(&self, agreed: Agreed, address: IpAddr) -> std::result::Result<(Records, PeerIdentity), HandshakeError> {
        if agreed.alpn.as_deref() != Some(wire::ALPN) {
            return Err(HandshakeError::Refused("it does not speak kube-gateway/1".to_owned()));
        }
        let certificate =
            agreed.chain.first().ok_or_else(|| HandshakeError::Refused("it presents no certificate".to_owned()))?;
        let mut peer = identity::check(certificate, &self.trust_domain, address).map_err(HandshakeError::Refused)?;
        (peer.cipher, peer.key_exchange) = (agreed.cipher, agreed.key_exchange);
        peer.chain = agreed.chain;
        Ok((agreed.records, peer))
    }
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_reader_iter(BufReader::new(pem.as_bytes()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::message(format!("the {what} is not readable as PEM: {error}")))
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => inner.clone().into(),
            None => Self::Broken(error),
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Refused(match error {
            // A stranger's root may carry the same name as ours: then it is the signature that does not fit.
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                "its certificate is of an unknown authority".to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => "its certificate is not for its address".to_owned(),
            rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                "its certificate has expired".to_owned()
            }
            rustls::Error::InvalidCertificate(why) => format!("its certificate is not accepted: {why:?}"),
            rustls::Error::NoCertificatesPresented => "it presents no certificate".to_owned(),
            rustls::Error::AlertReceived(alert) => format!("it refuses us with the TLS alert {alert:?}"),
            other => other.to_string(),
        })
    }
}
