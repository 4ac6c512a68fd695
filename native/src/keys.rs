//! A key that is born in the pod and never leaves it, the request to have it certified, and what it signs beside TLS.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

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

/// Signs `data` by ECDSA with SHA-256 (DER form, RFC 3279) under a P-256 key in PEM form.
pub fn sign(key: &str, data: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::message(format!("cannot sign: {error}"));
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| failed(&error))?;
    let key = any_supported_type(&key).map_err(|error| failed(&error))?;
    let signer = key
        .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
        .ok_or_else(|| failed(&"the key is not ECDSA P-256"))?;
    signer.sign(data).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_is_verified_by_the_keys_public_half_and_nothing_else_is() {
        let (pem, _) = create_key_and_request().unwrap();
        let public = KeyPair::from_pem(&pem).unwrap();
        let signature = sign(&pem, b"a receipt").unwrap();
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.public_key_raw());
        assert!(verifier.verify(b"a receipt", &signature).is_ok());
        assert!(verifier.verify(b"a receipT", &signature).is_err());
    }

    #[test]
    fn what_is_no_key_of_ours_signs_nothing() {
        let rsa_or_other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for key in ["", "no key", rsa_or_other.as_str()] {
            assert!(sign(key, b"a receipt").is_err());
        }
    }
}
