//! `[cluster]`: its defaults from outside, the files that it names, and what the engine is told.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::credentials_file::CredentialsFile;
use super::environment::{Environment, Source};
use super::read::Draft;
use super::sources::{FILE_BYTES_MAX, OTHERS_MAY_READ};
use super::table::{Config, KEYS};
use crate::cluster::options::{Credentials, EngineOptions};

const SERVERS: &str = "cluster.servers";
const CREDENTIALS_FILE: &str = "cluster.credentials_file";
const CA_FILE: &str = "cluster.tls_ca_file";
const NODE: &str = "cluster.node";

impl Draft {
    /// Takes what `[cluster]` does not set from outside.
    pub fn complete_cluster(&mut self, outside: &Environment) {
        if self.config.cluster.servers.is_empty() {
            return;
        }
        if !self.is_set(CREDENTIALS_FILE)
            && let Some(path) = self.credential("wschat.nats", outside)
        {
            self.config.cluster.credentials_file = Some(CredentialsFile::at(path));
            self.sources.insert(CREDENTIALS_FILE, Source::Other("credential wschat.nats"));
        }
        if !self.is_set(NODE) {
            self.sources.insert(NODE, Source::Other("host name"));
            match outside.host_name.parse() {
                Ok(name) => self.config.cluster.node = Some(name),
                Err(error) => self.refuse(NODE, format!("{error}; set {NODE}")),
            }
        }
    }

    /// Reads the files of `[cluster]`.
    pub fn include_cluster(&mut self) {
        let cluster = self.config.cluster.clone();
        if cluster.servers.is_empty() {
            let is_given =
                |key: &&str| key.starts_with("cluster.") && *key != SERVERS && self.is_set(key);
            let given = KEYS.iter().map(|key| key.name).filter(is_given);
            for key in given.collect::<Vec<_>>() {
                self.warn(key, format!("it has no effect without {SERVERS}"));
            }
            return;
        }
        let has_login = cluster.servers.iter().any(|server| server.login().is_some());
        if has_login && self.is_in_open_file(SERVERS) {
            self.warn(SERVERS, OTHERS_MAY_READ);
        }
        if cluster.servers.iter().all(|server| server.login().is_some())
            && self.is_set(CREDENTIALS_FILE)
        {
            self.warn(
                CREDENTIALS_FILE,
                format!("it has no effect: every URL of {SERVERS} has a login"),
            );
        }
        if let Some(file) = cluster.credentials_file
            && let Some(content) = self.file(CREDENTIALS_FILE, &file.path, FILE_BYTES_MAX)
        {
            if content.others_may_read {
                self.warn(CREDENTIALS_FILE, OTHERS_MAY_READ);
            }
            match Credentials::parse(&content.bytes) {
                Ok(credentials) => {
                    let file = CredentialsFile { credentials: Some(credentials), ..file };
                    self.config.cluster.credentials_file = Some(file);
                }
                Err(error) => self.refuse(CREDENTIALS_FILE, format!("the file {error}")),
            }
        }
        if let Some(path) = cluster.tls_ca_file
            && let Some(content) = self.file(CA_FILE, &path, FILE_BYTES_MAX)
        {
            if let Err(text) = check_certificates(&content.bytes) {
                self.refuse(CA_FILE, text);
            }
            self.config.cluster.tls_ca_file = Some(self.beside(CA_FILE, &path));
        }
    }
}

/// Whether `pem` has certificates of authorities, and only valid ones.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        let added = trusted.add(certificate);
        added.map_err(|error| format!("a certificate cannot be used: {error}"))?;
    }
    if trusted.is_empty() { Err("the file has no certificate in PEM".to_owned()) } else { Ok(()) }
}

impl Config {
    /// What the engine of a cluster is told; `None` for a single room.
    pub fn engine_options(&self) -> Option<EngineOptions> {
        let cluster = &self.cluster;
        if cluster.servers.is_empty() {
            return None;
        }
        let file = cluster.credentials_file.as_ref();
        Some(EngineOptions {
            servers: cluster.servers.clone(),
            credentials: file.and_then(|file| file.credentials.clone()),
            tls_ca_file: cluster.tls_ca_file.clone(),
            stream: cluster.stream.clone(),
            node: cluster.node.clone()?,
            feed_tail_bytes: self.limits.feed_tail_bytes,
            message_bytes_max: self.limits.message_bytes_max,
        })
    }
}
