//! The state of a handover: any bytes, and any content behind a right checksum.
#![no_main]

use aws_lc_rs::digest::{SHA256, digest};
use libfuzzer_sys::fuzz_target;
use wschat::server::{ConnectionSnapshot, Snapshot};
use wschat::ws::Decoder;

fuzz_target!(|data: &[u8]| {
    look_at(data);
    let checksum = digest(&SHA256, data);
    for version in [1_u32, 2, 3] {
        let version = version.to_le_bytes();
        look_at(&[b"wschat\0\0", &version[..], checksum.as_ref(), data].concat());
    }
});

/// All that a successor does with a state before there are sockets.
fn look_at(bytes: &[u8]) {
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
