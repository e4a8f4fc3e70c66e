//! Which peers a side accepts.

use adytum_evidence::claims::Claims;

use crate::error::Refusal;

/// Decides whether a peer whose evidence verified is the expected one. A function
/// of the same shape is one.
pub trait PeerJudge: Send + Sync {
    /// `claims` is what the peer's evidence says, `announcement` what the peer says of
    /// itself: bytes that are bound to the evidence and not otherwise checked.
    ///
    /// The refusal's message is for this side's logs and errors: the peer gets the code
    /// and whether to try again, no more.
    fn judge(&self, claims: &Claims, announcement: &[u8]) -> Result<(), Refusal>;
}

impl<F> PeerJudge for F
where
    F: Fn(&Claims, &[u8]) -> Result<(), Refusal> + Send + Sync,
{
    fn judge(&self, claims: &Claims, announcement: &[u8]) -> Result<(), Refusal> {
        self(claims, announcement)
    }
}

/// Accepts every peer with valid evidence: for a server that decides request by
/// request, as the broker does.
#[derive(Clone, Copy, Debug)]
pub struct AnyEvidence;

impl PeerJudge for AnyEvidence {
    fn judge(&self, _claims: &Claims, _announcement: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}
