//! What happened: one event for each secret granted or refused, and for each
//! command of an owner. Events carry names, codes and digests, never a value.

use std::net::SocketAddr;

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::{Claims, Measured},
    measurement::{MrEnclave, Sha256Digest},
};
use adytum_sealed::signing::OwnerPublicKey;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::{noise::Noise, root_key::sharing::RecoveryRecipient};

/// The target of all of them in `tracing`.
pub const TARGET: &str = "adytum::audit";

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// From where.
    pub address: SocketAddr,
    /// Which program, if it has given evidence.
    pub attested: Option<AttestedWho>,
}

/// Which program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedWho {
    /// SHA-256 of its claims as JSON.
    pub claims_digest: Sha256Digest,
    /// SGX, TDX, SEV-SNP.
    pub tee: String,
    /// What was measured: MRENCLAVE, MRTD, or the launch digest. Hexadecimal.
    pub measurement: String,
    /// SGX only.
    pub mr_enclave: Option<MrEnclave>,
    /// The machine.
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

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A secret was granted.
    Granted {
        /// To whom.
        who: Who,
        /// Which; `None` when only model rules were asked for.
        secret: Option<SecretName>,
        /// The value's version.
        secret_version: u64,
        /// As which workload.
        rule: String,
        /// Under which manifest.
        manifest_version: u64,
    },
    /// A secret was refused to a peer with accepted evidence.
    Refused {
        /// To whom.
        who: Who,
        /// Which.
        secret: Option<SecretName>,
        /// Stable code.
        code: &'static str,
        /// Every rule that failed.
        rule: String,
        /// Under which manifest.
        manifest_version: u64,
    },
    /// A command was carried out.
    Executed {
        /// For whom.
        who: Who,
        /// The owners who signed it.
        owners: Vec<OwnerPublicKey>,
        /// What.
        command: &'static str,
        /// Did it change what the broker holds?
        changes: bool,
        /// About which secret.
        secret: Option<SecretName>,
        /// The manifest in force afterwards.
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
    /// A command was refused.
    CommandRefused {
        /// To whom.
        who: Who,
        /// The owners who validly signed it, if enough of it was right to tell.
        owners: Vec<OwnerPublicKey>,
        /// What, where it could be read.
        command: Option<&'static str>,
        /// Stable code.
        code: &'static str,
        /// In words.
        reason: String,
        /// The manifest in force.
        manifest_version: u64,
    },
}

/// An event could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the audit event could not be recorded: {reason}")]
pub struct RecordError {
    /// Stable code for logs and answers.
    pub code: &'static str,
    /// Why.
    pub reason: String,
}

impl RecordError {
    /// May the same request pass later, without anybody doing anything?
    pub fn retry(&self) -> bool {
        self.code != crate::audit::log::FULL
    }
}

/// Records events. What can't be recorded is not done: a secret is released
/// only after its event was recorded.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Records these, all or none.
    async fn record(&self, events: &[Event]) -> Result<(), RecordError>;
}

/// Records events in the log, under the target [`TARGET`]; of commands that nobody
/// signed some a second.
#[derive(Debug, Default)]
pub struct LoggedEvents {
    noise: Noise,
}

#[async_trait]
impl EventSink for LoggedEvents {
    async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        for event in events {
            // Anybody can send commands that nobody signed.
            if matches!(event, Event::CommandRefused { owners, .. } if owners.is_empty()) {
                let Some(suppressed) = self.noise.may_write(Instant::now()) else { continue };
                if suppressed > 0 {
                    tracing::warn!(target: TARGET, suppressed, "commands that no owner signed were refused");
                }
            }
            log(event);
        }
        Ok(())
    }
}

macro_rules! emit {
    ($level:ident, $who:expr, $message:literal, $($fields:tt)*) => {{
        let who = $who;
        let attested = who.attested.as_ref();
        tracing::event!(
            target: TARGET,
            tracing::Level::$level,
            peer = %who.address,
            claims_digest = attested.map(|a| tracing::field::display(a.claims_digest)),
            tee = attested.map(|a| tracing::field::display(&a.tee)),
            mr_enclave = attested.and_then(|a| a.mr_enclave).map(tracing::field::display),
            measurement = attested.map(|a| tracing::field::display(&a.measurement)),
            platform = attested.map(|a| tracing::field::display(&a.platform)),
            $($fields)*,
            $message
        )
    }};
}

fn log(event: &Event) {
    match event {
        Event::Granted { who, secret, secret_version, rule, manifest_version } => emit!(
            INFO,
            who,
            "secret granted",
            decision = "granted",
            secret = secret.as_ref().map(tracing::field::display),
            secret_version,
            rule = %rule,
            manifest_version
        ),
        Event::Refused { who, secret, code, rule, manifest_version } => emit!(
            WARN,
            who,
            "secret refused",
            decision = "refused",
            secret = secret.as_ref().map(tracing::field::display),
            code,
            rule = %rule,
            manifest_version
        ),
        Event::Executed { who, owners, command, secret, manifest_version, .. } => emit!(
            INFO,
            who,
            "command executed",
            decision = "executed",
            command,
            owners = %owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            secret = secret.as_ref().map(tracing::field::display),
            manifest_version
        ),
        Event::Recovered { who, recipients, manifest_version } => emit!(
            INFO,
            who,
            "root key recovered",
            decision = "executed",
            command = "recover",
            recipients = %recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            manifest_version
        ),
        Event::CommandRefused { who, owners, command, code, reason, manifest_version } => emit!(
            WARN,
            who,
            "command refused",
            decision = "refused",
            command,
            owners = %owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            code,
            reason = %reason,
            manifest_version
        ),
    }
}
