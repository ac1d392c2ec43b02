//! Errors of TLS, in words that say what to do.

use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};

use super::sanitize::sanitize_text;

/// Why there is no connection with TLS.
pub fn tls_words(error: &Error) -> String {
    let text = match error {
        Error::InvalidCertificate(error) => {
            format!("the certificate of the server {}", certificate_words(error))
        }
        Error::NoCertificatesPresented => "the server has no certificate".into(),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the server does not speak TLS there; without TLS, the URL begins with ws://".into()
        }
        Error::AlertReceived(alert) => format!("the server rejects the TLS connection: {alert:?}"),
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) => {
            format!("the server and this program have no form of TLS in common: {error}")
        }
        error => format!("TLS: {error}"),
    };
    sanitize_text(&text)
}

/// What is wrong with a certificate, as the end of a sentence.
fn certificate_words(error: &CertificateError) -> String {
    use CertificateError::*;
    match error {
        // The other one: there is another authority with the same name.
        UnknownIssuer | BadSignature => "was not issued by an authority that this machine trusts; \
            if it is your own, name its certificate in the variable SSL_CERT_FILE"
            .into(),
        Expired | ExpiredContext { .. } => "has expired".into(),
        NotValidYet | NotValidYetContext { .. } => {
            "is not valid yet; is the clock of this machine right?".into()
        }
        NotValidForName => "is for another host name".into(),
        NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| dns_name(name)).collect();
            let expected = match expected {
                ServerName::DnsName(name) => name.as_ref().to_owned(),
                name => name.to_str().into_owned(),
            };
            format!("is for {}, not for {expected}", presented.join(", "))
        }
        Revoked => "was revoked by its authority".into(),
        InvalidPurpose | InvalidPurposeContext { .. } => "is not one for servers".into(),
        BadEncoding => "cannot be read".into(),
        // webpki says so of most certificates that their owners have signed themselves.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is that of an authority, not of a server, as a self-signed one often is; make one \
             for the server (with basicConstraints CA:FALSE)"
                .into()
        }
        other => format!("is not valid: {other}"),
    }
}

/// The name in `DnsName("chat.example")`, as rustls writes it.
fn dns_name(text: &str) -> &str {
    text.split('"').nth(1).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_a_sentence() {
        let name = || ServerName::try_from("localhost").unwrap().to_owned();
        let certificate = Error::InvalidCertificate;
        for (error, want) in [
            (certificate(CertificateError::Expired), "the certificate of the server has expired"),
            (
                certificate(CertificateError::NotValidForNameContext {
                    expected: name(),
                    presented: vec!["DnsName(\"chat.example\")".into(), "\x1b[2J".into()],
                }),
                "the certificate of the server is for chat.example, ␛[2J, not for localhost",
            ),
            (Error::NoCertificatesPresented, "the server has no certificate"),
            (
                Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "the server does not speak TLS there; without TLS, the URL begins with ws://",
            ),
            (
                Error::AlertReceived(rustls::AlertDescription::HandshakeFailure),
                "the server rejects the TLS connection: HandshakeFailure",
            ),
        ] {
            assert_eq!(tls_words(&error), want);
        }
    }
}
