//! Certificates of servers, and a loop that answers over HTTP/1.1, with TLS or without.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeyPair,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// A root, and authorities below it.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        Self { root: CertifiedIssuer::self_signed(authority("An emulated root"), key).unwrap() }
    }

    pub(crate) fn root(&self) -> String {
        self.root.pem()
    }

    /// Leaf, authority in between, root.
    pub(crate) fn chain(&self, key: &KeyPair, name: &str, not_after: i32) -> Vec<CertificateDer<'static>> {
        let middle_key = rcgen::KeyPair::generate().unwrap();
        let middle =
            CertifiedIssuer::signed_by(authority("An emulated authority"), middle_key, &self.root).unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2000, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.is_ca = IsCa::ExplicitNoCa;
        let certificate = leaf.signed_by(&rcgen_key(key), &middle).unwrap();
        vec![certificate.der().clone(), middle.der().clone(), self.root.der().clone()]
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

fn pkcs8(key: &KeyPair) -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    der.as_ref().to_vec()
}

fn rcgen_key(key: &KeyPair) -> rcgen::KeyPair {
    let der = PrivatePkcs8KeyDer::from(pkcs8(key));
    rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap()
}

pub(crate) fn configuration(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(pkcs8(key)).into())
        .unwrap();
    Arc::new(configuration)
}

/// Answers each request on a free port.
pub(crate) async fn serve<F>(
    tls: Option<Arc<ServerConfig>>,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls.map(TlsAcceptor::from);
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (respond, tls) = (respond.clone(), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = respond(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                match tls {
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                    None => {
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            });
        }
    });
    (address, task)
}
