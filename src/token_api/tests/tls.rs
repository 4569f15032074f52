//! Private authorities.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::mint::request;
use super::server::{client, client_with, raw, read_request, serve_raw};
use crate::token_api::{Class, MintError};

/// A private authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server for `localhost` whose certificate comes from `authority`; it says yes to everything.
async fn serve(
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> (String, tokio_util::task::AbortOnDropHandle<()>) {
    let (listener, url) = raw().await;
    let url = url.replace("http://127.0.0.1", "https://localhost");
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = serve_raw(listener, move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while read_request(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n{\"id\":\"tok_1\",\"token\":\"kt_live_x\"}";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    (url, server)
}

#[tokio::test]
async fn a_private_authority_is_accepted_with_its_file_and_refused_without() {
    let authority = authority();
    let (url, _server) = serve(&authority).await;
    let trusting = client_with(&url, |settings| {
        let file = settings.token_file.with_file_name("ca");
        std::fs::write(&file, authority.pem()).unwrap();
        settings.ca_file = Some(file);
    });
    trusting.client.whoami().await.unwrap();
    let permit = trusting.client.permit().await.unwrap();
    trusting.client.create(permit, &request()).await.unwrap();

    let other = client(&url);
    let error = other.client.whoami().await.unwrap_err();
    assert_eq!(error.class, Class::Unreachable);
    assert!(error.message.contains("certificate"), "{error}");
    let permit = other.client.permit().await.unwrap();
    let error = other.client.create(permit, &request()).await.unwrap_err();
    assert!(matches!(error, MintError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn an_authority_that_is_replaced_counts_without_a_restart() {
    let (old, new) = (authority(), authority());
    let (url, _server) = serve(&new).await;
    let fixture = client_with(&url, |settings| {
        let file = settings.token_file.with_file_name("ca");
        std::fs::write(&file, old.pem()).unwrap();
        settings.ca_file = Some(file);
    });
    let (client, file) = (&fixture.client, fixture.folder.path().join("ca"));
    assert!(client.whoami().await.is_err());
    assert!(!client.connection.reload_ca().unwrap());
    // Half a file, then a whole one.
    std::fs::write(&file, &new.pem()[..100]).unwrap();
    assert!(client.connection.reload_ca().is_err());
    std::fs::write(&file, new.pem()).unwrap();
    assert!(client.connection.reload_ca().unwrap());
    client.whoami().await.unwrap();
    assert_eq!(client.credential_version(), 1);
}
