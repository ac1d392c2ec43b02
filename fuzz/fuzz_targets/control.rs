//! Lines of the control socket: the daemon parses a request, and a command writes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wschat::control::{ControlRequest, parse_request};

fuzz_target!(|line: &[u8]| {
    if let Ok(request) = parse_request(line) {
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(parse_request(text.as_bytes()).as_ref(), Ok(&request));
        if let ControlRequest::Clients { limit, .. } = request {
            assert!(limit <= ControlRequest::CLIENTS_MAX);
        }
    }
});
