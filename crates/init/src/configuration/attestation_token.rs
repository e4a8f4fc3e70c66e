//! Which token of Azure Attestation a workload gets, and where it goes.

use adytum_sources::azure::ApiVersion;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, Serializer};

use super::{AbsolutePath, ConfigurationError, error::invalid};

/// A quote and a token are written before the program starts, as Occlum's demo `maa_init` writes
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttestationToken {
    /// The directory of the files `quote_base64` and `token`.
    pub directory: AbsolutePath,
    /// What the token is over. It is measured: a host that chose it could have this enclave
    /// attest to a key of the host's.
    #[serde(serialize_with = "base64")]
    pub report_data: Vec<u8>,
    #[serde(serialize_with = "text")]
    pub api_version: ApiVersion,
}

/// `[azure_attestation]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttestationTable {
    #[serde(default = "home")]
    directory: AbsolutePath,
    /// Base64, as in the variable `MAA_REPORT_DATA`.
    #[serde(default)]
    report_data: String,
    api_version: Option<String>,
}

/// Where the demo writes.
#[expect(clippy::expect_used, reason = "a fixed text that is a path")]
fn home() -> AbsolutePath {
    "/root".parse().expect("a path")
}

impl AttestationTable {
    pub(super) fn pin(self) -> Result<AttestationToken, ConfigurationError> {
        let field = |name: &str| format!("azure_attestation.{name}");
        let report_data = STANDARD
            .decode(&self.report_data)
            .map_err(|error| invalid(field("report_data"), format!("no base64: {error}")))?;
        let api_version = match self.api_version.as_deref() {
            None => ApiVersion::V2020,
            Some(text) => text.parse().map_err(|reason| invalid(field("api_version"), reason))?,
        };
        Ok(AttestationToken { directory: self.directory, report_data, api_version })
    }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn text<S: Serializer>(version: &ApiVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}
