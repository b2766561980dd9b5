//! The same protocol over TLS with a private certificate authority.

use std::sync::{Arc, Mutex};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::{
    server::{State, router},
    world::finish,
};

/// Serves over TLS until the process ends; returns the port and the certificate in PEM form.
fn serve() -> (u16, String) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let (bound, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap().port()).unwrap();
            let router = router(Arc::new(Mutex::new(State::default())));
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust us ends the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(router.clone());
                let _closed = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            }
        });
    });
    (port.recv().unwrap(), issued.cert.pem())
}

#[test]
fn a_private_authority_is_trusted_only_when_named() {
    let (port, pem) = serve();
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_zstack-cli"));
        command.env("HOME", home.path()).arg(format!("--url=https://localhost:{port}")).args(arguments);
        finish(command.args(["LogInByAccount", "accountName=admin", "password=password"]), "")
    };
    run(&["--ca", ca.to_str().unwrap()]).expect(0);
    let untrusted = run(&[]).expect(3);
    assert!(untrusted.err.contains("not trusted") && untrusted.err.contains("--ca"), "{untrusted:?}");
}
