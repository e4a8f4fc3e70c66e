//! Tokens of attestation services.

use std::path::PathBuf;

use adytum_evidence::{
    claims::Claims,
    clock::UnixSeconds,
    jwt::{Algorithm, MAXIMUM_KEYS_LENGTH, Token, TokenKeys},
    maa::{self, MaaTrust},
};
use anyhow::Context;

use super::{
    error::VerifyError,
    report::{Report, TokenReport},
};
use crate::key_file;

/// Which attestation service's tokens count. Its keys are pinned: nothing is fetched.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TokenTrust {
    /// A token: the keys of the attestation service that may have signed it, its JWK set as it
    /// answers at /certs.
    #[arg(long, value_name = "JWKS.json", requires = "issuer")]
    token_keys: Option<PathBuf>,
    /// A token: the attestation service, as its tokens name it.
    #[arg(long, value_name = "URL", requires = "token_keys")]
    issuer: Option<String>,
}

impl TokenTrust {
    /// Verifies a token. One of Azure Attestation is evidence, and becomes claims.
    pub(super) fn verify(
        &self,
        token: Token,
        now: UnixSeconds,
        report: &mut Report,
    ) -> anyhow::Result<Option<Claims>> {
        let read = report.token(TokenReport {
            algorithm: token.algorithm().to_string(),
            key: token.key_id().map(str::to_owned),
            verified: false,
            claims: token.unverified().clone(),
        });
        let (Some(path), Some(issuer)) = (&self.token_keys, &self.issuer) else {
            return Err(VerifyError::NoTokenKeys.into());
        };
        let json = key_file::read_bytes(path, MAXIMUM_KEYS_LENGTH as u64)?;
        let keys = TokenKeys::parse(&json).with_context(|| path.display().to_string())?;
        if maa::is_of_azure(token.unverified()) {
            let azure = MaaTrust { issuer: issuer.clone(), keys }.verify(token, now)?;
            read.verified = true;
            return Ok(Some(azure.claims().clone()));
        }
        token.verify(issuer, &keys, &Algorithm::ALL, now)?;
        read.verified = true;
        Ok(None)
    }
}
