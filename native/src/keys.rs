//! A key that is born in the pod and never leaves it, and the request to have it certified.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::error::{Error, Result};

/// Returns (private key as PKCS #8 PEM, certificate signing request as PEM; RFC 2986). The request names nobody: whoever
/// signs decides the names.
pub fn create_key_and_request() -> Result<(String, String)> {
    let failed = |error: rcgen::Error| Error::message(format!("cannot make a key: {error}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let request = parameters.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
    Ok((key.serialize_pem(), request))
}
