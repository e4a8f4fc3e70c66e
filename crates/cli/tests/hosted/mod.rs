//! A broker on a simulated platform, in the process of a test.

use std::{fs, path::Path, sync::Arc};

use adytum_broker::{
    Broker, BrokerConfiguration, ServerLimits, audit::sink::LoggedEvents, serve, store::Store,
};
use adytum_evidence::{clock::SystemClock, measurement::WorkloadIdentity};
use adytum_governance::genesis::Genesis;
use adytum_signing::{OwnerPublicKey, OwnerSigningKey};
use adytum_sim::{Platform, SimAttester};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The broker's.
pub(crate) const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xb0; 32]);

/// Creates a broker and lets it serve. The directory has `platform`, `genesis.toml` and
/// the owners' keys under these names; the address is the broker's.
pub(crate) async fn host(owners: &[&str], threshold: usize) -> (TempDir, String, Genesis) {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::create(directory.path().join("platform")).unwrap();
    let keys = owners.iter().map(|name| new_key(directory.path(), name));
    let genesis = Genesis::found(keys, threshold).unwrap();
    fs::write(directory.path().join("genesis.toml"), genesis.to_toml()).unwrap();
    let broker = Broker::start(BrokerConfiguration {
        genesis: genesis.clone(),
        attester: Arc::new(SimAttester::new(Arc::clone(&platform), IDENTITY)),
        collateral: Arc::new(platform.collateral_source()),
        clock: Arc::new(SystemClock),
        store: Store::in_memory(genesis.digest()).unwrap(),
        events: Arc::new(LoggedEvents::default()),
        occlum: None,
    })
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, broker, ServerLimits::default(), std::future::pending()));
    (directory, address, genesis)
}

/// Makes a key in a file of this name.
pub(crate) fn new_key(directory: &Path, name: &str) -> OwnerPublicKey {
    let key = OwnerSigningKey::generate().unwrap();
    fs::write(directory.join(name), key.to_pem().unwrap().as_bytes()).unwrap();
    key.public_key()
}
