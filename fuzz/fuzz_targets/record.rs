//! Messages of the stream of a cluster: each is a record, which is written as it was read, or an
//! error. The input is a payload of the kind of its first byte, and lines of header fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wschat::cluster::log::{Body, Record, decode, encode};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let fields: Vec<_> = lines.map(|(name, value)| owned(name, value)).collect();
    if let Ok(record) = decode(&fields, b"") {
        assert!(matches!(record.body, Body::Empty));
        is_read_as_written(&record);
    }
    let Some((kind, payload)) = data.split_first() else { return };
    let kind = ["messages", "act", "empty"][usize::from(kind % 3)];
    let fields = [
        owned("Wschat-Version", "1"),
        owned("Wschat-Node", "a 7 1"),
        owned("Wschat-By", "5"),
        owned("Wschat-Kind", kind),
    ];
    if let Ok(record) = decode(&fields, payload) {
        is_read_as_written(&record);
    }
});

fn is_read_as_written(record: &Record) {
    let (headers, payload) = encode(record);
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| owned(name, &value)).collect();
    assert_eq!(decode(&headers, &payload).as_ref(), Ok(record));
}

fn owned(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
