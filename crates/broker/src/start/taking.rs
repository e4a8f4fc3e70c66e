//! The side that takes over.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_api::broker::{TakeOverRequest, broker_succession_client::BrokerSuccessionClient};
use adytum_evidence::{
    attester::{Attester, AttesterError},
    claims::Claims,
    clock::Clock,
    collateral::CollateralSource,
    measurement::Sha256Digest,
    verifier::Verifier,
};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    authorisation::{Authorisation, AuthorisationError, SignedAuthorisation},
    genesis::GenesisDigest,
    head::{HeadError, MalformedHead, StateHead, follows},
    pin::BrokerPin,
    recovery::{root_key::RootKey, sealing},
    roles::Owners,
};
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::AttestedConnector,
    error::{Refusal, SessionError},
    limits::Limits,
    session::{LocalAttestation, Peer},
};
use adytum_signing::OwnerPublicKey;
use tonic::Request;
use zeroize::Zeroizing;

use super::fence::{FENCE, FenceRecord};
use crate::store::{LoadedState, LockedStore, Store, StoreError};

/// How long the previous broker may take to leave the state directory.
const DIRECTORY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A takeover: the broker to take over from, and the next one.
pub struct TakeOver<'a> {
    /// The previous broker's address.
    pub from: &'a str,
    pub authorisation: &'a SignedAuthorisation,
    /// Which broker it is.
    pub genesis: GenesisDigest,
    /// The digest of the Occlum configuration that this side has loaded.
    pub occlum: Option<Sha256Digest>,
    pub attester: Arc<dyn Attester>,
    /// Where collateral for the previous broker's evidence comes from.
    pub collateral: Arc<dyn CollateralSource>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// The authorisation can't be read, or is another broker's.
    #[error(transparent)]
    Authorisation(#[from] AuthorisationError),
    /// The TEE failed.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// No session with the broker that the authorisation names.
    #[error("the previous broker: {0}")]
    Session(#[from] SessionError),
    /// It refused.
    #[error("the previous broker refused ({:?}): {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// It answered something else.
    #[error(
        "the previous broker answered with {found}, expected {expected}; check its address (--take-over-from) \
         and its version"
    )]
    Answer {
        /// What an answer has.
        expected: &'static str,
        found: String,
    },
    /// Its head can't be read.
    #[error("the head in the previous broker's answer: {0}")]
    Head(#[from] MalformedHead),
    /// The store in the state directory is not the one that was handed over.
    #[error(
        "the state directory does not hold what the previous broker had when it gave its key away ({reason}): \
         it is fenced now, so copy its state directory as it is and start again"
    )]
    NotTheNewest { reason: String },
    /// It does not continue the previous broker's state.
    #[error(transparent)]
    Older(#[from] HeadError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The root key of the previous broker, and what came with it.
pub struct HandedRootKey {
    root: RootKey,
    head: StateHead,
    signed: SignedAuthorisation,
    authorisation: Authorisation,
    successor: [u8; 32],
    genesis: GenesisDigest,
    pub(crate) claims: Claims,
    pub(crate) address: SocketAddr,
}

impl TakeOver<'_> {
    /// Verifies the previous broker, proves this one, and gets the key. From then on
    /// the previous one releases nothing.
    pub async fn ask(self) -> Result<HandedRootKey, TakeOverError> {
        let authorisation = self.authorisation.read(self.genesis)?;
        let successor = self.successor()?;
        let (genesis, head, occlum) = (self.genesis, StateHead::none(), self.occlum);
        let own = BrokerAnnouncement { genesis, head, occlum, clock_floor: self.clock.floor() }.encode();
        let pin = BrokerPin {
            policy: authorisation.present.clone(),
            genesis: self.genesis,
            // No more than this side has itself: this broker would go on to release what
            // the previous one released under it.
            occlum: self.occlum.into_iter().collect(),
        };
        let verifier = Verifier::new(authorisation.roots.clone(), self.collateral, self.clock);
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(verifier),
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                let judged = pin.judge(claims, announcement).map(drop);
                judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
            }),
            local: Some(LocalAttestation {
                attester: self.attester,
                announcement: Arc::new(move || own.clone()),
            }),
            limits: Limits::default(),
        });
        let session = connector.session(self.from).await?;
        let request =
            TakeOverRequest { authorisation: authorisation.digest.0.to_vec(), successor: successor.to_vec() };
        let mut client = BrokerSuccessionClient::new(session.channel);
        let answer = client.take_over(Request::new(request)).await;
        let answer = answer.map_err(|status| TakeOverError::Refused(Box::new(status)))?.into_inner();
        let key = Zeroizing::new(answer.root_key);
        let root = RootKey::from_bytes(&key).ok_or_else(|| TakeOverError::Answer {
            expected: "32 bytes of root key",
            found: key.len().to_string(),
        })?;
        let head = StateHead::try_from(answer.head.unwrap_or_default())?;
        let Peer::Attested { claims, .. } = session.info.peer else {
            return Err(TakeOverError::Answer { expected: "evidence", found: "none".to_owned() });
        };
        Ok(HandedRootKey {
            root,
            head,
            signed: self.authorisation.clone(),
            authorisation,
            successor,
            genesis: self.genesis,
            claims: *claims,
            address: session.info.peer_address,
        })
    }

    /// The same whenever this code asks on this CPU. Without a sealing key, another
    /// each time: what such a TEE was given and lost, it does not get again.
    fn successor(&self) -> Result<[u8; 32], TakeOverError> {
        let known = self.attester.sealing_key()?.as_ref().and_then(sealing::identity_of);
        Ok(match known {
            Some(id) => *id,
            None => *RootKey::generate().map_err(StoreError::from)?.0,
        })
    }
}

impl HandedRootKey {
    /// Opens the previous broker's store, once that one has left it. Blocks on the
    /// disk.
    pub fn open(&self, directory: &Path) -> Result<(Store, LoadedState), TakeOverError> {
        let locked = self.directory(directory).map_err(|error| match error {
            StoreError::NoState { path } => {
                let reason = format!("there is none in {}", path.display());
                TakeOverError::NotTheNewest { reason }
            }
            error => error.into(),
        })?;
        if !locked.opens_with(&self.root)? {
            return Err(TakeOverError::NotTheNewest { reason: "it is under another root key".into() });
        }
        let (_, _, [fence]) = locked.peek(&self.root, [FENCE])?;
        let expected = FenceRecord {
            authorisation: self.authorisation.digest.0.to_vec(),
            successor: self.successor.to_vec(),
        };
        // The fence is the previous broker's last change.
        let found = fence.and_then(|fence| <FenceRecord as prost::Message>::decode(fence.as_slice()).ok());
        if found != Some(expected) {
            return Err(TakeOverError::NotTheNewest {
                reason: "its fence for this broker is not in it".into(),
            });
        }
        let (store, mut loaded) = locked.unlock(&self.root)?;
        follows(&self.head, &store.head())?;
        if self.head.audit_size > 0 && store.record_hash(self.head.audit_size)? != self.head.audit_hash {
            return Err(TakeOverError::NotTheNewest { reason: "its audit log is another".into() });
        }
        // The previous broker said under its evidence that this is the newest state;
        // nobody need confirm it.
        (loaded.planned, loaded.unconfirmed) = (true, false);
        Ok((store, loaded))
    }

    fn directory(&self, directory: &Path) -> Result<LockedStore, StoreError> {
        let began = Instant::now();
        loop {
            match LockedStore::open_existing(directory, self.genesis) {
                Err(StoreError::InUse { .. }) if began.elapsed() < DIRECTORY => std::thread::sleep(PAUSE),
                result => return result,
            }
        }
    }

    /// The owners in force who authorised it.
    pub(crate) fn owners(&self, in_force: &Owners) -> Result<Vec<OwnerPublicKey>, AuthorisationError> {
        Ok(self.signed.approved_by(self.genesis, in_force)?.into_iter().collect())
    }
}

impl std::fmt::Debug for HandedRootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedRootKey").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use adytum_evidence::{claims::TeeKind, measurement::WorkloadIdentity, policy::Policy, trust::Vendor};
    use adytum_governance::{authorisation::Document, manifest::document::TrustTable};
    use adytum_ratls::session::Peer;

    use super::*;
    use crate::fixture::{broker, workload_session};

    /// A host that answers in the previous broker's place, with code of its own that
    /// its own document names, knows the root key that it gives.
    #[tokio::test]
    async fn a_successor_goes_on_only_with_what_the_owners_in_force_signed() {
        let fixture = broker(2, 2).with_manifest().await;
        let genesis = fixture.broker.genesis_digest();
        let policy = |byte| Policy::for_identity(Vendor::Intel, TeeKind::Sgx, WorkloadIdentity([byte; 32]));
        let trust = TrustTable { vendors: vec![Vendor::Intel], ..TrustTable::default() };
        let text = Document::new(genesis, trust, policy(66), policy(1)).to_toml().unwrap();
        let mut signed = SignedAuthorisation::unsigned(text);
        let Peer::Attested { claims, .. } = workload_session(66).peer else { panic!() };
        for (owners, code) in
            [(0, Some("signature-missing")), (1, Some("signatures-below-threshold")), (2, None)]
        {
            if owners > 0 {
                signed.sign(genesis, &fixture.owners[owners - 1]);
            }
            let handed = HandedRootKey {
                root: RootKey::generate().unwrap(),
                head: fixture.broker.store().head(),
                authorisation: signed.read(genesis).unwrap(),
                signed: signed.clone(),
                successor: [1; 32],
                genesis,
                claims: (*claims).clone(),
                address: "127.0.0.1:1".parse().unwrap(),
            };
            let found = handed.owners(fixture.broker.genesis().first_owners()).map(|owners| owners.len());
            assert_eq!(found.map_err(|error| error.code()).err(), code, "{owners} owners");
            assert_eq!(fixture.broker.succeed(&handed).await.is_err(), code.is_some());
        }
    }
}
