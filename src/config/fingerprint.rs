//! What a configuration takes from outside its files, such that two loads can be compared
//! without showing a secret.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::load::Loaded;

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The key.
    pub key: String,
    /// Where the value comes from.
    pub source: String,
    /// Its SHA-256.
    digest: Vec<u8>,
}

impl Fingerprint {
    /// Whether the value is another one than in `other`.
    pub fn differs(&self, other: &Self) -> bool {
        self.digest != other.digest
    }
}

impl Loaded {
    /// The values of the keys that a credential or a variable can set.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let config = &self.config;
        let secret = config.auth.secret.as_ref().map(|secret| secret.bytes().to_vec());
        let folder =
            config.record.dir.as_ref().map(|dir| dir.as_os_str().as_encoded_bytes().into());
        let file = config.cluster.credentials_file.as_ref();
        let login = file.and_then(|file| fs::read(&file.path).ok());
        let values = [
            ("auth.jwt_secret", secret),
            ("record.dir", folder),
            ("cluster.credentials_file", login),
        ];
        let fingerprint = |(key, value): (&str, Option<Vec<u8>>)| Fingerprint {
            key: key.to_owned(),
            source: self.source(key),
            digest: value.map_or_else(Vec::new, |bytes| digest(&SHA256, &bytes).as_ref().to_vec()),
        };
        values.map(fingerprint).into()
    }
}
