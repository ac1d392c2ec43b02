//! The file of `cluster.credentials_file`: the rule for it.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Report;
use super::rule::{Rule, path};
use crate::cluster::options::Credentials;

/// A file with credentials.
#[derive(Clone, Debug, PartialEq)]
pub struct CredentialsFile {
    pub(super) path: PathBuf,
    /// What it holds, once it was read.
    pub(super) credentials: Option<Credentials>,
}

impl CredentialsFile {
    /// The file at `path`, which is not read yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, credentials: None }
    }
}

/// The path of a file with credentials.
pub(super) fn credentials_file() -> Rule<CredentialsFile> {
    let Rule { allowed, read, show } = path("the path of a .creds file, or of the seed of an nkey");
    Rule::new(
        allowed,
        move |value: &Spanned<DeValue<'_>>, report: &mut Report<'_>| {
            read(value, report).map(CredentialsFile::at)
        },
        move |file: &CredentialsFile| show(&file.path),
    )
}
