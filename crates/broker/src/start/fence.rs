//! The fence: a broker that has handed its root key over releases nothing any more. The
//! fence is an encrypted item of the store, so a host can take it away only by putting
//! back the whole earlier file. Everybody who has seen a later head notices that.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use adytum_api::broker as wire;
use adytum_evidence::{
    claims::Claims,
    measurement::Sha256Digest,
    policy::{Policy, PolicyRefusal},
    verifier::TrustRoot,
};
use adytum_governance::{
    announcement::{AnnouncementError, BrokerAnnouncement},
    authorisation::{AuthorisationError, SignedAuthorisation},
    genesis::GenesisDigest,
    head::StateHead,
    recovery::root_key::RootKey,
};
use prost::Message;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::store::{LockedStore, StoreError};

/// Where the authorisation in force lies in the store.
pub(crate) const AUTHORISATION: &str = "upgrade/authorisation";
/// Where the fence lies in the store.
pub(crate) const FENCE: &str = "upgrade/fence";

/// To whom the root key went, and by whose leave.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FenceRecord {
    /// SHA-256 of the authorisation's text.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) authorisation: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) successor: Vec<u8>,
}

/// Why a successor gets no root key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The peer gave no evidence.
    ///
    /// See: `ReleaseError::EvidenceRequired`
    #[error(
        "the root key is handed over only to a broker that attests, and this session's client gave no evidence"
    )]
    EvidenceRequired,
    /// A field of the request for the root key has another length than 32 bytes.
    ///
    /// Do: start a next broker whose version can take over from this one (CHANGELOG.md).
    #[error(
        "the request for the root key: expected 32 bytes of {field}, found {found}; start a next broker of a \
         version that can take over from this one"
    )]
    Malformed { field: &'static str, found: usize },
    /// The owners have not authorised this upgrade at this broker.
    ///
    /// Do: authorise it with `adytum broker authorise-upgrade`, and start the next broker with
    /// that file (`--upgrade-authorisation`).
    #[error(
        "the owners have not authorised this upgrade here: authorise it with `adytum broker \
         authorise-upgrade`, and start the next broker with that file"
    )]
    NotAuthorised,
    /// The authorisation does not count any more.
    #[error(transparent)]
    Authorisation(#[from] AuthorisationError),
    /// The next broker is another program, or on another platform, than the owners authorised.
    ///
    /// Do: correct the policy of `adytum broker authorise-upgrade --next-policy`, or start the
    /// broker that it names.
    #[error("the successor is not a broker that the owners authorised: {0}")]
    Policy(PolicyRefusal),
    /// The manifest in force does not trust the platform of the next broker.
    ///
    /// Do: add the platform's vendor or root to `[trust]` of the manifest, apply it, and start
    /// the next broker again.
    #[error(
        "the manifest in force does not trust the successor's platform; add its vendor or root to [trust] and \
         apply the manifest first"
    )]
    Untrusted,
    /// Its announcement can't be read.
    #[error("the successor's announcement: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The next broker has another genesis.
    ///
    /// See: `PinError::OtherGenesis`
    #[error("the successor is a broker of genesis {found}; this one's is {expected}")]
    OtherGenesis { expected: GenesisDigest, found: GenesisDigest },
    /// The root key went to another broker.
    ///
    /// See: `NotReady::Fenced`
    #[error(
        "the root key was handed to another successor already, and only one gets it; use the address of that \
         broker"
    )]
    Fenced,
    /// After an unplanned restart the owners have not confirmed the state yet: it may not be the newest.
    ///
    /// See: `NotReady::AwaitingConfirmation`
    #[error(
        "the broker restarted unplanned and hands nothing over until the owners confirm its state with `adytum \
         broker confirm`"
    )]
    AwaitingConfirmation,
    /// The fence can't be kept, so nothing was handed over.
    #[error("nothing was handed over: {0}")]
    Store(#[from] StoreError),
    /// The handover can't be recorded, so it was not made.
    #[error(transparent)]
    Record(#[from] crate::audit::sink::RecordError),
}

impl HandOverError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EvidenceRequired => "evidence-required",
            Self::Malformed { .. } => "take-over-malformed",
            Self::NotAuthorised => "upgrade-not-authorised",
            Self::Authorisation(error) => error.code(),
            Self::Policy(_) => "upgrade-policy-refused",
            Self::Untrusted => "upgrade-platform-untrusted",
            Self::Announcement(error) => error.code(),
            Self::OtherGenesis { .. } => "genesis-mismatch",
            Self::Fenced => "fenced",
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::Store(error) => error.code(),
            Self::Record(error) => error.code(),
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Store(error) => error.retry(),
            Self::Record(error) => error.retry(),
            Self::AwaitingConfirmation => true,
            _ => false,
        }
    }
}

/// A request that can be read.
pub(crate) struct Successor {
    pub(crate) authorisation: Sha256Digest,
    pub(crate) id: [u8; 32],
}

impl Successor {
    pub(crate) fn parse(request: &wire::TakeOverRequest) -> Result<Self, HandOverError> {
        let bytes = |field, bytes: &[u8]| {
            let malformed = |_| HandOverError::Malformed { field, found: bytes.len() };
            <[u8; 32]>::try_from(bytes).map_err(malformed)
        };
        Ok(Self {
            authorisation: Sha256Digest(bytes("authorisation", &request.authorisation)?),
            id: bytes("successor", &request.successor)?,
        })
    }
}

/// Is this peer a broker of this genesis, and of the code that may come next?
pub(crate) fn may_succeed(
    genesis: GenesisDigest,
    next: &Policy,
    claims: &Claims,
    announcement: &[u8],
) -> Result<(), HandOverError> {
    next.judge(claims).map_err(HandOverError::Policy)?;
    let found = BrokerAnnouncement::decode(announcement)?.genesis;
    if found != genesis {
        return Err(HandOverError::OtherGenesis { expected: genesis, found });
    }
    Ok(())
}

/// A fenced broker: the key, for that one successor.
pub struct FencedState {
    pub(crate) genesis: GenesisDigest,
    pub(crate) root: RootKey,
    pub(crate) head: StateHead,
    pub(crate) record: FenceRecord,
    pub(crate) next: Policy,
    /// Whose evidence counted under the last manifest.
    pub(crate) roots: Vec<TrustRoot>,
}

impl FencedState {
    /// The fence in a store that opens with this key, if there is one. Counts no
    /// start: the successor's copy is compared with this state.
    pub(crate) fn found(locked: &LockedStore, root: &RootKey) -> Result<Option<Self>, StoreError> {
        let (loaded, head, [fence, authorisation]) = locked.peek(root, [FENCE, AUTHORISATION])?;
        let (Some(fence), Some(authorisation)) = (fence, authorisation) else { return Ok(None) };
        let contents = |error: &dyn std::fmt::Display| locked.contents(format!("the fence: {error}"));
        let record = FenceRecord::decode(fence.as_slice()).map_err(|error| contents(&error))?;
        let text = std::str::from_utf8(&authorisation).map_err(|error| contents(&error))?;
        let authorisation = SignedAuthorisation::from_file(text)
            .and_then(|signed| signed.read(locked.genesis()))
            .map_err(|error| contents(&error))?;
        let manifest =
            loaded.snapshot.manifest.map(|signed| adytum_governance::manifest::Manifest::parse(&signed.text));
        let roots = match manifest.transpose().map_err(|error| contents(&error))? {
            Some(manifest) => {
                adytum_governance::trust::roots(&manifest.trust).map_err(|error| contents(&error))?
            }
            None => Vec::new(),
        };
        let (root, next) = (root.clone(), authorisation.next);
        Ok(Some(Self { genesis: locked.genesis(), root, head, record, next, roots }))
    }

    /// Gives the key to the successor that it went to before, if this is it.
    pub(crate) fn hand_over(
        &self,
        successor: &Successor,
        claims: &Claims,
        announcement: &[u8],
    ) -> Result<wire::TakeOverResponse, HandOverError> {
        if self.record.authorisation != successor.authorisation.0 || self.record.successor != successor.id {
            return Err(HandOverError::Fenced);
        }
        may_succeed(self.genesis, &self.next, claims, announcement)?;
        Ok(self.answer())
    }

    /// The answer to the one successor.
    pub(crate) fn answer(&self) -> wire::TakeOverResponse {
        // The message is dropped unwiped after it was sent; the process holds the
        // key anyway.
        wire::TakeOverResponse { root_key: self.root.0.to_vec(), head: Some((&self.head).into()) }
    }

    /// What a status says.
    pub(crate) fn status(&self) -> wire::RecoveryStatus {
        wire::RecoveryStatus { fenced: true, ..wire::RecoveryStatus::default() }
    }
}

impl std::fmt::Debug for FencedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FencedState").field("genesis", &self.genesis).finish_non_exhaustive()
    }
}

/// Has the broker handed its root key over?
#[derive(Default)]
pub(crate) struct Succession {
    /// From the moment before the fence is kept.
    pub(crate) closing: AtomicBool,
    pub(crate) fenced: OnceLock<Arc<FencedState>>,
    pub(crate) notify: Notify,
}

/// The fence as an item.
pub(crate) fn item(record: &FenceRecord) -> crate::store::Item {
    crate::store::Item(Zeroizing::new(record.encode_to_vec()))
}
