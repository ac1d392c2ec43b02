//! Public keys in PEM (RFC 7468).

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use pem::Pem;
use pkcs1::{ObjectIdentifier, RsaPssParamsOwned};
use spki::SubjectPublicKeyInfoRef;
use spki::der::asn1::AnyRef;

use super::keys::{KeyError, PublicKeys, TokenKey};

const RSA: ObjectIdentifier = pkcs1::ALGORITHM_OID;
/// RSA keys that are only for RSASSA-PSS (RFC 4055, 1.2).
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// The keys of a PEM file, all for `algorithm`.
pub(super) fn read(
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
    content: &[u8],
) -> Result<PublicKeys, KeyError> {
    let text = std::str::from_utf8(content).map_err(|_| KeyError::Form)?;
    let begins = || text.lines().filter(|line| line.trim_start().starts_with("-----BEGIN "));
    if begins().any(|line| line.contains("PRIVATE KEY")) {
        return Err(KeyError::Private);
    }
    if begins().next().is_none() {
        return Err(KeyError::Form);
    }
    let algorithm = algorithm.ok_or(KeyError::AlgorithmMissing)?;
    if algorithm.family() == AlgorithmFamily::Hmac {
        return Err(KeyError::NotForPublic);
    }
    let blocks = pem::parse_many(text).map_err(|_| KeyError::Damaged)?;
    // The parser skips a block without an end and everything behind it.
    if blocks.len() != begins().count() {
        return Err(KeyError::Damaged);
    }
    PublicKeys::collect(blocks.iter().enumerate().map(|(index, block)| {
        let key = decode(block, algorithm).and_then(|key| TokenKey::public(kid, algorithm, key));
        ((index + 1).to_string(), key.map(Some))
    }))
}

fn decode(block: &Pem, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
    let family = algorithm.family();
    match block.tag() {
        "PUBLIC KEY" => {}
        "RSA PUBLIC KEY" if family == AlgorithmFamily::Rsa => {
            return Ok(DecodingKey::from_rsa_der(block.contents()));
        }
        // Its issuer and its expiry would not be checked.
        "CERTIFICATE" => return Err(KeyError::Certificate),
        _ => return Err(KeyError::Other(algorithm)),
    }
    let info = SubjectPublicKeyInfoRef::try_from(block.contents())
        .map_err(|_| KeyError::Other(algorithm))?;
    let bits = info.subject_public_key.raw_bytes();
    match (info.algorithm.oid, family) {
        (RSA, AlgorithmFamily::Rsa) => Ok(DecodingKey::from_rsa_der(bits)),
        (RSA_PSS, AlgorithmFamily::Rsa) if may_verify(info.algorithm.parameters, algorithm) => {
            Ok(DecodingKey::from_rsa_der(bits))
        }
        (EC, AlgorithmFamily::Ec) => Ok(DecodingKey::from_ec_der(bits)),
        (ED25519, AlgorithmFamily::Ed) => Ok(DecodingKey::from_ed_der(bits)),
        _ => Err(KeyError::Other(algorithm)),
    }
}

/// Whether an RSASSA-PSS key with these parameters may verify `algorithm`. Without
/// parameters it is for every hash (RFC 4055, 1.2).
fn may_verify(parameters: Option<AnyRef<'_>>, algorithm: Algorithm) -> bool {
    // The salt of the signature is as long as the hash (RFC 7518, 3.5).
    let (hash, salt_bytes) = match algorithm {
        Algorithm::PS256 => (SHA256, 32),
        Algorithm::PS384 => (SHA384, 48),
        Algorithm::PS512 => (SHA512, 64),
        _ => return false,
    };
    let Some(parameters) = parameters else { return true };
    let Ok(limits) = parameters.decode_as::<RsaPssParamsOwned>() else { return false };
    limits.hash.oid == hash
        && limits.mask_gen.oid == MGF1
        && limits.mask_gen.parameters.is_some_and(|mask| mask.oid == hash)
        && limits.salt_len <= salt_bytes
}
