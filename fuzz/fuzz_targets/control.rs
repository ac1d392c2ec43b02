//! Lines of the control socket: requests as the daemon reads them, answers as
//! the commands do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wschat::control::{Request, parse};

fuzz_target!(|line: &[u8]| {
    if let Ok(request) = parse(line) {
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&request));
        if let Request::Clients { limit, .. } = request {
            assert!(limit <= Request::CLIENTS_MAX);
        }
    }
});
