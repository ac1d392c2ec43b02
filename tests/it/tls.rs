//! `wschat join wss://…`: the server must be the one that the URL names.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::join::{command, feed};

#[test]
fn a_trusted_certificate_is_accepted() {
    let server = Server::start("localhost");
    let output = server.join("localhost", &server.authority);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown, "--:--:-- ci: over TLS\n");
}

#[test]
fn an_untrusted_certificate_is_rejected() {
    let (server, other) = (Server::start("localhost"), Server::start("localhost"));
    server.check_refused(
        "localhost",
        &other.authority,
        "not issued by an authority that this machine trusts",
    );
}

#[test]
fn a_certificate_for_another_name_is_rejected() {
    let server = Server::start("chat.example");
    server.check_refused(
        "localhost",
        &server.authority,
        "the certificate of the server is for chat.example, not for localhost",
    );
}

/// A server with TLS that returns every message.
struct Server {
    address: SocketAddr,
    /// The certificate of the authority that signed the server's.
    authority: PathBuf,
    _folder: TempDir,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = folder.path().join("authority.pem");
        fs::write(&authority, issuer.pem()).unwrap();

        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let config = Arc::new(config);
            for stream in listener.incoming() {
                let config = config.clone();
                thread::spawn(move || echo(stream.unwrap(), config));
            }
        });
        Self { address, authority, _folder: folder }
    }

    fn join(&self, host: &str, authority: &PathBuf) -> Output {
        let url = format!("wss://{host}:{}", self.address.port());
        let mut command = command(&url, &["--usr", "ci"]);
        command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR");
        feed(command, "over TLS\n")
    }

    fn check_refused(&self, host: &str, authority: &PathBuf, why: &str) {
        let output = self.join(host, authority);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("wschat: {host}:{}: ", self.address.port())), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// Serves a client until one side fails.
fn echo(stream: TcpStream, config: Arc<ServerConfig>) {
    let connection = ServerConnection::new(config).unwrap();
    let Ok(mut socket) = tungstenite::accept(StreamOwned::new(connection, stream)) else { return };
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(message).is_err() {
            return;
        }
    }
}
