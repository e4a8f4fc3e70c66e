//! Quotes and documents of any content under a platform's keys: for tests of what a
//! verifier makes of them.

use crate::{error::SimError, platform::Platform};

impl Platform {
    /// A quote over a report of any content: of an enclave (384 bytes, quote version 3),
    /// of a TD (584 bytes, version 4) or of a TD 1.5 (648 bytes, version 5).
    /// `quoting_enclave` may change the quoting enclave's own report before the PCK signs
    /// it.
    pub fn crafted_quote(
        &self,
        report: &[u8],
        quoting_enclave: impl FnOnce(&mut [u8]),
    ) -> Result<Vec<u8>, SimError> {
        self.quoting_enclave().crafted(report, quoting_enclave, &self.chain().pck.key)
    }

    /// The signature over a TCB info or QE identity of any content.
    pub fn sign_document(&self, text: &str) -> Result<Vec<u8>, SimError> {
        Ok(self.chain().tcb_signer.key.sign(text.as_bytes())?.to_vec())
    }
}
