//! Who a peer is: the SPIFFE id and addresses of a certificate that TLS has already found valid.
//!
//! SPIFFE X.509-SVID, section 2: exactly one URI SAN, and it is the SPIFFE id.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// userId.
const USER_ID: Oid<'static> = oid!(0.9.2342.19200300.100.1.1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    pub spiffe_id: String,
    /// The pod's, from the subject (userId, RFC 4519); empty where that names none.
    pub uid: String,
    pub addresses: Vec<IpAddr>,
    /// Seconds since the epoch.
    pub not_after: i64,
    pub cipher: &'static str,
    pub key_exchange: &'static str,
    /// What it proved that with, where it dialled us; empty elsewhere.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Reads the identity of `certificate` (DER) and holds it against the trust domain and the address it was met at.
/// The error is a sentence for the log.
pub fn check(certificate: &[u8], trust_domain: &str, address: IpAddr) -> Result<PeerIdentity, String> {
    let identity = read(certificate)?;
    let prefix = format!("spiffe://{trust_domain}/");
    if !identity.spiffe_id.starts_with(&prefix) || identity.spiffe_id.len() == prefix.len() {
        return Err(format!("its id {} is not of the trust domain {trust_domain}", identity.spiffe_id));
    }
    if !identity.addresses.contains(&address.to_canonical()) {
        return Err(format!("the certificate of {} is not for the address {address}", identity.spiffe_id));
    }
    Ok(identity)
}

/// The identity of a certificate, without judging it.
pub fn read(certificate: &[u8]) -> Result<PeerIdentity, String> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| format!("unreadable certificate: {error}"))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| format!("unreadable names in the certificate: {error}"))?
        .ok_or("the certificate has no names")?;
    let mut uris = Vec::new();
    let mut addresses = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::IPAddress(octets) => addresses.push(ip(octets)?),
            _ => {}
        }
    }
    match <[String; 1]>::try_from(uris) {
        Ok([spiffe_id]) => Ok(PeerIdentity {
            spiffe_id,
            uid: uid(&parsed),
            addresses,
            not_after: parsed.validity().not_after.timestamp(),
            cipher: "",
            key_exchange: "",
            chain: Vec::new(),
        }),
        Err(uris) => Err(format!("the certificate has {} URI names, it must have exactly one", uris.len())),
    }
}

/// Two of them are as good as none: nobody could say which one is meant.
fn uid(certificate: &X509Certificate<'_>) -> String {
    let mut uids = certificate.subject().iter_by_oid(&USER_ID).filter_map(|name| name.as_str().ok());
    match (uids.next(), uids.next()) {
        (Some(uid), None) => uid.to_owned(),
        _ => String::new(),
    }
}

fn ip(octets: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(v4.into());
    }
    <[u8; 16]>::try_from(octets).map(IpAddr::from).map_err(|_| "the certificate has a malformed address".to_owned())
}
