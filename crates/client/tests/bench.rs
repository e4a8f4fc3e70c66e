//! The benchmark against a server in this process.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use adytum_api::tensorflow::serving::PredictRequest;
use adytum_client::{
    ClientOptions,
    bench::{Amount, Observer, Plan, run},
};
use adytum_testkit::model_server::{Behaviour, Identity, ModelServer, scored};
use tonic::Status;

fn plan(tasks: usize, amount: Amount) -> Plan {
    Plan { tasks: NonZeroUsize::new(tasks).unwrap(), amount, warm_up: 5 }
}

/// Keeps the printed lines.
fn recorder() -> (Observer, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    (Arc::new(move |query| kept.lock().unwrap().push(query.to_string())), lines)
}

fn answering() -> Behaviour {
    Behaviour { predict: Arc::new(|_, _| Ok(scored("p", &[1.0]))), ..Behaviour::default() }
}

#[tokio::test]
async fn each_task_has_a_connection_and_sends_its_loop_after_the_warm_up() {
    let identity = Identity::new(&["localhost"]);
    let server = ModelServer::start(answering(), Some(&identity)).await;
    let options = ClientOptions { certificate: Some(identity.crt()), ..ClientOptions::default() };
    let (observer, lines) = recorder();
    let plan = plan(3, Amount::Requests(4));
    let report =
        run(&server.address().parse().unwrap(), &options, &PredictRequest::default(), &plan, observer)
            .await
            .unwrap();

    assert_eq!(server.seen().connections(), 3);
    assert_eq!(server.seen().predictions(), 3 * (5 + 4));
    assert_eq!((report.cnum, report.answered, report.failed), (3, 12, 0));
    assert!(report.tps > 0.0 && report.latency_ms.average > 0.0);
    assert!(report.latency_ms.p50 <= report.latency_ms.p99);
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 12);
    for task in 0..3 {
        for index in 0..4 {
            let start = format!("query: secure channel, task {task}, loop_idx {index}, latency(ms) ");
            assert!(lines.iter().any(|line| line.starts_with(&start)), "{start} in {lines:?}");
        }
    }
}

#[tokio::test]
async fn a_duration_ends_it() {
    let server = ModelServer::start(answering(), None).await;
    let (observer, lines) = recorder();
    let plan = plan(2, Amount::Duration(Duration::from_millis(100)));
    let start = Instant::now();
    let report = run(
        &server.address().parse().unwrap(),
        &ClientOptions::default(),
        &PredictRequest::default(),
        &plan,
        observer,
    )
    .await
    .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert!(report.answered > 0 && report.seconds >= 0.1);
    assert_eq!(lines.lock().unwrap().len() as u64, report.answered);
    assert!(lines.lock().unwrap()[0].starts_with("query: insecure channel, "));
}

#[tokio::test]
async fn errors_are_counted_by_kind() {
    let behaviour = Behaviour {
        // Five of warm-up are answered, then two of three.
        predict: Arc::new(|number, _| match number {
            0..5 => Ok(scored("p", &[1.0])),
            number if number % 3 == 0 => Err(Status::resource_exhausted("full")),
            _ => Ok(scored("p", &[1.0])),
        }),
        ..Behaviour::default()
    };
    let server = ModelServer::start(behaviour, None).await;
    let (observer, lines) = recorder();
    let plan = plan(1, Amount::Requests(9));
    let report = run(
        &server.address().parse().unwrap(),
        &ClientOptions::default(),
        &PredictRequest::default(),
        &plan,
        observer,
    )
    .await
    .unwrap();
    assert_eq!((report.answered, report.failed), (6, 3));
    assert_eq!(report.errors, [("resource-exhausted".to_owned(), 3)].into());
    let failed =
        lines.lock().unwrap().iter().filter(|line| line.contains("error resource-exhausted")).count();
    assert_eq!(failed, 3);
}

#[tokio::test]
async fn a_server_that_refuses_the_warm_up_is_not_measured() {
    let behaviour = Behaviour {
        predict: Arc::new(|_, _| Err(Status::not_found("no such model"))),
        ..Behaviour::default()
    };
    let server = ModelServer::start(behaviour, None).await;
    let (observer, lines) = recorder();
    let plan = plan(2, Amount::Requests(9));
    let error = run(
        &server.address().parse().unwrap(),
        &ClientOptions::default(),
        &PredictRequest::default(),
        &plan,
        observer,
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "not-found");
    assert!(lines.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_lost_in_between_fails_nothing() {
    let server = Arc::new(ModelServer::start(answering(), None).await);
    let cutter = Arc::clone(&server);
    let observer: Observer = Arc::new(move |query| {
        if query.loop_index == 3 {
            cutter.drop_connections();
        }
    });
    let plan = plan(1, Amount::Requests(8));
    let report = run(
        &server.address().parse().unwrap(),
        &ClientOptions::default(),
        &PredictRequest::default(),
        &plan,
        observer,
    )
    .await
    .unwrap();
    assert_eq!((report.answered, report.failed), (8, 0), "{report}");
    assert_eq!(server.seen().connections(), 2);
}
