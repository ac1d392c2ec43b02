//! The bytes of a connection give the same events in one read and in several reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wschat::ws::{Decoder, Event, Violation};

const MESSAGE_BYTES_MAX: usize = 1024;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (mut whole, mut parts) = (Decoder::default(), Decoder::default());
    let (mut events, mut events_of_parts) = (Vec::new(), Vec::new());
    let end = decode(&mut whole, bytes, &mut events);
    let mut end_of_parts = Ok(false);
    for part in bytes.chunks(usize::from(cut).max(1)) {
        // As in a handover: the next process has only the state.
        parts = parts.into_state().map(Decoder::resume).unwrap_or_default();
        end_of_parts = decode(&mut parts, part, &mut events_of_parts);
        if end_of_parts != Ok(false) {
            break;
        }
    }
    assert_eq!(events, events_of_parts);
    assert_eq!(end, end_of_parts);
});

/// Appends the events of `bytes`; returns whether a close frame ended the stream.
fn decode(
    decoder: &mut Decoder,
    bytes: &[u8],
    events: &mut Vec<String>,
) -> Result<bool, Violation> {
    let mut bytes = bytes.to_vec();
    let mut bytes = &mut bytes[..];
    while let Some(event) = decoder.next(&mut bytes, MESSAGE_BYTES_MAX)? {
        events.push(format!("{event:?}"));
        if let Event::Close(_) = event {
            return Ok(true);
        }
    }
    Ok(false)
}
