//! Peers whose evidence is genuine and bound, but which are not the expected ones.

use std::{collections::BTreeSet, sync::Arc};

use adytum_evidence::{
    claims::{Claims, TeeKind},
    clock::SystemClock,
    policy::Policy,
    trust::Vendor,
    verifier::{TrustRoot, Verifier},
};
use adytum_governance::pin::BrokerPin;
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::{AcceptorConfiguration, ConnectorConfiguration},
    connector::AttestedConnector,
    error::{Refusal, SessionError},
    judge::PeerJudge,
    session::LocalAttestation,
};
use adytum_sim::{Platform, SimAttester};
use bytes::Bytes;

use crate::{
    fixture::{
        Fixture, GENESIS, OTHER_GENESIS, REPLICA, address, broker_announcement, refusal, refusal_by_peer,
    },
    raw,
};

/// Both ends' results of one attempt.
async fn attempt(
    connector: AttestedConnector,
    acceptor: AttestedAcceptor,
) -> (Result<(), SessionError>, Result<(), SessionError>) {
    let (ours, theirs) = raw::pipe();
    let (client, server) = tokio::join!(
        connector.connect_over(ours, "broker", address()),
        acceptor.accept_over(theirs, address())
    );
    (client.map(drop), server.map(drop))
}

/// Defence: the genesis in `BrokerPin`. The same genuine code, created by somebody else;
/// seen by a replica and by an owner's tool.
#[tokio::test]
async fn a_genuine_broker_of_another_genesis_is_refused() {
    let fixture = Fixture::new();
    for connector in [fixture.replica(), fixture.tool()] {
        let impostor = AttestedAcceptor::new(AcceptorConfiguration {
            local: fixture.local(crate::fixture::BROKER, broker_announcement(OTHER_GENESIS)),
            ..fixture.accepting()
        });
        let (client, server) = attempt(connector, impostor).await;
        let refusal = refusal(client);
        assert_eq!(refusal.code, "genesis-mismatch");
        assert!(!refusal.retry);
        assert!(refusal.message.contains(&GENESIS.to_string()), "{refusal}");
        assert!(refusal.message.contains(&OTHER_GENESIS.to_string()), "{refusal}");
        // The impostor learns that it was refused, not for what.
        let received = refusal_by_peer(server);
        assert_eq!(received.code, "genesis-mismatch");
        assert!(!received.message.contains(&GENESIS.to_string()), "{received}");
    }
}

/// Defence: `BrokerAnnouncement::decode` is exact.
#[tokio::test]
async fn a_broker_without_readable_claims_is_refused() {
    let fixture = Fixture::new();
    let second = [&broker_announcement(OTHER_GENESIS)[..], &broker_announcement(GENESIS)].concat();
    for announcement in [Bytes::new(), Bytes::from_static(b"genesis"), second.into()] {
        let local = fixture.local(crate::fixture::BROKER, announcement);
        let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..fixture.accepting() });
        let (client, _) = attempt(fixture.tool(), acceptor).await;
        assert_eq!(refusal(client).code, "announcement-malformed");
    }
}

/// Defence: the policy in `BrokerPin`. Every rule that failed is named.
#[tokio::test]
async fn another_program_with_the_right_genesis_is_refused_with_every_reason() {
    let fixture = Fixture::new();
    let attester = SimAttester::new(fixture.platform.clone(), REPLICA).debug(true);
    let local = LocalAttestation {
        attester: Arc::new(attester),
        announcement: Arc::new(|| broker_announcement(GENESIS)),
    };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..fixture.accepting() });
    let (client, server) = attempt(fixture.replica(), acceptor).await;
    let refusal = refusal(client);
    assert_eq!(refusal.code, "policy-refused");
    for part in ["identity", &crate::fixture::BROKER.to_string(), &REPLICA.to_string(), "debug"] {
        assert!(refusal.message.contains(part), "{part} is not in: {refusal}");
    }
    let received = refusal_by_peer(server);
    assert!(!received.message.contains(&crate::fixture::BROKER.to_string()), "{received}");
}

/// Where only vendors' roots are trusted.
fn production(fixture: &Fixture) -> Arc<Verifier> {
    let source = Arc::new(fixture.platform.collateral_source());
    Arc::new(Verifier::new(vec![TrustRoot::intel()], source, Arc::new(SystemClock)))
}

/// Defence: the verifier's explicit roots; nothing falls back to simulation. The
/// judge would accept simulation, so the roots alone refuse it.
#[tokio::test]
async fn a_simulated_broker_is_refused_where_only_vendor_roots_are_trusted() {
    let fixture = Fixture::new();
    for local in [None, Some(fixture.local(REPLICA, Bytes::new()))] {
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: production(&fixture),
            local,
            ..fixture.connecting()
        });
        let (client, server) = attempt(connector, fixture.acceptor()).await;
        assert_eq!(refusal(client).code, "untrusted-root");
        assert_eq!(refusal_by_peer(server).code, "untrusted-root");
    }
}

/// Defence: as above, on the accepting side.
#[tokio::test]
async fn a_simulated_client_is_refused_where_only_vendor_roots_are_trusted() {
    let fixture = Fixture::new();
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
        verifier: production(&fixture),
        ..fixture.accepting()
    });
    let (client, server) = attempt(fixture.replica(), acceptor).await;
    let received = refusal_by_peer(client);
    assert_eq!(received.code, "untrusted-root");
    // The peer learns nothing of the roots that are trusted here.
    assert!(!received.message.to_lowercase().contains("intel"), "{received}");
    assert_eq!(refusal(server).code, "untrusted-root");
}

/// Defence: as above, for a software platform that somebody else made.
#[tokio::test]
async fn another_simulated_platform_is_refused() {
    let fixture = Fixture::new();
    let foreign = Platform::ephemeral().unwrap();
    let local = LocalAttestation {
        attester: Arc::new(SimAttester::new(foreign, crate::fixture::BROKER)),
        announcement: Arc::new(|| broker_announcement(GENESIS)),
    };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..fixture.accepting() });
    let (client, _) = attempt(fixture.tool(), acceptor).await;
    assert_eq!(refusal(client).code, "untrusted-root");
}

/// Refuses everybody, in words that strangers must not read.
struct Nobody;

impl PeerJudge for Nobody {
    fn judge(&self, _claims: &Claims, announcement: &[u8]) -> Result<(), Refusal> {
        assert_eq!(announcement, b"who I am");
        Err(Refusal::outage("not-now", "only 10.0.0.7 runs model alpha"))
    }
}

/// Defence: the acceptor asks its judge, and tells the peer codes only.
#[tokio::test]
async fn a_client_that_the_servers_judge_refuses_gets_a_code_and_no_words() {
    let fixture = Fixture::new();
    let acceptor =
        AttestedAcceptor::new(AcceptorConfiguration { judge: Arc::new(Nobody), ..fixture.accepting() });
    let connector = AttestedConnector::new(ConnectorConfiguration {
        local: Some(fixture.local(REPLICA, Bytes::from_static(b"who I am"))),
        ..fixture.connecting()
    });
    let (client, server) = attempt(connector, acceptor).await;
    let received = refusal_by_peer(client);
    assert_eq!((received.code.as_str(), received.retry), ("not-now", true));
    assert!(!received.message.contains("alpha"), "{received}");
    assert_eq!(refusal(server).message, "only 10.0.0.7 runs model alpha");
}

/// A pin on a vendor is a pin: simulated evidence that verified is still not
/// Intel's.
#[tokio::test]
async fn a_policy_for_real_hardware_refuses_simulated_evidence_that_verified() {
    let fixture = Fixture::new();
    let policy = Policy::for_identity(Vendor::Intel, TeeKind::Sgx, crate::fixture::BROKER);
    let connector = AttestedConnector::new(ConnectorConfiguration {
        judge: Arc::new(crate::fixture::pinned(BrokerPin {
            policy,
            genesis: GENESIS,
            occlum: BTreeSet::new(),
        })),
        ..fixture.connecting()
    });
    let (client, _) = attempt(connector, fixture.acceptor()).await;
    let refusal = refusal(client);
    assert_eq!(refusal.code, "policy-refused");
    assert!(refusal.message.contains("vendor"), "{refusal}");
}
