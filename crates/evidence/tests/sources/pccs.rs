//! A PCCS that is genuine, down, hostile, or behind TLS.

use std::{collections::HashMap, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::Attester,
    claims::TeeKind,
    clock::{Day, SystemClock},
    collateral::{
        CollateralError, CollateralRequest, CollateralSource, DcapRequest, NewerEvaluation, PccsSource,
        evaluation_number, from_url_with_clock, newer_evaluation,
    },
    measurement::{ReportData, WorkloadIdentity},
    verifier::Verifier,
};
use adytum_sim::{EarlyEvaluation, Faults, Platform, PublishedTcbStatus, SimAttester, service};
use adytum_testkit::version_1::version_1;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Reply, Server};

const CHAIN: &str = "-----BEGIN%20CERTIFICATE-----%0A";
const TCB: &[u8] = br#"{"tcbInfo":{"id":"SGX"},"signature":"00ff"}"#;
const QE: &[u8] = br#"{"enclaveIdentity":{"id":"QE"},"signature":"00ff"}"#;

fn request(platform: &Platform) -> DcapRequest {
    DcapRequest { tee: TeeKind::Sgx, fmspc: platform.fmspc(), ca: platform.pck_ca() }
}

/// The four answers of a PCCS, well-formed.
fn sound() -> HashMap<&'static str, Reply> {
    let ok = |headers: &[(&str, &str)], body: &[u8]| Reply::http("200 OK", headers, body);
    HashMap::from([
        ("pckcrl", ok(&[("SGX-PCK-CRL-Issuer-Chain", CHAIN)], b"\x30\x00")),
        ("rootcacrl", ok(&[], b"3000")),
        ("tcb", ok(&[("TCB-Info-Issuer-Chain", CHAIN)], TCB)),
        ("identity", ok(&[("SGX-Enclave-Identity-Issuer-Chain", CHAIN)], QE)),
    ])
}

async fn fetch(server: &Server) -> Result<(), CollateralError> {
    let platform = Platform::ephemeral().unwrap();
    PccsSource::new(&server.url).unwrap().fetch(&request(&platform)).await.map(|_| ())
}

async fn serve(platform: &Arc<Platform>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(service::serve(listener, Arc::clone(platform), Duration::ZERO, std::future::pending()));
    url
}

async fn verify(platform: &Arc<Platform>, url: &str) {
    let clock = Arc::new(SystemClock);
    let source = from_url_with_clock(url, clock.clone()).unwrap();
    let verifier = Verifier::new(vec![platform.trust_root().unwrap()], source, clock);
    let attester = SimAttester::new(Arc::clone(platform), WorkloadIdentity([1; 32]));
    let evidence = attester.evidence(ReportData([2; 64])).await.unwrap();
    verifier.verify(&evidence).await.unwrap();
}

#[tokio::test]
async fn a_genuine_pccs_serves_what_verifies_however_its_url_is_written() {
    let platform = Platform::ephemeral().unwrap();
    let url = serve(&platform).await;
    for path in ["", "/", "/sgx/certification/v4", "/sgx/certification/v4/", "/sgx/certification/v3/"] {
        verify(&platform, &format!("{url}{path}")).await;
    }
}

#[tokio::test]
async fn what_is_served_is_kept_to_the_byte() {
    let server = Server::new(sound()).await;
    let platform = Platform::ephemeral().unwrap();
    let collateral = PccsSource::new(&server.url).unwrap().fetch(&request(&platform)).await.unwrap();
    assert_eq!(collateral.tcb_info, r#"{"id":"SGX"}"#);
    assert_eq!(collateral.tcb_info_signature, [0, 0xff]);
    assert_eq!(collateral.pck_crl_issuer_chain, "-----BEGIN CERTIFICATE-----\n");
    assert_eq!(collateral.root_ca_crl, collateral.pck_crl);
}

#[tokio::test]
async fn early_collateral_is_of_the_next_evaluation_or_says_nothing() {
    let platform = Platform::ephemeral().unwrap();
    let source = PccsSource::new(&serve(&platform).await).unwrap();
    let request = CollateralRequest::from(request(&platform));
    let both = async || {
        let standard = source.collateral(&request).await.unwrap();
        let early = source.early(&request).await.unwrap().unwrap();
        (newer_evaluation(&standard, &early).unwrap(), evaluation_number(&standard))
    };
    // Outside a recovery both are the same: nothing is known of what is to come.
    assert_eq!(both().await, (None, Some(17)));
    let disclosed: Day = "2026-11-10".parse().unwrap();
    let early = EarlyEvaluation { number: 18, tcb_status: PublishedTcbStatus::OutOfDate, disclosed };
    platform.set_faults(Faults { early: Some(early), ..Faults::default() }).unwrap();
    let newer = NewerEvaluation { number: 18, disclosed: disclosed.start() };
    assert_eq!(both().await, (Some(newer), Some(17)));
}

#[tokio::test]
async fn a_pccs_without_early_collateral_is_no_error() {
    let platform = Platform::ephemeral().unwrap();
    for refused in ["400 Bad Request", "404 Not Found", "461 Unknown Platform"] {
        let mut replies = sound();
        replies.insert("tcb", Reply::status(refused));
        let server = Server::new(replies).await;
        let source = PccsSource::new(&server.url).unwrap();
        assert!(source.fetch_early(&request(&platform)).await.unwrap().is_none(), "{refused}");
    }
    let mut replies = sound();
    replies.insert("tcb", Reply::status("503 Service Unavailable"));
    let server = Server::new(replies).await;
    let error = PccsSource::new(&server.url).unwrap().fetch_early(&request(&platform)).await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable");
}

#[tokio::test]
async fn every_answer_that_is_not_collateral_has_its_code() {
    let ok = |body: &[u8]| Reply::http("200 OK", &[("TCB-Info-Issuer-Chain", CHAIN)], body);
    for (path, reply, code, retry) in [
        ("tcb", Reply::status("404 Not Found"), "collateral-missing", false),
        ("tcb", Reply::status("461 Unknown Platform"), "collateral-missing", false),
        ("pckcrl", Reply::status("503 Service Unavailable"), "collateral-unreachable", true),
        ("identity", Reply::status("429 Too Many Requests"), "collateral-unreachable", true),
        // Not followed: a PCCS has no business elsewhere.
        (
            "rootcacrl",
            Reply::http("302 Found", &[("location", "http://127.0.0.1/")], b""),
            "collateral-gateway",
            true,
        ),
        // A gateway's answers say nothing about the platform.
        ("tcb", Reply::status("401 Unauthorized"), "collateral-gateway", true),
        ("pckcrl", Reply::status("403 Forbidden"), "collateral-gateway", true),
        ("identity", Reply::status("407 Proxy Authentication Required"), "collateral-gateway", true),
        ("tcb", Reply::status("405 Method Not Allowed"), "collateral-gateway", true),
        ("tcb", Reply::status("204 No Content"), "collateral-gateway", true),
        ("tcb", ok(b"<html>"), "collateral-gateway", true),
        ("rootcacrl", ok(b"\xef\xbb\xbf\n<!DOCTYPE HTML><title>Sign in"), "collateral-gateway", true),
        (
            "rootcacrl",
            Reply::http("200 OK", &[("content-type", "text/html; charset=utf-8")], b"Sign in"),
            "collateral-gateway",
            true,
        ),
        (
            "tcb",
            Reply::http("404 Not Found", &[("content-type", "Text/HTML")], b"<p>no such host</p>"),
            "collateral-gateway",
            true,
        ),
        ("tcb", ok(b"{}"), "collateral-malformed", false),
        ("tcb", ok(br#"{"tcbInfo":{},"signature":"xyz"}"#), "collateral-malformed", false),
        ("tcb", Reply::http("200 OK", &[], TCB), "collateral-malformed", false),
        (
            "tcb",
            Reply::http("200 OK", &[("TCB-Info-Issuer-Chain", "%zz")], TCB),
            "collateral-malformed",
            false,
        ),
        ("tcb", Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()), "collateral-unreachable", true),
        ("tcb", Reply::Bytes(Vec::new()), "collateral-unreachable", true),
    ] {
        let mut replies = sound();
        replies.insert(path, reply);
        let error = fetch(&Server::new(replies).await).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (code, retry), "{path}: {error}");
        assert!(error.to_string().contains("http://127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn a_body_and_a_head_without_end_are_cut_off() {
    let endless_body = Reply::Flood(
        b"HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: x\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n"
            .to_vec(),
    );
    let endless_head = Reply::Flood(b"HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: ".to_vec());
    for reply in [endless_body, endless_head] {
        let mut replies = sound();
        replies.insert("tcb", reply);
        let error = fetch(&Server::new(replies).await).await.unwrap_err();
        assert_eq!(error.code(), "collateral-unreachable", "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let mut replies = sound();
    replies.insert("identity", Reply::Silence);
    let error = fetch(&Server::new(replies).await).await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable", "{error}");
    assert!(error.to_string().contains("no complete answer within 15 s"), "{error}");
}

#[tokio::test]
async fn nobody_listens() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let platform = Platform::ephemeral().unwrap();
    let error = PccsSource::new(&url).unwrap().fetch(&request(&platform)).await.unwrap_err();
    assert_eq!(error.code(), "collateral-unreachable", "{error}");
    assert!(error.retry());
    assert!(error.to_string().contains("check PCCS_URL"), "{error}");
}

/// A PCCS behind TLS of these versions, with this certificate.
async fn serve_tls(
    platform: &Arc<Platform>,
    certificate: Vec<u8>,
    key: &rcgen::KeyPair,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> String {
    let plain = serve(platform).await.trim_start_matches("http://").to_owned();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(key.serialize_der().try_into().unwrap()).unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![certificate.into()], key);
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/sgx/certification/v3/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(stream).await.unwrap();
                let mut pccs = TcpStream::connect(plain).await.unwrap();
                let _ = copy_bidirectional(&mut tls, &mut pccs).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn https_works_with_certificates_as_people_make_them() {
    let platform = Platform::ephemeral().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["pccs.example".to_owned()]).unwrap();
    let version_3 = own.cert.der().to_vec();
    let version_1 = version_1(&version_3, &own.signing_key);
    for certificate in [version_3, version_1] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            verify(&platform, &serve_tls(&platform, certificate.clone(), &own.signing_key, &[version]).await)
                .await;
        }
    }
}
