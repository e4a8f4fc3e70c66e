//! Collateral that comes along with evidence: whoever runs the server chooses it, and its
//! vendor has signed it.

use std::sync::Arc;

use adytum_evidence::{
    clock::SystemClock,
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource, DirectorySource},
    verifier::Verifier,
};
use adytum_ratls::{
    configuration::ConnectorConfiguration, connector::AttestedConnector, error::SessionError,
};
use adytum_sim::{Faults, Platform};
use async_trait::async_trait;

use crate::{
    fixture::{Fixture, address},
    raw,
};

/// A source that an attacker has changed.
struct Changed<F>(Arc<Platform>, F);

#[async_trait]
impl<F: Fn(Collateral) -> Collateral + Send + Sync> CollateralSource for Changed<F> {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        self.0.collateral_source().collateral(request).await.map(&self.1)
    }
}

/// A client without a source of its own.
fn client(fixture: &Fixture) -> AttestedConnector {
    let roots = vec![fixture.platform.trust_root().unwrap()];
    let verifier = Verifier::new(roots, Arc::new(DirectorySource::new("")), Arc::new(SystemClock));
    let configuration = fixture.connecting();
    AttestedConnector::new(ConnectorConfiguration {
        verifier: Arc::new(verifier),
        local: None,
        ..configuration
    })
}

/// The code of a session with a server that sends this along; `None` if it opened.
async fn code(
    fixture: &Fixture,
    client: AttestedConnector,
    source: Arc<dyn CollateralSource>,
) -> Option<String> {
    let (ours, theirs) = raw::pipe();
    let acceptor = fixture.acceptor().with_collateral(source);
    let (client, _) = tokio::join!(
        client.connect_over(ours, "server", address()),
        acceptor.accept_over(theirs, address()),
    );
    client.err().map(|error: SessionError| error.code().to_owned())
}

#[tokio::test]
async fn a_client_without_a_source_takes_what_comes_along() {
    let fixture = Fixture::new();
    let genuine: Arc<dyn CollateralSource> = Arc::new(fixture.platform.collateral_source());
    assert_eq!(code(&fixture, client(&fixture).taking_collateral(), genuine.clone()).await, None);
    // One that was not told to does not.
    assert!(code(&fixture, client(&fixture), genuine).await.unwrap().starts_with("collateral-"));
    // One with a source of its own does not need it.
    let none: Arc<dyn CollateralSource> = Arc::new(DirectorySource::new(""));
    assert_eq!(code(&fixture, fixture.tool().taking_collateral(), none.clone()).await, None);
    assert!(
        code(&fixture, client(&fixture).taking_collateral(), none).await.unwrap().starts_with("collateral-")
    );
}

/// Defence: `verify_with` verifies signatures and dates of what comes along.
#[tokio::test]
async fn collateral_that_was_altered_or_has_expired_is_refused() {
    let fixture = Fixture::new();
    let altered = |collateral| match collateral {
        Collateral::Dcap(collateral) => {
            let mut changed = (*collateral).clone();
            changed.tcb_info = changed.tcb_info.replace("UpToDate", "OutOfDate");
            if changed.tcb_info == collateral.tcb_info {
                changed.tcb_info.push(' ');
            }
            Collateral::Dcap(Arc::new(changed))
        }
        other => other,
    };
    let source = Arc::new(Changed(fixture.platform.clone(), altered));
    let found = code(&fixture, client(&fixture).taking_collateral(), source).await.unwrap();
    assert!(found == "collateral-invalid" || found == "evidence-invalid", "{found}");
    // Genuine, and of another platform: another root signed it.
    let other = Platform::ephemeral().unwrap();
    let theirs = move |_| Collateral::Dcap(other.collateral());
    let source = Arc::new(Changed(fixture.platform.clone(), theirs));
    assert!(code(&fixture, client(&fixture).taking_collateral(), source).await.is_some());

    fixture.platform.set_faults(Faults { collateral_expired: true, ..Faults::default() }).unwrap();
    let expired = Arc::new(fixture.platform.collateral_source());
    let found = code(&fixture, client(&fixture).taking_collateral(), expired).await;
    assert_eq!(found.as_deref(), Some("collateral-expired"));
}
