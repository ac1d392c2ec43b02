//! Texts of the configuration file and of key files.
#![no_main]

use std::path::Path;

use jsonwebtoken::Algorithm;
use libfuzzer_sys::fuzz_target;
use wschat::chat::read_public_keys;
use wschat::config::{KEYS, parse};

fuzz_target!(|text: &str| {
    match parse(Path::new("f"), text) {
        Ok(config) => {
            for key in KEYS {
                (key.show)(&config);
            }
        }
        Err(problems) => {
            assert!(!problems.list.is_empty());
            for problem in problems.list {
                let (_, place) = problem.place.as_ref().expect("a place");
                let line = text.split('\n').nth(place.line - 1).expect("a line of the file");
                assert!(place.column <= line.chars().count() + 1);
                assert!(!problem.to_string().contains('\n'));
            }
        }
    }
    for algorithm in [None, Some(Algorithm::RS256), Some(Algorithm::ES256), Some(Algorithm::EdDSA)]
    {
        let _ = read_public_keys(None, algorithm, text.as_bytes());
    }
});
