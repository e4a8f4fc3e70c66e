//! Events: one for each secret that was granted or refused, and one for each
//! command of an owner. Events carry names, codes and digests, never a value.

use std::net::SocketAddr;

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::{Claims, Measured},
    measurement::{MrEnclave, Sha256Digest},
};
use adytum_signing::OwnerPublicKey;

use crate::{head::StateHead, recovery::sharing::RecoveryRecipient};

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// Which program, if it has given evidence.
    pub attested: Option<AttestedWho>,
}

/// The protocol over which a peer asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// An attested session, our own.
    #[default]
    Session,
    /// KBS, of Confidential Containers.
    Kbs,
    /// gRPC with RA-TLS certificates, of Occlum's own init.
    OcclumRaTls,
}

impl Protocol {
    /// As it is recorded; empty for our own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "",
            Self::Kbs => "kbs-0.4.0",
            Self::OcclumRaTls => "occlum-ratls",
        }
    }

    /// How weakly evidence is bound in it, as it is recorded; empty where it is bound to a
    /// nonce of the broker's.
    pub fn binding(self) -> &'static str {
        match self {
            Self::Session | Self::Kbs => "",
            Self::OcclumRaTls => "weak-binding",
        }
    }
}

/// Which program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedWho {
    /// SHA-256 of its claims as JSON.
    pub claims_digest: Sha256Digest,
    pub tee: String,
    /// The measurement of its code: MRENCLAVE, MRTD, or the launch digest. Hexadecimal.
    pub measurement: String,
    pub mr_enclave: Option<MrEnclave>,
    pub platform: String,
}

impl AttestedWho {
    /// From verified claims.
    pub fn new(claims: &Claims) -> Self {
        // Claims are plain data with text keys: they always have a JSON form.
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let (measurement, mr_enclave) = match &claims.measured {
            Measured::Sgx { mr_enclave, .. } => (mr_enclave.to_string(), Some(*mr_enclave)),
            Measured::Tdx { mr_td, .. } => (mr_td.to_string(), None),
            Measured::Snp { measurement, .. } => (measurement.to_string(), None),
        };
        Self {
            claims_digest: Sha256Digest::of_bytes(&json),
            tee: claims.tee().to_string(),
            measurement,
            mr_enclave,
            platform: claims.platform.id.clone(),
        }
    }
}

/// What owners have a broker do, and what is done with its root key, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandName {
    /// A manifest is installed.
    ApplyManifest,
    /// A secret gets a value.
    PutSecret,
    /// A secret's value is forgotten.
    RemoveSecret,
    /// The broker makes a new value.
    RotateSecret,
    /// The certificate authority gets another key.
    RotateCertificateAuthority,
    /// Secrets are listed, without values.
    ListSecrets,
    /// A manifest is shown.
    GetManifest,
    /// The manifests there ever were are listed.
    ListManifests,
    /// The state is confirmed after an unplanned restart.
    ConfirmState,
    /// A newer state is given up for an older one.
    AcceptRollback,
    /// The root key may be handed to the next broker.
    AuthoriseUpgrade,
    /// The root key may not be handed over any more.
    WithdrawUpgrade,
    /// Part of the audit log is shown.
    ReadAudit,
    /// The forecast of refusals is shown.
    GetForecast,
    /// The root key is brought back by shares.
    Recover,
    /// The root key is handed to another broker.
    HandOver,
    /// The root key of another broker is taken over.
    TakeOver,
}

impl CommandName {
    /// As it is recorded and logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApplyManifest => "apply-manifest",
            Self::PutSecret => "put-secret",
            Self::RemoveSecret => "remove-secret",
            Self::RotateSecret => "rotate-secret",
            Self::RotateCertificateAuthority => "rotate-certificate-authority",
            Self::ListSecrets => "list-secrets",
            Self::GetManifest => "get-manifest",
            Self::ListManifests => "list-manifests",
            Self::ConfirmState => "confirm-state",
            Self::AcceptRollback => "accept-rollback",
            Self::AuthoriseUpgrade => "authorise-upgrade",
            Self::WithdrawUpgrade => "withdraw-upgrade",
            Self::ReadAudit => "read-audit",
            Self::GetForecast => "get-forecast",
            Self::Recover => "recover",
            Self::HandOver => "hand-over",
            Self::TakeOver => "take-over",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A secret was granted.
    Granted {
        who: Who,
        /// Which; `None` when only model rules were asked for.
        secret: Option<SecretName>,
        secret_version: u64,
        rule: String,
        manifest_version: u64,
    },
    /// A secret was refused to a peer with accepted evidence.
    Refused {
        who: Who,
        secret: Option<SecretName>,
        code: &'static str,
        /// Every rule that failed.
        rule: String,
        manifest_version: u64,
    },
    /// A command was carried out.
    Executed {
        who: Who,
        /// The owners who signed it.
        owners: Vec<OwnerPublicKey>,
        command: CommandName,
        /// Did it change what the broker holds?
        changes: bool,
        secret: Option<SecretName>,
        /// The manifest in force afterwards.
        manifest_version: u64,
    },
    /// The owners confirmed the state, or gave a newer one up for it.
    Confirmed {
        /// Who brought their word.
        who: Who,
        /// The owners who signed it.
        owners: Vec<OwnerPublicKey>,
        head: StateHead,
        /// The head given up.
        given_up: Option<StateHead>,
        /// The manifest in force.
        manifest_version: u64,
    },
    /// The root key was brought back.
    Recovered {
        /// Who supplied the last share.
        who: Who,
        /// Whose shares they were.
        recipients: Vec<RecoveryRecipient>,
        /// The manifest in force.
        manifest_version: u64,
    },
    /// The broker noticed something by itself.
    Noticed {
        code: &'static str,
        text: String,
        /// The manifest in force.
        manifest_version: u64,
    },
    /// A command was refused.
    CommandRefused {
        who: Who,
        /// The owners who validly signed it, if enough of it was right to tell.
        owners: Vec<OwnerPublicKey>,
        /// What, where it could be read.
        command: Option<CommandName>,
        code: &'static str,
        reason: String,
        /// The manifest in force.
        manifest_version: u64,
    },
}
