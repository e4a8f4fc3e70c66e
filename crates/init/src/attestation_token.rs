//! A token of Azure Attestation, written before the program starts, for programs that show it to
//! others: what Occlum's demo `maa_init` does, with its variables and its files.
//!
//! The host chooses the service (`MAA_PROVIDER_URL`), which proves itself by the token's
//! signature. It chooses neither the data in the quote nor the place of the files: with data of
//! its own it could have this enclave attest to a key that the host has, and a vault would
//! release secrets to that key.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use adytum_evidence::attester::Attester;
use adytum_sources::azure::{AttestationService, AttestedQuote, AzureError, azure_roots};
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::fcntl::OFlag;

use crate::{
    configuration::{AttestationToken, MeasuredConfiguration},
    exit_code,
};

/// The service of the demo.
const DEFAULT_SERVICE: &str = "https://shareduks.uks.attest.azure.net";
/// Names another service.
const SERVICE: &str = "MAA_PROVIDER_URL";
/// Where the files go; measured here.
const DIRECTORY: &str = "MAA_TOKEN_PATH";
/// What the token is over, in base64; measured here.
const DATA: &str = "MAA_REPORT_DATA";

/// Why there is no token.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationTokenError {
    /// A variable of the host asks for other data in the quote, or for another place of the
    /// files, than the measured configuration has.
    ///
    /// Do: unset the variable, or give its value in `[azure_attestation]` and measure the
    /// configuration again.
    #[error(
        "{name} is {found:?}, and the measured configuration has {measured:?}; unset it, or measure a configuration with \
         that value"
    )]
    Variable { name: &'static str, found: String, measured: String },
    /// Azure Attestation gave no token.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// A file for the quote or the token can't be written.
    ///
    /// See: DeliveryError::System.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

impl AttestationTokenError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Variable { .. } => "attestation-token-variable",
            Self::Azure(error) => error.code(),
            Self::File { .. } => "storage-failed",
        }
    }

    /// What a process that fails with this ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Variable { .. } => exit_code::CONFIGURATION,
            Self::Azure(error) if error.retry() => exit_code::UNREACHABLE,
            Self::Azure(_) => exit_code::REFUSED,
            Self::File { .. } => exit_code::DELIVERY,
        }
    }
}

/// Writes a quote and a token, if the configuration wants them.
pub async fn write(
    configuration: &MeasuredConfiguration,
    attester: &dyn Attester,
) -> Result<(), AttestationTokenError> {
    let Some(wanted) = configuration.attestation_token() else { return Ok(()) };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    check(wanted, variable)?;
    let url = variable(SERVICE).unwrap_or_else(|| DEFAULT_SERVICE.to_owned());
    let service = AttestationService::new(&url, wanted.api_version, &azure_roots())?;
    let AttestedQuote { quote, answer } = service.attest(attester, &wanted.report_data).await?;
    let directory = wanted.directory.as_path();
    // Both as JSON: the quote in quotation marks, the whole object around the token.
    for (name, text) in [("quote_base64", serde_json::Value::from(quote)), ("token", answer)] {
        let path = directory.join(name);
        replace(&path, text.to_string().as_bytes())
            .map_err(|source| AttestationTokenError::File { path: path.clone(), source })?;
        tracing::info!(service = url, "{name} of Azure Attestation written to {}", path.display());
    }
    Ok(())
}

fn check(
    wanted: &AttestationToken,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), AttestationTokenError> {
    let measured =
        [(DIRECTORY, wanted.directory.as_str().to_owned()), (DATA, STANDARD.encode(&wanted.report_data))];
    for (name, measured) in measured {
        if let Some(found) = variable(name)
            && found != measured
        {
            return Err(AttestationTokenError::Variable { name, found, measured });
        }
    }
    Ok(())
}

/// Neither is a secret. A link in the place of a file is not followed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW.bits();
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_chooses_neither_the_data_nor_the_place() {
        let wanted = AttestationToken {
            directory: "/root".parse().unwrap(),
            report_data: b"example".to_vec(),
            api_version: Default::default(),
        };
        let with = |name: &'static str, value: &'static str| {
            check(&wanted, |asked| (asked == name).then(|| value.to_owned())).map_err(|error| error.code())
        };
        assert_eq!(with(DATA, "ZXhhbXBsZQ=="), Ok(()));
        assert_eq!(with(DIRECTORY, "/root"), Ok(()));
        assert_eq!(with(DATA, "b3RoZXI="), Err("attestation-token-variable"));
        assert_eq!(with(DIRECTORY, "/etc"), Err("attestation-token-variable"));
        assert!(check(&wanted, |_| None).is_ok());
    }
}
