//! Codes of refusals that are about the session itself.

/// The peer's evidence was accepted in an earlier session, and is sent again.
///
/// Do: make new evidence for each session; if your own client did so, somebody between
/// the two sides replays it.
///
/// Retry: no
pub(super) const EVIDENCE_REPLAYED: &str = "evidence-replayed";

/// The peer's evidence is genuine, and was not made for this session.
///
/// Do: connect to the other side without a proxy that ends TLS; if there is none, somebody
/// relays or replays evidence.
///
/// Retry: no
pub(super) const EVIDENCE_NOT_BOUND: &str = "evidence-not-bound";

/// The client shows a certificate in TLS, and gives no evidence for its key.
///
/// Do: give evidence, or connect without a certificate; docs/protocol.md has both ways.
///
/// Retry: no
pub(super) const CERTIFICATE_WITHOUT_EVIDENCE: &str = "certificate-without-evidence";

/// The client gives evidence, and shows no certificate whose key it could be bound to.
///
/// Do: show a certificate in TLS too; docs/protocol.md has its form.
///
/// Retry: no
pub(super) const EVIDENCE_WITHOUT_CERTIFICATE: &str = "evidence-without-certificate";

/// The other side can't attest now: its TEE gave no evidence, or it could not prepare the
/// session.
///
/// Do: read the log of the other side; its own code is there.
///
/// Retry: later
pub(super) const ATTESTATION_UNAVAILABLE: &str = "attestation-unavailable";
