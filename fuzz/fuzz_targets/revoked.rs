//! Texts of `auth.revoked_file`.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wschat::chat::{Revocation, Revocations};
use wschat::config::read_revoked;

fuzz_target!(|text: &str| {
    match read_revoked(Path::new("f"), text) {
        Ok(revocations) => {
            for revocation in &revocations {
                let (Revocation::Token(id)
                | Revocation::Speaker(id)
                | Revocation::IssuedBefore(id, _)) = revocation;
                assert!(!id.is_empty(), "no id is empty");
                if let Revocation::IssuedBefore(_, secs) = revocation {
                    assert!(secs.is_finite());
                }
            }
            let count = revocations.len();
            let revoked: Revocations = revocations.into_iter().collect();
            assert!(revoked.len() <= count && revoked.is_empty() == (count == 0));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let (_, place) = problem.place.as_ref().expect("a place");
                let line = text.split('\n').nth(place.line - 1).expect("a line of the file");
                assert!(place.column <= line.chars().count() + 1);
                assert!(!problem.to_string().contains('\n'));
            }
        }
    }
});
