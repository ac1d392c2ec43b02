//! Bytes of a connection: whole, and cut anywhere, they mean the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wschat::ws::{Inbound, Then};

const MESSAGE_BYTES_MAX: usize = 1024;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (mut whole, mut parts) = (Inbound::default(), Inbound::default());
    let (mut events, mut again) = (Vec::new(), Vec::new());
    let end = take(&mut whole, bytes, &mut events);
    let mut end_again = Ok(());
    for part in bytes.chunks(usize::from(cut).max(1)) {
        // As over a handover: what is begun is all that there is to know.
        let resumed = parts.into_partial().map(Inbound::resume).unwrap_or_default();
        parts = resumed;
        end_again = take(&mut parts, part, &mut again);
        // What follows a close frame has no meaning; nobody hands it in.
        if end_again.is_err() || again.last().is_some_and(|event| event.starts_with("Close")) {
            break;
        }
    }
    assert_eq!(events, again);
    assert_eq!(end, end_again);
});

fn take(inbound: &mut Inbound, bytes: &[u8], events: &mut Vec<String>) -> Result<(), u16> {
    let mut bytes = bytes.to_vec();
    let taken = inbound.take(&mut bytes, MESSAGE_BYTES_MAX, |event| {
        events.push(format!("{event:?}"));
        Then::Continue
    });
    taken.map(drop).map_err(|close| close.code)
}
