//! How the command fails: the exit code, and the report for people or for programs.
//!
//! The exit code follows from the code of an error or from its type, never from the words of
//! its message.

use std::io;

use adytum_api::refusal::RefusalKind;
use adytum_codes::{Entry, Retry};
use adytum_ratls::error::{Refusal, SessionError};
use clap::error::ErrorKind;
use serde::Serialize;

use crate::{attested::BrokerRefusal, coded, interrupt, output};

/// Returns an error about a flag or a file that can't be used.
macro_rules! bail_input {
    ($($message:tt)*) => {
        return Err($crate::failure::Stated::new($crate::failure::Failure::Configuration, format!($($message)*)).into())
    };
}

/// An error about a flag or a file that can't be used.
macro_rules! input_error {
    ($($message:tt)*) => {
        anyhow::Error::from($crate::failure::Stated::new($crate::failure::Failure::Configuration, format!($($message)*)))
    };
}

/// Returns an error about a flag or a file unless the condition holds.
macro_rules! ensure_input {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            bail_input!($($message)*);
        }
    };
}

/// Returns an error that is a verdict: something was judged and is not accepted.
macro_rules! bail_refused {
    ($($message:tt)*) => {
        return Err($crate::failure::Stated::new($crate::failure::Failure::Refused, format!($($message)*)).into())
    };
}

/// Returns an error that may be over after some time.
macro_rules! bail_later {
    ($($message:tt)*) => {
        return Err($crate::failure::Stated::new($crate::failure::Failure::TryAgain, format!($($message)*)).into())
    };
}

/// The kinds of failure that a script tells apart, each with its exit code. Those above 2 are
/// of sysexits.h, as `adytum-init` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub(crate) enum Failure {
    /// None of the others.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No connection to a server (EX_UNAVAILABLE).
    Unreachable = 69,
    /// The same command may succeed later (EX_TEMPFAIL).
    TryAgain = 75,
    /// A verdict: a proof, a signature, a model or a request was judged and is not accepted
    /// (EX_NOPERM).
    Refused = 77,
    /// A file, a flag's value or a setting can't be used as it is (EX_CONFIG).
    Configuration = 78,
}

impl Failure {
    /// All, in the order of their exit codes.
    pub(crate) const ALL: [Self; 6] =
        [Self::Other, Self::Usage, Self::Unreachable, Self::TryAgain, Self::Refused, Self::Configuration];

    /// What the process ends with.
    pub(crate) fn exit_code(self) -> u8 {
        self as u8
    }

    /// For the help page.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Other => "another failure",
            Self::Usage => "the command line is wrong",
            Self::Unreachable => "a server is not reachable",
            Self::TryAgain => "the same command may succeed later",
            Self::Refused => "refused: judged and not accepted",
            Self::Configuration => "a file or a setting can't be used",
        }
    }

    /// The kind of an error, outermost cause first.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(entry) = coded::code(error).and_then(adytum_codes::get) {
            return Self::of_entry(entry);
        }
        error.chain().find_map(Self::of_type).unwrap_or(Self::Other)
    }

    /// The kind of an error with a code.
    fn of_entry(entry: &Entry) -> Self {
        let Entry { code, retry, .. } = entry;
        match retry {
            _ if UNREACHABLE.contains(code) => Self::Unreachable,
            Retry::Yes | Retry::Later => Self::TryAgain,
            Retry::No if REFUSED.contains(code) => Self::Refused,
            Retry::No if OTHER.contains(code) => Self::Other,
            // Most codes say which part of a file or of a setting is wrong.
            Retry::No => Self::Configuration,
        }
    }

    /// The kind of an error without a code that this program knows.
    fn of_type(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(stated) = cause.downcast_ref::<Stated>() {
            return Some(stated.failure);
        }
        if let Some(refusal) = cause.downcast_ref::<BrokerRefusal>() {
            return Some(Self::of_status(refusal.status()));
        }
        if let Some(SessionError::Refused { refusal, .. } | SessionError::RefusedByPeer { refusal, .. }) =
            cause.downcast_ref()
        {
            return Some(Self::of_refusal(refusal));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Self::of_system(error.kind());
        }
        let is_format = cause.is::<toml::de::Error>()
            || cause.is::<serde_json::Error>()
            || cause.is::<hex::FromHexError>()
            || cause.is::<pem::PemError>()
            || cause.is::<std::string::FromUtf8Error>();
        is_format.then_some(Self::Configuration)
    }

    /// By a peer of another release, whose code the catalogue does not have.
    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal.kind {
            _ if refusal.retry => Self::TryAgain,
            RefusalKind::Outage => Self::TryAgain,
            _ => Self::Refused,
        }
    }

    /// By gRPC's status of a broker that states no code.
    fn of_status(status: tonic::Code) -> Self {
        use tonic::Code;
        match status {
            Code::Unavailable => Self::Unreachable,
            Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded | Code::Cancelled => {
                Self::TryAgain
            }
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => Self::Other,
            _ => Self::Refused,
        }
    }

    fn of_system(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Some(Self::Unreachable),
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::ReadOnlyFilesystem => Some(Self::Configuration),
            _ => None,
        }
    }

    fn retry(self) -> Retry {
        match self {
            Self::Unreachable => Retry::Yes,
            Self::TryAgain => Retry::Later,
            Self::Other | Self::Usage | Self::Refused | Self::Configuration => Retry::No,
        }
    }
}

/// Codes of failures to reach a server.
const UNREACHABLE: &[&str] = &[
    "collateral-gateway",
    "collateral-unreachable",
    "connection-broken",
    "connection-failed",
    "connection-refused",
    "connection-timed-out",
    "handshake-timeout",
    "name-not-resolved",
    "pull-unreachable",
    "replica-connection-broken",
    "simulation-unreachable",
    "verify-unreachable",
];

/// Codes of verdicts that no retry changes.
const REFUSED: &[&str] = &[
    "announcement-malformed",
    "attested-tls-failed",
    "audit-beyond-checkpoint",
    "audit-checkpoint-forged",
    "audit-head-differs",
    "audit-no-start",
    "audit-other-broker",
    "audit-other-checkpoint-key",
    "audit-record-altered",
    "audit-record-missing",
    "audit-record-not-linked",
    "audit-record-reordered",
    "audit-truncated",
    "bundle-not-genuine",
    "certificate-expired",
    "certificate-malformed",
    "certificate-not-trusted",
    "certificate-not-yet-valid",
    "certificate-without-evidence",
    "certificate-wrong-name",
    "confirmation-other-genesis",
    "evidence-invalid",
    "evidence-malformed",
    "evidence-not-bound",
    "evidence-not-trusted",
    "evidence-outside-validity",
    "evidence-refused",
    "evidence-replayed",
    "evidence-unsupported",
    "evidence-without-certificate",
    "failed-precondition",
    "genesis-mismatch",
    "maa-claim",
    "maa-kind",
    "maa-migration",
    "maa-no-key-id",
    "maa-not-bound",
    "manifest-older",
    "manifest-other-genesis",
    "manifest-replayed",
    "manifest-without-effect",
    "model-check-batch",
    "model-check-no-answer",
    "model-check-not-a-tensor",
    "model-check-recorded",
    "model-digest-unlisted",
    "model-file-unlisted",
    "model-not-genuine",
    "model-plain",
    "model-rule-missing",
    "model-signature-invalid",
    "model-signer-unlisted",
    "model-version-below-floor",
    "model-version-renamed",
    "occlum-configuration-not-pinned",
    "occlum-debug",
    "owners-chain-broken",
    "permission-denied",
    "platform-revoked",
    "policy-refused",
    "pull-denied",
    "ra-tls-ambiguous",
    "ra-tls-claims-not-bound",
    "ra-tls-form-not-accepted",
    "ra-tls-key-not-bound",
    "ra-tls-no-evidence",
    "ra-tls-outside-validity",
    "recovery-by-other-program",
    "recovery-evidence-not-bound",
    "replica-model-unknown",
    "replica-of-other-owners",
    "role-not-allowed",
    "secret-refused",
    "secret-removed",
    "secret-unknown",
    "service-at-odds",
    "service-expired",
    "service-genesis-unconfirmed",
    "service-of-simulation",
    "service-older",
    "service-other-genesis",
    "service-owners-chain",
    "signature-by-same-owner-twice",
    "signature-by-stranger",
    "signature-invalid",
    "signature-missing",
    "signature-too-many",
    "signatures-below-threshold",
    "state-forked",
    "state-rolled-back",
    "tcb-not-accepted",
    "tcb-not-matched",
    "tcb-revoked",
    "tls-failed",
    "token-algorithm",
    "token-claim",
    "token-expired",
    "token-issuer",
    "token-key-unfit",
    "token-key-unknown",
    "token-not-yet-valid",
    "token-signature-invalid",
    "unauthenticated",
    "unseal-altered",
    "unseal-digest",
    "unseal-longer",
    "unseal-shorter",
    "unseal-truncated",
    "unseal-wrong-key",
    "untrusted-root",
    "upgrade-authorisation-other-genesis",
    "verify-handshake-unsigned",
    "verify-no-claims",
    "verify-no-tls",
];

/// Codes of faults that are neither verdicts nor about what was given.
const OTHER: &[&str] = &[
    "answer-malformed",
    "attester-answer",
    "bad-answer",
    "bundle-write",
    "cryptography-failed",
    "data-loss",
    "engine-failed",
    "evidence-not-written",
    "heads-io",
    "internal",
    "message-malformed",
    "message-too-long",
    "model-check-panic",
    "ok",
    "protocol-mismatch",
    "pull-write",
    "seal-write",
    "services-io",
    "session-setup-failed",
    "simulation-cryptography",
    "storage-failed",
    "system-failed",
    "unknown",
    "unseal-out-of-memory",
    "unseal-thread",
    "unseal-write",
];

/// An error of this program that has a kind and no code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Stated {
    failure: Failure,
    message: String,
}

impl Stated {
    pub(crate) fn new(failure: Failure, message: String) -> Self {
        Self { failure, message }
    }
}

/// An error for programs: one JSON object.
#[derive(Serialize)]
struct Document<'a> {
    kind: Failure,
    /// For `adytum explain`; null for an error without a code.
    code: Option<&'a str>,
    message: &'a str,
    exit_code: u8,
    retry: &'static str,
    /// The next step; null if the message has it.
    #[serde(rename = "do")]
    next_step: Option<&'a str>,
}

/// Says on standard error why the command fails, and gives its exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    let failure = Failure::of(error);
    let exit_code = interrupt::exit_code().unwrap_or_else(|| failure.exit_code());
    let (line, what_to_do) = (output::error_line(error), coded::what_to_do(error));
    if output::is_json() {
        let entry = coded::code(error).and_then(adytum_codes::get);
        say(&Document {
            kind: failure,
            code: entry.map(|entry| entry.code),
            message: &line,
            exit_code,
            retry: entry.map_or_else(|| failure.retry(), |entry| entry.retry).name(),
            next_step: what_to_do.map(|what_to_do| what_to_do.next_step()),
        });
    } else {
        eprintln!("adytum: {line}");
        if let Some(what_to_do) = what_to_do {
            eprintln!("{what_to_do}");
        }
    }
    exit_code
}

/// Ends the process for a command line that is wrong, or that asks for help.
pub(crate) fn exit_for_usage(error: &clap::Error) -> ! {
    if !output::is_json() || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a subcommand or an argument is missing".to_owned()
        }
        _ => {
            let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
            let line = lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
            line.trim_start_matches("error: ").to_owned()
        }
    };
    let exit_code = Failure::Usage.exit_code();
    say(&Document {
        kind: Failure::Usage,
        code: None,
        message: &message,
        exit_code,
        retry: Retry::No.name(),
        next_step: Some("read the command's page with --help"),
    });
    std::process::exit(exit_code.into())
}

fn say(document: &Document<'_>) {
    // Texts, numbers and nulls can always be written.
    if let Ok(line) = serde_json::to_string(document) {
        eprintln!("{line}");
    }
}

/// The exit codes, for the help page.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n  0   success\n");
    for failure in Failure::ALL {
        text.push_str(&format!("  {:<3} {}\n", failure.exit_code(), failure.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn the_lists_have_codes_of_this_program_each_in_one_list() {
        let mut seen = BTreeSet::new();
        for code in [UNREACHABLE, REFUSED, OTHER].concat() {
            let entry = adytum_codes::get(code).unwrap_or_else(|| panic!("{code} is not in the catalogue"));
            assert!(entry.programs.contains(&"adytum"), "{code}");
            assert!(seen.insert(code), "{code} twice");
            let may_pass = UNREACHABLE.contains(&code);
            assert!(may_pass || entry.retry == Retry::No, "{code} can be tried again: it needs no list");
        }
    }

    #[test]
    fn the_kind_follows_from_type_and_code_through_any_context() {
        let system = |kind| anyhow::Error::from(io::Error::from(kind)).context("reading x");
        assert_eq!(Failure::of(&system(io::ErrorKind::NotFound)), Failure::Configuration);
        assert_eq!(Failure::of(&system(io::ErrorKind::ConnectionRefused)), Failure::Unreachable);
        assert_eq!(Failure::of(&system(io::ErrorKind::Other)), Failure::Other);
        assert_eq!(Failure::of(&anyhow!("refused")), Failure::Other);
        let stated = Err::<(), _>(Stated::new(Failure::Refused, "no".to_owned())).context("it");
        assert_eq!(Failure::of(&stated.unwrap_err()), Failure::Refused);
        let malformed = toml::from_str::<toml::Table>("=").unwrap_err();
        assert_eq!(Failure::of(&anyhow::Error::from(malformed)), Failure::Configuration);
        for (code, failure) in [
            ("connection-refused", Failure::Unreachable),
            ("overloaded", Failure::TryAgain),
            ("collateral-expired", Failure::TryAgain),
            ("policy-refused", Failure::Refused),
            ("genesis-syntax", Failure::Configuration),
            ("internal", Failure::Other),
        ] {
            assert_eq!(Failure::of_entry(adytum_codes::get(code).unwrap()), failure, "{code}");
        }
        let unknown = |refusal| SessionError::Refused { peer: String::new(), refusal };
        let verdict = anyhow::Error::from(unknown(Refusal::verdict("of-tomorrow", "")));
        assert_eq!(Failure::of(&verdict), Failure::Refused);
        let outage = anyhow::Error::from(unknown(Refusal::outage("of-tomorrow", "")));
        assert_eq!(Failure::of(&outage), Failure::TryAgain);
    }
}
