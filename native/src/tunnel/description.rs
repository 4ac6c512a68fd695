//! What an identity would prove, for people and for the watcher: read from its PEM text, and not judged.

use std::fmt::Write;
use std::io::BufReader;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity;
use crate::error::{Error, Result};

/// `issuer` and `roots` are SHA-256 fingerprints; `issuer` is the root that the chain ends at, empty if the bundle does not
/// have it. Times are seconds since the epoch, `serial` is hexadecimal.
#[derive(Serialize)]
pub struct Description {
    spiffe_id: String,
    uid: String,
    addresses: Vec<String>,
    serial: String,
    issuer: String,
    not_before: i64,
    not_after: i64,
    roots: Vec<String>,
}

/// Describes the chain (leaf first) and the roots of `bundle`.
pub fn describe(chain: &str, bundle: &str) -> Result<Description> {
    let chain = certificates(chain, "certificate chain")?;
    let roots = certificates(bundle, "trust bundle")?;
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return Err(Error::message("the certificate chain is empty"));
    };
    let names = identity::read(first).map_err(Error::message)?;
    let (leaf, top) = (parse(first)?, parse(last)?);
    let mut issuer = String::new();
    for root in &roots {
        if has_signed(&parse(root)?, &top) {
            issuer = fingerprint(root);
        }
    }
    Ok(Description {
        spiffe_id: names.spiffe_id,
        uid: names.uid,
        addresses: names.addresses.iter().map(ToString::to_string).collect(),
        serial: hexadecimal(leaf.raw_serial()).trim_start_matches('0').to_owned(),
        issuer,
        not_before: leaf.validity().not_before.timestamp(),
        not_after: names.not_after,
        roots: roots.iter().map(|root| fingerprint(root)).collect(),
    })
}

/// Whether `root` is what `certificate` names as its issuer: by the key, as two roots of a trust domain share a name.
fn has_signed(root: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    if root.subject().as_raw() != certificate.issuer().as_raw() {
        return false;
    }
    let Some(wanted) = authority_key(certificate) else { return true };
    let key = &root.public_key().subject_public_key.data;
    // RFC 5280, 4.2.1.2: a root may say by what its key is known; most use the SHA-1 of it.
    subject_key(root).is_some_and(|known| known == wanted)
        || digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref() == wanted.as_slice()
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(named) => named.key_identifier.as_ref().map(|key| key.0.to_vec()),
        _ => None,
    })
}

fn subject_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| Error::message(format!("unreadable certificate: {error}")))
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_reader_iter(BufReader::new(pem.as_bytes()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::message(format!("the {what} is not readable as PEM: {error}")))
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, certificate).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
