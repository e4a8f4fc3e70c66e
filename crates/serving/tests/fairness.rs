//! Models and requests on one connection do not hold each other up: a server over a real
//! connection.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::time::Duration;

use adytum_api::tensorflow::serving::{
    PredictRequest, PredictResponse, prediction_service_client::PredictionServiceClient,
};
use fixture::{
    engines::Gated,
    server::{Limits, Running, float_tensor, limits, request, start},
};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status, transport::Channel};

/// Runs that the server does at once.
const CORES: usize = 2;
/// Requests that may wait.
const QUEUE: usize = 8;

type Client = PredictionServiceClient<Channel>;
type Answer = Result<Response<PredictResponse>, Status>;

/// A server whose model "slow" has all cores and a full queue, all by one connection.
async fn flooded(slow: &Gated) -> (Running, Client, Vec<JoinHandle<Answer>>) {
    let running = start(Limits { queue: QUEUE, ..limits() }, None);
    running.serve_loaded("slow", 1, Box::new(slow.clone()));
    let client = running.client().await;
    let more = |count| (0..count).map(|_| send(&client, Request::new(of("slow"))));
    let mut waiting: Vec<_> = more(CORES).collect();
    // So that they don't wait in the queue when the others come.
    slow.wait_for_runs(CORES).await;
    waiting.extend(more(QUEUE));
    while running.scheduler.load() < CORES + QUEUE {
        tokio::task::yield_now().await;
    }
    (running, client, waiting)
}

fn of(model: &str) -> PredictRequest {
    request(model, "x", float_tensor(&[1], &[1.0]))
}

fn send(client: &Client, request: Request<PredictRequest>) -> JoinHandle<Answer> {
    let mut client = client.clone();
    tokio::spawn(async move { client.predict(request).await })
}

fn with_priority(request: PredictRequest, priority: &str) -> Request<PredictRequest> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("x-request-priority", priority.parse().unwrap());
    request
}

/// How many of these were refused.
async fn refused(answers: Vec<JoinHandle<Answer>>) -> usize {
    let mut refused = 0;
    for answer in answers {
        if let Err(status) = answer.await.unwrap() {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_whose_queue_is_full_refuses_nothing_of_another() {
    let (slow, quick) = (Gated::new(), Gated::new());
    let (running, client, waiting) = flooded(&slow).await;
    quick.open();
    running.serve_loaded("quick", 1, Box::new(quick.clone()));
    // One more of the slow model is refused at once.
    let more = send(&client, Request::new(of("slow"))).await.unwrap();
    assert_eq!(more.unwrap_err().code(), Code::ResourceExhausted);
    // And one of the other model is not. It is next when a core is free.
    let answer = send(&client, Request::new(of("quick")));
    while !waiting.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    slow.open();
    answer.await.unwrap().unwrap();
    assert_eq!(refused(waiting).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_says_which_of_its_requests_are_first() {
    let slow = Gated::new();
    let (_running, client, waiting) = flooded(&slow).await;
    for priority in ["low", "normal", "what is this?"] {
        let more = send(&client, with_priority(of("slow"), priority)).await.unwrap();
        assert_eq!(more.unwrap_err().code(), Code::ResourceExhausted, "{priority}");
    }
    let high = send(&client, with_priority(of("slow"), "High"));
    while !waiting.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    slow.open();
    high.await.unwrap().unwrap();
    assert_eq!(refused(waiting).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_priority_outranks_another_client() {
    let slow = Gated::new();
    let (running, hostile, waiting) = flooded(&slow).await;
    // However high it says its requests are, it has the queue already.
    let honest = running.client().await;
    let low = send(&honest, with_priority(of("slow"), "low"));
    while !waiting.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let high = send(&hostile, with_priority(of("slow"), "high"));
    while waiting.iter().filter(|answer| answer.is_finished()).count() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!low.is_finished(), "the other's request stays");
    slow.open();
    low.await.unwrap().unwrap();
    high.await.unwrap().unwrap();
    assert_eq!(refused(waiting).await, 2);
}
