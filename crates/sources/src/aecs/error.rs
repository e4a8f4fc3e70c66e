//! Why AECS gave no secret.

use std::time::Duration;

use adytum_evidence::{
    attester::AttesterError, collateral::CollateralError, measurement::Sha256Digest, policy::PolicyRefusal,
    verifier::VerificationError,
};

use crate::rsa_key::KeyError;

/// Why AECS gave no secret. Everything from [`AecsError::Report`] on means that the answer
/// was not believed.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AecsError {
    /// The address of the AECS server is no address.
    ///
    /// Do: give host and port with `--broker`, `OCCLUM_INIT_RA_KMS_SERVER` or `kms_server`, as in
    /// `aecs.example:19527`.
    #[error("{address:?} is no address of an AECS server: {reason}; give HOST:PORT")]
    Address { address: String, reason: String },
    /// The AECS server can't be reached, or says that it can't answer now.
    ///
    /// Do: check the address, and that the server runs.
    ///
    /// Retry: later
    #[error("the AECS server at {peer} can't be reached: {reason}")]
    Unreachable { peer: String, reason: String },
    /// The AECS server took longer than a round may take.
    ///
    /// Do: check the server's load and the network between; this side tries again.
    ///
    /// Retry: later
    #[error("the AECS server at {peer} gave not all answers within {limit:?}")]
    Slow { peer: String, limit: Duration },
    /// The AECS server answered with an error. Nothing authenticates that.
    ///
    /// Do: read the server's reason; check the names of service and secret, and that the
    /// secret's policy at AECS accepts the enclave of this program.
    #[error("the AECS server at {peer} gives no {secret}: {status}: {reason}")]
    Refused { peer: String, secret: String, status: String, reason: String },
    /// The answer has more bytes than any answer of an AECS server.
    ///
    /// Do: check which server it is that answers at this address.
    #[error("the answer of {peer} has more than {limit} bytes")]
    TooLarge { peer: String, limit: usize },
    /// This program runs on a TEE whose reports AECS does not take from us.
    ///
    /// Do: run it on SGX with DCAP (or TDX), or use Adytum's own broker.
    #[error("AECS takes DCAP quotes with Intel's collateral, and here is another TEE: {found}")]
    Platform { found: String },
    /// The TEE's interface failed.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// There is no collateral for this program's own report.
    #[error("collateral for this program's own report: {0}")]
    Collateral(#[from] CollateralError),
    /// The cryptographic library made no key or signature.
    ///
    /// Do: start the program again; report the message if it comes back.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The AECS server's report is missing, or not one that this program reads.
    ///
    /// Do: check that the server runs on SGX with DCAP, and which server answers at the
    /// address.
    #[error("the AECS server's report is malformed: {reason}")]
    Report { reason: String },
    /// The AECS server's report does not hold.
    #[error("the AECS server's report: {0}")]
    Verification(#[from] VerificationError),
    /// The AECS server is another enclave, or another platform, than the measured
    /// configuration accepts.
    ///
    /// Do: compare the failures with the `ua_policy_*` fields, or with `[aecs.policy]`; correct
    /// them and measure the configuration again, or refuse the server.
    #[error("the AECS server is not the one that the measured configuration accepts: {0}")]
    Policy(#[from] PolicyRefusal),
    /// The AECS server shows a key that is not the one in its report: somebody uses the report
    /// of another.
    ///
    /// Do: refuse the server; look for a proxy on the way.
    #[error(
        "the AECS server's key has the digest {shown}, and its report names {bound}: the report is somebody else's"
    )]
    KeyNotBound { shown: Sha256Digest, bound: String },
    /// The AECS server's key is not the one that the measured configuration names.
    ///
    /// Do: correct `ua_policy_hex_hash_or_pem_pubkey` and measure the configuration again, or
    /// refuse the server.
    #[error("the AECS server's key has the digest {found}, and the measured configuration names another")]
    OtherServerKey { found: Sha256Digest },
    /// The user data in the AECS server's report are not those that the measured configuration
    /// names.
    ///
    /// Do: correct `ua_policy_hex_user_data` and measure the configuration again, or refuse the
    /// server.
    #[error("the user data in the AECS server's report: wanted {wanted}, found {found}")]
    UserData { wanted: String, found: String },
    /// The AECS server's key is not an RSA key in PKCS #1.
    ///
    /// Do: switch the server to RSA; its SM2 mode is not supported.
    #[error("the AECS server's key: expected RSA PUBLIC KEY in PEM, found {found}")]
    ServerKey { found: String },
    /// The answer is not signed by the server's key: it was altered on the way, or is another's.
    ///
    /// Do: look for a proxy on the way; try again over another one.
    #[error("the answer of the AECS server is not signed by the key in its report")]
    Signature,
    /// The answer is signed, and not one that this program reads.
    ///
    /// Do: check that the server speaks `TaRemoteCall` with JSON, as AECS 1.0 does.
    #[error("the answer of the AECS server is malformed: {reason}")]
    Answer { reason: String },
    /// The answer is to another question: it was recorded and played again, or the server
    /// does not return nonces.
    ///
    /// Do: look for a proxy on the way; update an AECS server that is older than nonces.
    #[error(
        "the answer of the AECS server {}: it is to another question, or a recorded one",
        if *.empty { "has no nonce" } else { "has another nonce" }
    )]
    Nonce {
        /// It has none at all.
        empty: bool,
    },
    /// The envelope of the secret does not open.
    ///
    /// Do: look for a proxy on the way; check the version of the server.
    #[error("the AECS server's envelope does not open: {reason}")]
    Envelope { reason: &'static str },
    /// The hash in the envelope is not that of the content.
    ///
    /// Do: check the version of the server; report a server that is right.
    #[error("the hash in the AECS server's envelope is another's")]
    Hash,
    /// The hash in the envelope is not signed by the server's key: somebody else made it.
    ///
    /// Do: look for a proxy on the way; check the version of the server.
    #[error("the content of the AECS server's envelope is not signed by its key")]
    HashSignature,
    /// The content of the envelope is no secret in AECS's form.
    ///
    /// Do: check the version of the server.
    #[error("the AECS server's envelope for {secret} holds no secret in AECS's form")]
    Content { secret: String },
    /// The server gave another secret than the one asked for.
    ///
    /// Do: check the server's storage of secrets, and its version.
    #[error("asked for {wanted}, the AECS server gave {found}")]
    OtherSecret { wanted: String, found: String },
    /// The value of the secret can't be used.
    ///
    /// Do: correct the secret at AECS, or `encode` in the measured configuration.
    #[error("the value of {secret}: {reason}")]
    Value { secret: String, reason: String },
}

impl AecsError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "aecs-address",
            Self::Unreachable { .. } => "aecs-unreachable",
            Self::Slow { .. } => "aecs-slow",
            Self::Refused { .. } => "aecs-refused",
            Self::TooLarge { .. } => "aecs-answer-too-large",
            Self::Platform { .. } => "aecs-platform",
            Self::Attester(error) => error.code(),
            Self::Collateral(error) => error.code(),
            Self::Key(_) => "source-key-failed",
            Self::Report { .. } => "aecs-report-malformed",
            Self::Verification(error) => error.code(),
            Self::Policy(_) => "aecs-server-refused",
            Self::KeyNotBound { .. } => "aecs-key-not-bound",
            Self::OtherServerKey { .. } => "aecs-other-server-key",
            Self::UserData { .. } => "aecs-user-data",
            Self::ServerKey { .. } => "aecs-server-key",
            Self::Signature => "aecs-signature",
            Self::Answer { .. } => "aecs-answer-malformed",
            Self::Nonce { .. } => "aecs-nonce",
            Self::Envelope { .. } => "aecs-envelope",
            Self::Hash => "aecs-hash",
            Self::HashSignature => "aecs-hash-signature",
            Self::Content { .. } => "aecs-content",
            Self::OtherSecret { .. } => "aecs-other-secret",
            Self::Value { .. } => "aecs-value",
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Collateral(error) => error.retry(),
            Self::Verification(error) => error.retry(),
            Self::Attester(AttesterError::Interface { .. } | AttesterError::Overloaded) => true,
            _ => false,
        }
    }
}
