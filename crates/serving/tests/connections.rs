//! Connections that end by age, and certificates that change, under load.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_serving::server::Drained;
use hyper_util::rt::TokioIo;
use support::{
    fakes::Gated,
    onnx,
    server::{channel, float_tensor, limits, request, start_with},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

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

/// Was the request never sent, because its connection was closed already?
fn never_sent(status: &Status) -> bool {
    format!("{status:?}").contains("Canceled, \"connection closed\"")
}

/// Asks one after the other until it is told to stop. A request that was never
/// sent is sent once more, as gRPC's transparent retry does (and `adytum-client`).
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
            let answer = match client.predict(ask()).await {
                Err(status) if never_sent(&status) => client.predict(ask()).await?,
                answer => answer?,
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
    // Each of the four is opened anew several times, while it is being used.
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
