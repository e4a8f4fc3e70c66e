//! What crosses the wire between a platform that is served and its programs.

use adytum_evidence::{
    attester::SealingKey,
    measurement::{MrEnclave, MrSigner, ReportData, WorkloadIdentity},
};
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{attester::default_mr_signer, quoting::Program};

/// What a program says that it is. All but the identity may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramRequest {
    pub(crate) identity: WorkloadIdentity,
    #[serde(default = "default_mr_signer")]
    pub(crate) mr_signer: MrSigner,
    #[serde(default)]
    pub(crate) isv_prod_id: u16,
    #[serde(default)]
    pub(crate) isv_svn: u16,
    #[serde(default)]
    pub(crate) config_svn: u16,
    #[serde(default)]
    pub(crate) debug: bool,
}

/// `POST /simulation/quote`; the answer is the quote's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QuoteRequest {
    #[serde(flatten)]
    pub(crate) program: ProgramRequest,
    pub(crate) report_data: ReportData,
}

/// The answer to `POST /simulation/sealing-key`, whose request is a
/// [`ProgramRequest`].
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
pub(crate) struct SealingKeyReply {
    /// The key as 64 hexadecimal digits.
    sealing_key: String,
}

impl SealingKeyReply {
    #[cfg(feature = "service")]
    pub(crate) fn of(key: &SealingKey) -> Self {
        Self { sealing_key: hex::encode(*key.0) }
    }

    /// The key, unless the text is none.
    pub(crate) fn key(&self) -> Option<SealingKey> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.sealing_key.as_bytes(), &mut *key).ok()?;
        Some(SealingKey(key))
    }
}

impl From<&ProgramRequest> for Program {
    fn from(request: &ProgramRequest) -> Self {
        Self {
            mr_enclave: MrEnclave(request.identity.0),
            mr_signer: request.mr_signer,
            isv_prod_id: request.isv_prod_id,
            isv_svn: request.isv_svn,
            config_svn: request.config_svn,
            debug: request.debug,
        }
    }
}

/// The body of an answer that refuses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorReply {
    pub(crate) code: String,
    pub(crate) message: String,
}
