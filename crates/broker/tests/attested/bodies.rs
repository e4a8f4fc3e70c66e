//! Requests whose bodies do not end: what they hold, and that nobody else pays for it.

use std::time::Duration;

use adytum_api::broker::{
    CommandResult, SignedCommand, SupplyShareRequest, TakeOverRequest,
    broker_recovery_client::BrokerRecoveryClient, broker_succession_client::BrokerSuccessionClient,
};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::{
    fixture::{Fixture, eventually, execute, fetch, put, stable},
    health::value,
};

const EXECUTE: &str = "/adytum.broker.v1.BrokerAdministration/Execute";

/// Sends the head of a request, and never a body.
async fn without_end(channel: Channel, path: &'static str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<SignedCommand, CommandResult>::default();
    let endless = Request::new(tokio_stream::pending::<SignedCommand>());
    client.client_streaming(endless, PathAndQuery::from_static(path), codec).await.map(drop)
}

/// Sends a long command, and never the end of the request.
async fn long_without_end(channel: Channel) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<SignedCommand, CommandResult>::default();
    let long = SignedCommand { body: vec![0; 100 * 1024], ..SignedCommand::default() };
    let endless = Request::new(tokio_stream::once(long).chain(tokio_stream::pending()));
    client.client_streaming(endless, PathAndQuery::from_static(EXECUTE), codec).await.map(drop)
}

#[tokio::test]
async fn bodies_that_never_end_keep_no_owner_out() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.requests.large = 1;
    fixture.limits.body_timeout = Duration::from_secs(20);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let slow = fixture.owner(running.address).await;
    let owner = fixture.owner(running.address).await;
    let held: Vec<_> = (0..4)
        .map(|_| tokio::spawn(without_end(slow.channel.clone(), EXECUTE)))
        .chain((0..2).map(|_| tokio::spawn(long_without_end(slow.channel.clone()))))
        .collect();
    // Of the two long ones one has the place, and the other is refused.
    eventually("one is refused", async || held.iter().any(|one| one.is_finished()).then_some(())).await;
    // A short command needs no place, and neither does a share or a successor.
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open barley"))).await.unwrap();
    let mut recovery = BrokerRecoveryClient::new(owner.channel.clone());
    let answer = recovery.supply_share(Request::new(SupplyShareRequest::default())).await.unwrap_err();
    assert_eq!(stable(&answer).1, "not-awaiting-recovery");
    let mut succession = BrokerSuccessionClient::new(owner.channel.clone());
    let answer = succession.take_over(Request::new(TakeOverRequest::default())).await.unwrap_err();
    assert_eq!(stable(&answer).1, "evidence-required");
    // An owner who has shown a signature has places for long ones.
    let large = fixture.command(&owner, 1, put("ssl_config", &vec![b'x'; 100 * 1024]));
    assert_eq!(stable(&execute(&owner, large).await.unwrap_err()).1, "secret-value-too-long");
    // One that has shown none waits, and learns for how long.
    let stranger = fixture.owner(running.address).await;
    let large = fixture.command(&stranger, 1, put("ssl_config", &vec![b'x'; 100 * 1024]));
    if let Err(refused) = execute(&stranger, large).await
        && stable(&refused).1 == "overloaded"
    {
        let after = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
        assert!(after.parse::<u64>().unwrap() >= 1000);
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
    running.stop().await;
}

#[tokio::test]
async fn one_session_that_floods_owners_places_leaves_some_to_others() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.body_timeout = Duration::from_secs(1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let hostile = fixture.owner(running.address).await;
    let flood: Vec<_> = (0..32)
        .map(|_| {
            let channel = hostile.channel.clone();
            tokio::spawn(async move {
                loop {
                    let _ = without_end(channel.clone(), EXECUTE).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    eventually("it has what one session gets", async || {
        let metrics = running.broker.metrics_text();
        (value(&metrics, "adytum_broker_requests_in_flight") == Some(8.0)).then_some(())
    })
    .await;
    let owner = fixture.owner(running.address).await;
    // Until it has lost its places twice, and taken them again.
    let late = || {
        let metrics = running.broker.metrics_text();
        let series = "adytum_broker_requests_total{service=\"administration\",code=\"body-late\"}";
        value(&metrics, series).unwrap_or_default()
    };
    let mut round = 0;
    while late() < 16.0 {
        let command = fixture.command(&owner, 1, put("ssl_config", format!("open {round}").as_bytes()));
        execute(&owner, command).await.unwrap();
        round += 1;
    }
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    // A body that does not come gives its place back.
    let late = timeout(Duration::from_secs(10), without_end(owner.channel.clone(), EXECUTE)).await;
    let late = late.expect("within its time").unwrap_err();
    assert_eq!(stable(&late), (Code::DeadlineExceeded, "body-late".into(), true));
    running.stop().await;
}

#[tokio::test]
async fn without_evidence_no_place_of_workloads_is_taken() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.requests.release = 1;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let stranger = fixture.owner(running.address).await;
    let ask = without_end(stranger.channel.clone(), "/adytum.broker.v1.KeyBroker/GetSecrets");
    let refused = timeout(Duration::from_secs(3), ask).await.expect("at once").unwrap_err();
    assert_eq!(stable(&refused), (Code::Unauthenticated, "evidence-required".into(), false));
    let asked = fetch(&stranger, &["ssl_config"]).await.unwrap_err();
    assert_eq!((stable(&asked), asked.message()), (stable(&refused), refused.message()));
    running.stop().await;
}
