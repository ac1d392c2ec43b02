//! The snapshot of a room in a memory file (memfd_create(2)).

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::server::Snapshot;

/// A memory file with `bytes`, sealed: nothing can change it.
pub fn write(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("wschat-handover", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// The snapshot in a memory file.
pub fn read(descriptor: OwnedFd) -> io::Result<Snapshot> {
    let mut bytes = Vec::new();
    let mut file = File::from(descriptor);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Snapshot::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
