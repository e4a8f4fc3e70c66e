//! Sessions that come about, and what services and callers see of them.

use adytum_ratls::{error::SessionError, session::Peer};
use rustls::NamedGroup;

use crate::{
    fixture::{Fixture, GENESIS, Mirror, address, ask, broker_announcement, serve},
    raw,
};

#[tokio::test]
async fn both_ends_see_each_other_and_the_same_binding() {
    let fixture = Fixture::new();
    let (address, server) = serve(fixture.acceptor(), Mirror::default()).await;
    let session = fixture.replica().session(&address.to_string()).await.unwrap();
    let Peer::Attested { claims, announcement } = &session.info.peer else {
        panic!("{:?}", session.info.peer)
    };
    assert!(claims.carries(crate::fixture::BROKER));
    assert_eq!(*announcement, broker_announcement(GENESIS));
    assert_eq!(session.info.peer_address, address);

    let secret = ask(session.channel.clone(), "who").await.unwrap();
    assert_eq!(secret.name, "replica");
    assert_eq!(secret.value, session.info.request_binding.to_vec());

    let other = fixture.replica().session(&address.to_string()).await.unwrap();
    assert_ne!(other.info.request_binding, session.info.request_binding);
    server.abort();
}

#[tokio::test]
async fn a_client_without_a_tee_is_told_apart() {
    let fixture = Fixture::new();
    let (address, server) = serve(fixture.acceptor(), Mirror::default()).await;
    // By name, which may have several addresses of which one answers.
    let session = fixture.tool().session(&format!("localhost:{}", address.port())).await.unwrap();
    assert!(matches!(session.info.peer, Peer::Attested { .. }));
    assert_eq!(ask(session.channel, "who").await.unwrap().name, "unattested");
    server.abort();
}

#[tokio::test]
async fn ipv6_addresses_are_reached() {
    let fixture = Fixture::new();
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        println!("SKIPPED: no IPv6 loopback on this machine");
        return;
    };
    let address = listener.local_addr().unwrap();
    let acceptor = fixture.acceptor();
    let server = tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await });
    fixture.tool().connect(&address.to_string()).await.unwrap();
    server.await.unwrap().unwrap();
}

/// Defence: the explicit provider, hybrid key exchange first.
#[tokio::test]
async fn the_key_exchange_is_post_quantum() {
    let fixture = Fixture::new();
    let (ours, theirs) = raw::pipe();
    let (replica, acceptor) = (fixture.replica(), fixture.acceptor());
    let (client, server) = tokio::join!(
        replica.connect_over(ours, "broker", address()),
        acceptor.accept_over(theirs, address())
    );
    for stream in [client.unwrap(), server.unwrap()] {
        let connection = stream.tls().get_ref().1;
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_an_error_to_try_again() {
    let fixture = Fixture::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = fixture.tool().session(&address).await.unwrap_err();
    assert!(matches!(error, SessionError::Io { .. }), "{error:?}");
    assert_eq!((error.code(), error.retry()), ("connection-failed", true));
    assert!(error.to_string().contains(&address));
}

#[tokio::test]
async fn an_address_without_a_port_is_an_error() {
    let error = Fixture::new().tool().session("localhost").await.unwrap_err();
    assert!(matches!(error, SessionError::Io { .. }), "{error:?}");
}
