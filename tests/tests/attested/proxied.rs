//! Unmodified clients ask through the proxy.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adytum_client::{Attestation, AttestationOptions};
use adytum_evidence::clock::{Clock as _, SystemClock};
use adytum_governance::service::signed::SignedService;
use adytum_proxy::{Addresses, Proxy, Replicas, Resolver};

use adytum_tests::process::Process;
use anyhow::{Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    attackers::{
        http2::{Reaction, Reactions},
        impostor::Impostor,
    },
    fixture::{Fixture, SOON, image, images, instances, post, proxy},
};

#[tokio::test]
async fn unmodified_clients_ask_through_the_proxy_and_follow_a_new_version() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let flags = ["--file_system_poll_wait_seconds=1"];
    let (replica, port) = fixture.start("replica", &flags).await?;
    let (proxy, local) = proxy(&fixture, &format!("localhost:{port}")).await?;
    let grpc = async || {
        let words = ["predict", "--model=digits", "--json"].map(str::to_owned);
        let more = [format!("--server=127.0.0.1:{local}"), format!("--image={}", image()?.display())];
        fixture.deployment.run_adytum(words.into_iter().chain(more)).await
    };
    let answer: serde_json::Value = serde_json::from_str(grpc().await?.trim())?;
    ensure!(answer["class"].is_string(), "{answer}");
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    ensure!(answer.contains("adytum-model-version: 3"), "{answer}");
    // A model that is not there.
    let answer = post(local, "/v1/models/weather:predict", &instances()).await?;
    ensure!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    // Version 4 comes: the session ends, the proxy attests again, and no request fails.
    fixture.seal(4).await?;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if answer.contains("adytum-model-version: 4") {
            break;
        }
        ensure!(tokio::time::Instant::now() < deadline, "version 4 was not served: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.stop([proxy, replica]).await;
    Ok(())
}

/// A replica that refuses a request before it looks at it gets it again, whole. One that may have
/// processed it does not.
#[tokio::test]
async fn only_what_nobody_has_processed_is_sent_again() -> Result<()> {
    use Reaction::{Answer, Break, GoAway, Refuse, RefuseEarly};
    let fixture = Fixture::prepare().await?;
    // More than each window of HTTP/2 on the way at its start, so that it is sent again bit by bit.
    let body = images(1000);
    let mut processes = Vec::new();
    let cases: [(&[Reaction], &str, usize); 6] = [
        // In the middle of the body: it is sent again from its beginning.
        (&[RefuseEarly, Answer], "HTTP/1.1 200", 1),
        (&[Answer], "HTTP/1.1 200", 1),
        (&[Refuse, Answer], "HTTP/1.1 200", 2),
        (&[GoAway, Answer], "HTTP/1.1 200", 2),
        (&[Break, Answer], "HTTP/1.1 502", 1),
        // There is no other replica, and this one is asked twice.
        (&[Refuse, Refuse, Refuse, Refuse], "HTTP/1.1 502", 2),
    ];
    for (reactions, expected, times) in cases {
        let replica = Impostor::start(fixture.proof()?, Reactions::from(reactions)).await?;
        let (process, local) = proxy(&fixture, &replica.address()).await?;
        let answer = post(local, "/v1/models/digits:predict", &body).await?;
        ensure!(answer.starts_with(expected), "{reactions:?}: {answer}");
        let bodies = replica.seen().received.bodies;
        ensure!(bodies.len() == times, "{reactions:?}: {} requests", bodies.len());
        ensure!(bodies.iter().all(|received| received == body.as_bytes()), "{reactions:?}: another body");
        processes.push(process);
    }
    fixture.stop(processes).await;
    Ok(())
}

/// More than the proxy keeps of a body, and more than each window of HTTP/2 on the way.
const MANY: usize = 20_000;

#[tokio::test]
async fn rest_over_http_2_and_large_messages_pass_through() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    let (process, local) = proxy(&fixture, &format!("localhost:{port}")).await?;
    let stream = TcpStream::connect(("127.0.0.1", local)).await?;
    let (mut sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let paths = ["/v1/models/digits:predict", "/v1/models/digits", "/v2/models/digits", "/v2/health/ready"];
    for (path, body) in paths.into_iter().zip([images(MANY), String::new(), String::new(), String::new()]) {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let sent = body.len();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = sender.send_request(request).await?;
        let (head, body) = (answer.status(), answer.headers().clone());
        let text = answer.into_body().collect().await?.to_bytes();
        ensure!(head == StatusCode::OK, "{path}: {head} {}", String::from_utf8_lossy(&text));
        if method == "POST" {
            ensure!(sent > 4 << 20, "{sent} bytes are not many");
            ensure!(body.contains_key("adytum-model-sha256"), "{body:?}");
            let answer: serde_json::Value = serde_json::from_slice(&text)?;
            ensure!(answer["predictions"].as_array().is_some_and(|rows| rows.len() == MANY), "{path}");
        }
    }
    drop(sender);
    connection.await??;
    // The same number of images in one gRPC message.
    let file = fixture.directory.path().join("images.npy");
    fs::write(&file, array(MANY))?;
    let words = ["call", "--model=digits", "--json"].map(str::to_owned);
    let input = [format!("--server=127.0.0.1:{local}"), format!("--input=@{}", file.display())];
    let printed = fixture.deployment.run_adytum(words.into_iter().chain(input)).await?;
    let answer: serde_json::Value = serde_json::from_str(printed.trim())?;
    let outputs = answer["outputs"].as_object().and_then(|outputs| outputs.values().next());
    ensure!(
        outputs.and_then(|rows| rows.as_array()).is_some_and(|rows| rows.len() == MANY),
        "no {MANY} rows"
    );
    fixture.stop([process, replica]).await;
    Ok(())
}

/// Black images in NumPy's format (version 1.0).
fn array(images: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({images}, 8, 8, 1), }}");
    let header = format!("{header:<117}\n");
    let length = u16::try_from(header.len()).unwrap_or_default().to_le_bytes();
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes()].concat();
    bytes.resize(bytes.len() + images * 8 * 8 * 4, 0);
    bytes
}

/// A name whose addresses the test changes, as those of a headless Service in Kubernetes change.
#[derive(Default)]
struct Name(Mutex<Option<Vec<SocketAddr>>>);

impl Name {
    fn set(&self, replicas: Option<&[&Impostor]>) {
        let address = |replica: &&Impostor| SocketAddr::from(([127, 0, 0, 1], replica.port()));
        let addresses = replicas.map(|replicas| replicas.iter().map(address).collect());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

impl Resolver for Name {
    fn addresses(&self) -> Addresses<'_> {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async { addresses.ok_or_else(|| io::Error::other("no name server")) })
    }

    fn lifetime(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn replicas_of_a_name_come_and_go() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let service = SignedService::from_file(&fs::read_to_string(&fixture.service)?)?;
    let service = service.verify(fixture.broker.genesis_digest().parse()?, SystemClock.now())?;
    let proof = fixture.proof()?;
    let options = AttestationOptions {
        collateral: None,
        clock: Arc::new(SystemClock),
        simulation_roots: vec![proof.platform.trust_root()?],
    };
    let name = Arc::new(Name::default());
    let resolver: Arc<dyn Resolver> = Arc::clone(&name) as _;
    let attestation = Attestation::new(service, options)?;
    let replicas = Replicas::resolved_by(resolver, "the name".to_owned(), attestation, |_| {});
    let proxy = Proxy::listen(SocketAddr::from(([127, 0, 0, 1], 0)), replicas).await?;
    let local = proxy.address().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(proxy.serve(async { drop(stopped.await) }));
    let ask = async |expected: &str| {
        let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
        ensure!(answer.starts_with(expected), "{answer}");
        Ok(answer)
    };
    let count = |replica: &Impostor| replica.seen().received.bodies.len();
    ensure!(ask("HTTP/1.1 503").await?.contains("no name server"), "no address was known");
    let first = Impostor::start(proof.clone(), Reactions::default()).await?;
    let second = Impostor::start(proof, Reactions::default()).await?;
    name.set(Some(&[&first]));
    ask("HTTP/1.1 200").await?;
    ensure!((count(&first), count(&second)) == (1, 0), "the first one has it");
    // Another one comes. Idle replicas are asked in turn.
    name.set(Some(&[&first, &second]));
    for _ in 0..4 {
        ask("HTTP/1.1 200").await?;
    }
    ensure!((count(&first), count(&second)) == (3, 2), "both are asked");
    // The first one goes.
    name.set(Some(&[&second]));
    for _ in 0..4 {
        ask("HTTP/1.1 200").await?;
    }
    ensure!((count(&first), count(&second)) == (3, 6), "only the second one is asked");
    // The name service fails, and then knows nobody: the earlier addresses count.
    for addresses in [None, Some([].as_slice())] {
        name.set(addresses);
        ask("HTTP/1.1 200").await?;
    }
    ensure!((count(&first), count(&second)) == (3, 8), "the second one is known");
    drop(stop);
    serving.await?;
    fixture.stop([]).await;
    Ok(())
}

/// The arguments of the sidecar in `deploy/sidecar`, with other values where a pod's are not here.
#[tokio::test]
async fn the_sidecar_serves_with_the_arguments_of_its_yaml() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let yaml = fs::read_to_string(deploy.join("sidecar/proxy/proxy.yaml"))?;
    let file = fs::read_to_string(deploy.join("images/adytum_proxy.Containerfile"))?;
    ensure!(file.contains("ENTRYPOINT [\"/usr/bin/adytum\", \"proxy\"]"), "{file}");
    let lines = yaml.lines().map(str::trim).filter_map(|line| line.strip_prefix("- --"));
    let (server, genesis) = (format!("localhost:{port}"), fixture.broker.genesis_digest());
    let service = fixture.service.display().to_string();
    let mut words = vec!["proxy".to_owned()];
    for line in lines {
        let word = line
            .replace("$(ADYTUM_SERVER)", &server)
            .replace("$(ADYTUM_GENESIS_DIGEST)", genesis)
            .replace("/etc/adytum/service/service.toml", &service)
            // Tests take no fixed ports.
            .replace("127.0.0.1:8500", "127.0.0.1:0");
        words.push(format!("--{word}"));
    }
    ensure!(words.len() == 5 && !words.concat().contains("$("), "{words:?}");
    words.push(format!("--trust-simulation={}", fixture.deployment.root_certificate().display()));
    let mut command = fixture.deployment.adytum(words);
    // A pod has no home.
    command.env_remove("HOME").env("ADYTUM_SERVICES", fixture.directory.path().join("state/services.json"));
    let mut process = Process::start("sidecar", command, fixture.deployment.directory()).await?;
    let rest = process.wait_for("Listening on 127.0.0.1:", SOON).await?;
    let local = rest.split_whitespace().next().unwrap_or_default().parse()?;
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    fixture.stop([process, replica]).await;
    Ok(())
}
