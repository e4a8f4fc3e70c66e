//! Connections that end by age, and certificates that change, under load.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_serving::{
    server::Drained,
    tls::{TlsVersion, server_configuration, ssl_config::SslConfig},
};
use fixture::{
    engines::Gated,
    onnx,
    server::{channel, client_tls, float_tensor, limits, request, start, start_on, start_with},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A channel that opens a new connection whenever its last one has ended, and
/// counts them.
fn counted_channel(address: SocketAddr, opened: &Arc<AtomicUsize>) -> Channel {
    let opened = Arc::clone(opened);
    let connect = tower::service_fn(move |_: Uri| {
        let opened = Arc::clone(&opened);
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            opened.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

/// Did no server work on the request? Either its connection was closed before it
/// was sent, or it crossed the GOAWAY that says which requests are still answered
/// (RFC 9113, section 6.8).
fn never_processed(status: &Status) -> bool {
    let text = format!("{status:?}");
    let ways = [
        "Canceled, \"connection closed\"",
        "Canceled, \"connection was not ready\"",
        "GoAway(b\"\", NO_ERROR, Remote)",
    ];
    ways.iter().any(|way| text.contains(way))
}

/// Sends one request after the other until `stop` is set. A request on which no server
/// worked is sent again, as gRPC's transparent retry does (and `adytum-client`).
fn ask_all_the_time(
    channel: Channel,
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicUsize>,
) -> JoinHandle<Result<(), Status>> {
    let (stop, answered) = (Arc::clone(stop), Arc::clone(answered));
    tokio::spawn(async move {
        let mut client = PredictionServiceClient::new(channel);
        while !stop.load(Ordering::SeqCst) {
            let ask = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
            let mut tries = 0;
            let answer = loop {
                tries += 1;
                match client.predict(ask()).await {
                    Err(status) if never_processed(&status) && tries < 5 => {}
                    answer => break answer?,
                }
            };
            assert_eq!(answer.into_inner().outputs["double"].float_val, [2.0, 4.0, 6.0]);
            answered.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_by_age_without_a_failed_request() {
    let running =
        start_with(limits(), None, |options| options.connection_age = Some(Duration::from_millis(40)));
    running.serve("m", 1, onnx::arithmetic());
    let (stop, answered, opened) = (Arc::default(), Arc::default(), Arc::default());
    let clients: Vec<_> = (0..4)
        .map(|_| ask_all_the_time(counted_channel(running.server.address(), &opened), &stop, &answered))
        .collect();
    // Each of the four is opened again several times, while it is being used.
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while opened.load(Ordering::SeqCst) < 24 && clients.iter().all(|client| !client.is_finished()) {
        assert!(tokio::time::Instant::now() < patience, "{opened:?} connections, {answered:?} answers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap().unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) > 24);
    assert_eq!(running.server.drain(Duration::from_secs(30)).await, Drained::Completely);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_outlives_its_connections_age_is_answered() {
    let running =
        start_with(limits(), None, |options| options.connection_age = Some(Duration::from_millis(10)));
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let mut client = PredictionServiceClient::new(channel(running.server.address()).await);
    let asked = tokio::spawn(async move {
        client.predict(request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]))).await
    });
    gated.wait_for_runs(1).await;
    // The connection's age passes while another connection comes and goes.
    let opened = Arc::default();
    let other = counted_channel(running.server.address(), &opened);
    while opened.load(Ordering::SeqCst) < 3 {
        let mut health = tonic_health::pb::health_client::HealthClient::new(other.clone());
        let _ = health.check(tonic_health::pb::HealthCheckRequest { service: String::new() }).await;
    }
    gated.open();
    asked.await.unwrap().unwrap();
}

/// Clients whose connections the kernel made, and nobody accepted yet, when the
/// server ends: a port that is closed would reset them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_wait_when_the_server_ends_are_served_or_told_to_go() {
    for _ in 0..20 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut asked = Vec::new();
        for _ in 0..32 {
            let mut client = HealthClient::new(channel(address).await);
            asked.push(tokio::spawn(async move { client.check(HealthCheckRequest::default()).await }));
        }
        let running = start_on(listener, limits(), None, |_| {});
        assert_eq!(running.server.drain(Duration::from_secs(20)).await, Drained::Completely);
        for answer in asked {
            // Or the client was so late that it found the port closed.
            if let Err(status) = answer.await.unwrap() {
                let refused = format!("{status:?}").contains("ConnectionRefused");
                assert!(never_processed(&status) || refused, "{status:?}");
            }
        }
    }
}

/// A connection on which nothing is said holds up neither its place nor the end.
#[tokio::test]
async fn silent_connections_are_closed() {
    let running = start_with(limits(), None, |options| options.handshake_timeout = Duration::from_millis(50));
    let mut silent = TcpStream::connect(running.server.address()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0);

    let running = start(limits(), None);
    let _silent = TcpStream::connect(running.server.address()).await.unwrap();
    assert_eq!(running.server.drain(Duration::from_secs(8)).await, Drained::Completely);
}

fn self_signed() -> (SslConfig, rcgen::Certificate) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ssl = SslConfig {
        server_key: certified.signing_key.serialize_pem().into(),
        server_cert: certified.cert.pem(),
        ..SslConfig::default()
    };
    (ssl, certified.cert)
}

/// As [`counted_channel`], with TLS.
fn counted_tls_channel(
    address: SocketAddr,
    configuration: &Arc<rustls::ClientConfig>,
    opened: &Arc<AtomicUsize>,
) -> Channel {
    let (configuration, opened) = (Arc::clone(configuration), Arc::clone(opened));
    let connect = tower::service_fn(move |_: Uri| {
        let (configuration, opened) = (Arc::clone(&configuration), Arc::clone(&opened));
        async move {
            let stream = shake_hands(address, configuration).await?;
            opened.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

async fn shake_hands(
    address: SocketAddr,
    configuration: Arc<rustls::ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(configuration).connect(name, stream).await
}

/// The certificate that a new connection is shown.
async fn shown(address: SocketAddr, configuration: &Arc<rustls::ClientConfig>) -> Vec<u8> {
    let stream = shake_hands(address, Arc::clone(configuration)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load_without_a_failed_request() {
    let ((first, first_certificate), (second, second_certificate)) = (self_signed(), self_signed());
    let running = start_with(limits(), Some(&first), |options| {
        options.connection_age = Some(Duration::from_millis(100));
    });
    running.serve("m", 1, onnx::arithmetic());
    let address = running.server.address();
    let both = Arc::new(client_tls(&[first_certificate.clone(), second_certificate.clone()]));
    assert_eq!(shown(address, &both).await, first_certificate.der().to_vec());
    let (stop, answered, opened) = (Arc::default(), Arc::default(), Arc::default());
    let clients: Vec<_> = (0..4)
        .map(|_| ask_all_the_time(counted_tls_channel(address, &both, &opened), &stop, &answered))
        .collect();
    // Many times to and fro, while connections come and go.
    let switch = running.tls.as_ref().unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    for (turn, (ssl, certificate)) in
        [(&second, &second_certificate), (&first, &first_certificate)].into_iter().cycle().take(8).enumerate()
    {
        switch.replace(Arc::new(server_configuration(ssl, TlsVersion::Tls13).unwrap()));
        assert_eq!(shown(address, &both).await, certificate.der().to_vec(), "at once, for new connections");
        while opened.load(Ordering::SeqCst) < 4 * (turn + 1)
            && clients.iter().all(|client| !client.is_finished())
        {
            assert!(tokio::time::Instant::now() < patience, "{opened:?} connections, {answered:?} answers");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap().unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) > 32);
}

#[tokio::test]
async fn a_connection_outlives_the_certificate_it_was_opened_with() {
    let ((first, first_certificate), (second, _)) = (self_signed(), self_signed());
    let running = start(limits(), Some(&first));
    running.serve("m", 1, onnx::arithmetic());
    let address = running.server.address();
    let trusts_first = Arc::new(client_tls(&[first_certificate]));
    let opened = Arc::default();
    let mut client = PredictionServiceClient::new(counted_tls_channel(address, &trusts_first, &opened));
    let ask = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    client.predict(ask()).await.unwrap();
    running
        .tls
        .as_ref()
        .unwrap()
        .replace(Arc::new(server_configuration(&second, TlsVersion::Tls13).unwrap()));
    client.predict(ask()).await.unwrap();
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    assert!(shake_hands(address, trusts_first).await.is_err(), "the new one is another's for this client");
}

/// A connection from this address of the loopback network, on which nothing is asked after
/// a first sign of life; it answers pings for ever.
async fn idle_from(local: u8, to: SocketAddr) -> Option<Channel> {
    let connect = tower::service_fn(move |_: Uri| async move {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, local], 0)))?;
        Ok::<_, std::io::Error>(TokioIo::new(socket.connect(to).await?))
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.ok()?;
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.ok()?;
    Some(channel)
}

/// The attack of the review: strangers hold all connections and keep every client out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_only_answer_pings_keep_nobody_out() {
    for addresses in [&[1][..], &[2], &[2, 3, 4]] {
        let running = start_with(limits(), None, |options| options.connection_limit = 24);
        running.serve("m", 1, onnx::arithmetic());
        let address = running.server.address();
        let mut held = Vec::new();
        // More than there are places: the last ones come in the place of the first.
        for index in 0..40 {
            held.push(idle_from(addresses[index % addresses.len()], address).await);
        }
        let patience = tokio::time::Instant::now() + Duration::from_secs(30);
        let answered = async || {
            let mut client = PredictionServiceClient::new(idle_from(1, address).await?);
            client.predict(request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]))).await.ok()
        };
        while answered().await.is_none() {
            assert!(tokio::time::Instant::now() < patience, "kept out by {addresses:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(held);
        assert_eq!(running.server.drain(Duration::from_secs(30)).await, Drained::Completely);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_requests_ends() {
    let running = start_with(limits(), None, |options| options.idle_timeout = Duration::from_millis(100));
    let opened = Arc::default();
    let mut client = HealthClient::new(counted_channel(running.server.address(), &opened));
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    // A request that comes later opens another connection.
    while opened.load(Ordering::SeqCst) < 2 {
        assert!(tokio::time::Instant::now() < patience);
        let _ = client.check(HealthCheckRequest::default()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
