//! A snapshot as bytes, and back.

use aws_lc_rs::digest::{SHA256, digest};

use crate::feed::Log;
use crate::server::snapshot::older;
use crate::server::snapshot::state::{ConnectionSnapshot, Snapshot};

const MAGIC: &[u8; 8] = b"wschat\0\0";
pub(super) const VERSION: u32 = 7;
const HEADER_BYTES: usize = MAGIC.len() + 4 + 32;

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not start with the magic bytes, or the header is not complete.
    #[error("not a state of wschat")]
    Foreign,
    /// A newer version of wschat wrote it.
    #[error("a state of version {0}, this is version {VERSION}")]
    Version(u32),
    /// The checksum does not match the body.
    #[error("the checksum is wrong")]
    Checksum,
    /// The checksum is right, but the content is invalid.
    #[error("the content is invalid")]
    Content,
}

impl Snapshot {
    /// The bytes of this snapshot, in the newest version.
    pub fn encode(&self) -> Vec<u8> {
        // Serializing plain structs into memory cannot fail.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(digest(&SHA256, &body).as_ref());
        out.extend_from_slice(&body);
        out
    }

    /// Decodes a snapshot of any version.
    ///
    /// # Errors
    ///
    /// Why this version cannot use the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let header = || {
            let (magic, rest) = bytes.split_first_chunk()?;
            let (version, rest) = rest.split_first_chunk()?;
            let (checksum, body) = rest.split_first_chunk::<32>()?;
            (magic == MAGIC).then_some((u32::from_le_bytes(*version), checksum, body))
        };
        let (version, checksum, body) = header().ok_or(SnapshotError::Foreign)?;
        if !(1..=VERSION).contains(&version) {
            return Err(SnapshotError::Version(version));
        }
        if digest(&SHA256, body).as_ref() != checksum {
            return Err(SnapshotError::Checksum);
        }
        let decoded = match version {
            1 => older::decode_v1(body),
            2 => older::decode_v2(body),
            3 => older::decode_v3(body),
            4 => older::decode_v4(body),
            5 => older::decode_v5(body),
            6 => older::decode_v6(body),
            _ => postcard::from_bytes(body),
        };
        decoded.ok().filter(Self::is_valid).ok_or(SnapshotError::Content)
    }
}

impl ConnectionSnapshot {
    /// The bytes of this connection, in the newest version.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Decodes a connection of a room whose feed is `log`. `None` if the bytes are
    /// invalid or do not fit this feed.
    pub fn decode(bytes: &[u8], log: &Log) -> Option<Self> {
        postcard::from_bytes(bytes).ok().filter(|snapshot: &Self| snapshot.is_valid(log))
    }
}
