//! The service over real sockets: what a PCCS client and a remote replica see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::{sync::Arc, time::Duration};

use adytum_evidence::{
    attester::{Attester as _, AttesterError},
    clock::{FixedClock, UnixSeconds},
    collateral::{PckCa, QuoteCollateralV3},
    measurement::{ReportData, WorkloadIdentity},
};
use adytum_sim::{Platform, RemoteSimAttester, SimAttester, SimError, open_attester, service, when_there};
use axum::body::Body;
use dcap_qvl::verify::QuoteVerifier;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::JoinHandle,
};
use tower::ServiceExt as _;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const IDENTITY: WorkloadIdentity = WorkloadIdentity([1; 32]);
const REPORT_DATA: ReportData = ReportData([2; 64]);

struct Served {
    platform: Arc<Platform>,
    url: String,
    end: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn serve(ca: PckCa, quote_latency: Duration) -> Served {
    let platform = Platform::builder().pck_ca(ca).clock(Arc::new(FixedClock::new(NOW))).ephemeral().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (end, ended) = oneshot::channel();
    let server = tokio::spawn(service::serve(listener, platform.clone(), quote_latency, async move {
        let _ = ended.await;
    }));
    Served { platform, url, end, server }
}

impl Served {
    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, Body::empty()).await
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// An issuer chain header, percent-decoded.
    fn chain(&self, name: &str) -> String {
        let value = self.headers[name].to_str().unwrap();
        let mut bytes = value.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(decoded).unwrap()
    }

    /// The document as the body holds it, and its signature.
    fn signed(&self, name: &str) -> (String, Vec<u8>) {
        let text = self.text();
        let document = text.strip_prefix(&format!("{{\"{name}\":")).unwrap();
        let (document, signature) = document.rsplit_once(",\"signature\":\"").unwrap();
        (document.to_owned(), hex::decode(signature.strip_suffix("\"}").unwrap()).unwrap())
    }
}

#[tokio::test]
async fn collateral_fetched_like_from_a_pccs_verifies_a_quote() {
    for (ca, name) in [(PckCa::Processor, "processor"), (PckCa::Platform, "platform")] {
        let served = serve(ca, Duration::ZERO).await;
        let tcb = served.get("/sgx/certification/v4/tcb?fmspc=53494D000000&update=standard").await;
        let qe = served.get("/sgx/certification/v4/qe/identity?update=standard").await;
        let pck_crl = served.get(&format!("/sgx/certification/v4/pckcrl?ca={name}&encoding=der")).await;
        let root_crl = served.get("/sgx/certification/v4/rootcacrl").await;
        assert_eq!(tcb.headers["content-type"], "application/json");
        assert_eq!(pck_crl.headers["content-type"], "application/pkix-crl");

        let (tcb_info, tcb_info_signature) = tcb.signed("tcbInfo");
        let (qe_identity, qe_identity_signature) = qe.signed("enclaveIdentity");
        let collateral = QuoteCollateralV3 {
            pck_crl_issuer_chain: pck_crl.chain("SGX-PCK-CRL-Issuer-Chain"),
            root_ca_crl: hex::decode(root_crl.text()).unwrap(),
            pck_crl: pck_crl.body.clone(),
            tcb_info_issuer_chain: tcb.chain("TCB-Info-Issuer-Chain"),
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain: qe.chain("SGX-Enclave-Identity-Issuer-Chain"),
            qe_identity,
            qe_identity_signature,
            pck_certificate_chain: None,
        };
        assert_eq!(collateral, *served.platform.collateral());

        let root = served.get("/simulation/root.pem").await;
        let attester = RemoteSimAttester::connect(&served.url, IDENTITY).await.unwrap();
        let quote = attester.evidence(REPORT_DATA).await.unwrap().bytes;
        let verified = QuoteVerifier::new(pem::parse(root.text()).unwrap().into_contents())
            .verify(&quote, &collateral, NOW.0)
            .unwrap();
        let report = verified.report.as_sgx().unwrap();
        assert_eq!((report.mr_enclave, report.report_data), (IDENTITY.0, REPORT_DATA.0));

        let as_pem = served.get(&format!("/sgx/certification/v4/pckcrl?ca={name}")).await;
        assert_eq!(pem::parse(as_pem.text()).unwrap().contents(), pck_crl.body);
    }
}

#[tokio::test]
async fn what_it_does_not_have_is_refused_by_code() {
    let served = serve(PckCa::Processor, Duration::ZERO).await;
    for (path, status, code) in [
        ("/sgx/certification/v4/tcb", 400, "fmspc"),
        ("/sgx/certification/v4/tcb?fmspc=xyz", 400, "fmspc"),
        ("/sgx/certification/v4/tcb?fmspc=00906ED50000", 404, "no-collateral"),
        ("/sgx/certification/v4/pckcrl", 400, "ca"),
        ("/sgx/certification/v4/pckcrl?ca=root", 400, "ca"),
        ("/sgx/certification/v4/pckcrl?ca=platform&encoding=der", 404, "no-collateral"),
        ("/sgx/certification/v4/pckcrl?ca=processor&encoding=ber", 400, "encoding"),
        ("/tdx/certification/v4/tcb?fmspc=53494D000000", 404, "path"),
        ("/", 404, "path"),
    ] {
        let reply = served.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.text().starts_with(&format!("{{\"code\":\"{code}\"")), "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn bad_requests_for_quotes_are_refused() {
    let served = serve(PckCa::Processor, Duration::ZERO).await;
    let long = format!("{{\"identity\":\"{}\"}}", "a".repeat(service::MAXIMUM_REQUEST_LENGTH));
    let good = format!(r#"{{"identity":"{IDENTITY}","report_data":"{REPORT_DATA}"}}"#);
    for (body, status) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("{}".to_owned(), 422),
        (format!(r#"{{"identity":"00","report_data":"{REPORT_DATA}"}}"#), 422),
        (format!(r#"{{"identity":"{IDENTITY}"}}"#), 422),
        (long, 413),
        (good, 200),
    ] {
        let reply = served.send(Method::POST, "/simulation/quote", Body::from(body.clone())).await;
        assert_eq!(reply.status, status, "{body}: {}", String::from_utf8_lossy(&reply.body));
        if status != 200 {
            assert!(reply.text().contains("\"code\":\"bad-request\""), "{}", reply.text());
        }
    }
    assert_eq!(served.get("/simulation/quote").await.status, 405);
}

#[tokio::test]
async fn a_remote_program_has_the_sealing_key_of_a_local_one() {
    let served = serve(PckCa::Processor, Duration::ZERO).await;
    let remote = open_attester(&served.url, IDENTITY, Duration::ZERO).await.unwrap();
    let local = SimAttester::new(served.platform.clone(), IDENTITY);
    assert_eq!(*remote.sealing_key().unwrap().unwrap().0, *local.sealing_key().unwrap().unwrap().0);
    assert_eq!(remote.platform(), local.platform());
}

#[tokio::test(start_paused = true)]
async fn the_service_imitates_slow_hardware() {
    // Without a socket, so that nothing but the latency takes time.
    let latency = Duration::from_secs(30);
    let router = service::router(Platform::ephemeral().unwrap(), latency);
    let request = Request::post("/simulation/quote")
        .header("content-type", "application/json")
        .body(Body::from(format!(r#"{{"identity":"{IDENTITY}","report_data":"{REPORT_DATA}"}}"#)))
        .unwrap();
    let start = tokio::time::Instant::now();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), latency);
}

#[tokio::test]
async fn a_service_that_is_gone_or_is_another_is_named() {
    // Nobody listens on a port that is only bound, and nobody else gets it.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let error = RemoteSimAttester::connect(&format!("http://{address}"), IDENTITY).await.unwrap_err();
    assert!(matches!(error, SimError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");

    for (reply, code) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "simulation-answer"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "simulation-answer"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "simulation-unreachable"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", "simulation-unreachable"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let impostor = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(reply.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let error = RemoteSimAttester::connect(&url, IDENTITY).await.unwrap_err();
        assert_eq!(error.code(), code, "{reply:?}: {error}");
        impostor.await.unwrap();
    }
}

/// A listener behind which nobody is: it takes connections and ends them.
async fn absent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_service_that_comes_late_is_waited_for() {
    let (listener, url) = absent().await;
    let waiting = tokio::spawn(async move {
        when_there(None, || RemoteSimAttester::connect(&url, IDENTITY)).await.map(|_| ())
    });
    for _ in 0..2 {
        drop(listener.accept().await.unwrap());
    }
    let platform = Platform::ephemeral().unwrap();
    let server = tokio::spawn(service::serve(listener, platform, Duration::ZERO, std::future::pending()));
    waiting.await.unwrap().unwrap();
    server.abort();
}

#[tokio::test]
async fn a_service_is_waited_for_no_longer_than_said_and_a_wrong_one_not_at_all() {
    let (listener, url) = absent().await;
    let attempts = std::cell::Cell::new(0);
    let connect = || {
        attempts.set(attempts.get() + 1);
        RemoteSimAttester::connect(&url, IDENTITY)
    };
    drop(listener);
    let error = when_there(Some(Duration::ZERO), connect).await.unwrap_err();
    assert_eq!((error.code(), attempts.get()), ("simulation-unreachable", 1));

    let (listener, url) = absent().await;
    let impostor = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let error = when_there(None, || RemoteSimAttester::connect(&url, IDENTITY)).await.unwrap_err();
    assert_eq!(error.code(), "simulation-answer");
    impostor.await.unwrap();
}

#[tokio::test]
async fn it_ends_when_told_and_quotes_end_with_it() {
    let served = serve(PckCa::Processor, Duration::ZERO).await;
    let attester = RemoteSimAttester::connect(&served.url, IDENTITY).await.unwrap();
    attester.evidence(REPORT_DATA).await.unwrap();
    served.end.send(()).unwrap();
    served.server.await.unwrap().unwrap();
    let error = attester.evidence(REPORT_DATA).await.unwrap_err();
    assert!(matches!(error, AttesterError::Interface { .. }), "{error}");
}
