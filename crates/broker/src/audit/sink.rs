//! Where events go: the log that the broker keeps, and the lines that it writes.

use adytum_governance::audit::events::{CommandName, Event};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::telemetry::log_limiter::LogLimiter;

/// The target of events in `tracing`.
pub const TARGET: &str = "adytum::audit";

/// An event could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the audit event could not be recorded: {reason}")]
pub struct RecordError {
    /// Whether the log is full, or can't be written now.
    pub kind: RecordErrorKind,
    /// The failure and the next step.
    pub reason: String,
}

/// Why an event can't be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordErrorKind {
    /// The audit log has as many records as it may have, so the broker releases and changes
    /// nothing.
    ///
    /// Do: export the log with `adytum audit export`, then restart the broker with a higher
    /// `--audit-limit`.
    ///
    /// Retry: no
    Full,
    /// The audit log can't be written now, so the broker releases and changes nothing.
    ///
    /// Do: look in the broker's log for the failure of its store, and at the disk of
    /// `--state-directory`.
    ///
    /// Retry: later
    Unavailable,
}

impl RecordError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self.kind {
            RecordErrorKind::Full => "audit-full",
            RecordErrorKind::Unavailable => "audit-unavailable",
        }
    }

    /// May the same request pass later, without anybody doing anything?
    pub fn retry(&self) -> bool {
        self.kind == RecordErrorKind::Unavailable
    }
}

/// Records events. The broker does nothing that it can't record: a secret is released
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
    log_limiter: LogLimiter,
}

#[async_trait]
impl EventSink for LoggedEvents {
    async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        for event in events {
            // Anybody can send commands that nobody signed.
            if matches!(event, Event::CommandRefused { owners, .. } if owners.is_empty()) {
                let Some(suppressed) = self.log_limiter.may_write(Instant::now()) else { continue };
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
            protocol = Some(who.protocol.as_str()).filter(|protocol| !protocol.is_empty()),
            binding = Some(who.protocol.binding()).filter(|binding| !binding.is_empty()),
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
            command = command.as_str(),
            owners = %owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            secret = secret.as_ref().map(tracing::field::display),
            manifest_version
        ),
        Event::Confirmed { who, owners, head, given_up, manifest_version } => emit!(
            WARN,
            who,
            "state confirmed",
            decision = "executed",
            command = match given_up {
                None => CommandName::ConfirmState,
                Some(_) => CommandName::AcceptRollback,
            }
            .as_str(),
            owners = %owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            head = %head,
            given_up = given_up.as_ref().map(tracing::field::display),
            manifest_version
        ),
        Event::Recovered { who, recipients, manifest_version } => emit!(
            INFO,
            who,
            "root key recovered",
            decision = "executed",
            command = CommandName::Recover.as_str(),
            recipients = %recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            manifest_version
        ),
        Event::Noticed { code, text, manifest_version } => {
            tracing::warn!(target: TARGET, decision = "noticed", code, reason = %text, manifest_version, "noticed");
        }
        Event::CommandRefused { who, owners, command, code, reason, manifest_version } => emit!(
            WARN,
            who,
            "command refused",
            decision = "refused",
            command = command.map(CommandName::as_str),
            owners = %owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            code,
            reason = %reason,
            manifest_version
        ),
    }
}
