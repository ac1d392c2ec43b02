//! The state of a handover: any bytes, and any content with a valid checksum.
#![no_main]

use aws_lc_rs::digest::{SHA256, digest};
use libfuzzer_sys::fuzz_target;
use wschat::server::{ConnectionSnapshot, Snapshot};
use wschat::ws::Decoder;

fuzz_target!(|data: &[u8]| {
    resume(data);
    let checksum = digest(&SHA256, data);
    for version in [1_u32, 2, 3] {
        let version = version.to_le_bytes();
        resume(&[b"wschat\0\0", &version[..], checksum.as_ref(), data].concat());
    }
});

/// Everything that the next process does with a state, except for the sockets.
fn resume(bytes: &[u8]) {
    let Ok(state) = Snapshot::decode(bytes) else { return };
    assert_eq!(Snapshot::decode(&state.encode()), Ok(state.clone()));
    let log = state.log(65_536);
    for bytes in &state.rows {
        let Some(row) = ConnectionSnapshot::decode(bytes, &log) else { continue };
        row.takes_close(&log);
        let mut decoder = row.partial.map(Decoder::resume).unwrap_or_default();
        let mut bytes = &mut [0x81, 0x80, 0, 0, 0, 0][..];
        while let Ok(Some(_)) = decoder.next(&mut bytes, 1024) {}
    }
}
