//! The responses to POST: each has a message or a notice as its body.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::response::{FullResponse, set};
use crate::chat::Refusal;
use crate::server::shard::post::PostAnswer;

/// The response with this answer. The connection stays open for further requests.
pub(crate) fn response(answer: PostAnswer) -> FullResponse {
    let PostAnswer { refused, text } = answer;
    let mut response = Response::new(text.into());
    let fields = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    set(response.headers_mut(), &fields);
    let Some(refused) = refused else { return response };
    *response.status_mut() = status(refused.refusal);
    if let Some(challenge) = challenge(refused.refusal) {
        set(response.headers_mut(), &[(header::WWW_AUTHENTICATE, challenge)]);
    }
    // A client that is muted may try again then as well, but 403 has no such field.
    if response.status() != StatusCode::FORBIDDEN
        && let Some(secs) = refused.wait_secs
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs.max(1)));
    }
    response
}

/// The status for each refusal.
fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadRequest
        | Refusal::Binary
        | Refusal::BadJson
        | Refusal::NotAnObject
        | Refusal::DuplicateField
        | Refusal::MissingUsr
        | Refusal::MissingMsg
        | Refusal::BadType
        | Refusal::BadCommand => StatusCode::BAD_REQUEST,
        Refusal::JwtMissing | Refusal::JwtInvalid | Refusal::JwtExpired => StatusCode::UNAUTHORIZED,
        Refusal::Origin
        | Refusal::JwtRevoked
        | Refusal::NameReserved
        | Refusal::NameMismatch
        | Refusal::NotAModerator
        | Refusal::Locked
        | Refusal::Muted => StatusCode::FORBIDDEN,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Unknown => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// `WWW-Authenticate` of status 401 (RFC 6750, 3): a request without a token gets no error.
fn challenge(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::JwtMissing => Some("Bearer"),
        Refusal::JwtInvalid | Refusal::JwtExpired => Some("Bearer error=\"invalid_token\""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Refused, Tim};

    /// The status and two fields of the response to a message that is refused.
    fn refused(refusal: Refusal, wait_secs: Option<u64>) -> (u16, String, String) {
        let refused = Refused { refusal, wait_secs };
        let response = response(PostAnswer::refused(refused, Tim::default()));
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(body.contains(&format!("\"err\":\"{}\"", refusal.code())), "{body}");
        let field = |name: &str| {
            let value = response.headers().get(name);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        (response.status().as_u16(), field("www-authenticate"), field("retry-after"))
    }

    #[test]
    fn every_refusal_has_its_status() {
        let all = Refusal::ALL.map(|refusal| (refusal.code(), refused(refusal, Some(0)).0));
        assert_eq!(
            all,
            [
                ("bad-request", 400),
                ("origin", 403),
                ("too-large", 413),
                ("media-type", 415),
                ("unavailable", 503),
                ("binary", 400),
                ("bad-json", 400),
                ("not-an-object", 400),
                ("duplicate-field", 400),
                ("jwt-missing", 401),
                ("jwt-invalid", 401),
                ("jwt-revoked", 403),
                ("jwt-expired", 401),
                ("missing-usr", 400),
                ("missing-msg", 400),
                ("bad-type", 400),
                ("name-reserved", 403),
                ("name-mismatch", 403),
                ("not-a-moderator", 403),
                ("bad-command", 400),
                ("locked", 403),
                ("muted", 403),
                ("rate-limited", 429),
                ("unknown", 504),
            ]
        );
    }

    #[test]
    fn a_challenge_and_the_time_to_wait() {
        for refusal in Refusal::ALL {
            let (status, challenge, retry_after) = refused(refusal, Some(7));
            assert_eq!(!challenge.is_empty(), status == 401, "{refusal:?}");
            assert_eq!(retry_after, if status == 403 { "" } else { "7" }, "{refusal:?}");
        }
        assert_eq!(refused(Refusal::JwtMissing, None).1, "Bearer");
        assert_eq!(refused(Refusal::JwtExpired, None).1, "Bearer error=\"invalid_token\"");
        assert_eq!(refused(Refusal::RateLimited, Some(0)).2, "1");
    }
}
