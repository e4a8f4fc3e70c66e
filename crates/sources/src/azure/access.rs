//! Access tokens for a vault: of a managed identity, from the metadata service of the machine,
//! or of a workload identity, from Microsoft Entra. The host can have both, so they protect
//! nothing; the vault wants them.

use std::path::PathBuf;

use http::Request;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{AzureError, service::Service};
use crate::http_exchange::HttpClient;

const METADATA: &str = "the metadata service";
const ENTRA: &str = "Microsoft Entra";
/// Where the metadata service is on each of Azure's machines.
const METADATA_HOST: &str = "http://169.254.169.254";
/// Where Microsoft Entra is.
const ENTRA_HOST: &str = "https://login.microsoftonline.com/";
/// The longest token in a file.
const LONGEST_TOKEN: usize = 64 * 1024;

/// Whose access token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// That of the machine.
    Managed {
        /// The URL of the metadata service, without its path.
        metadata: String,
        /// Which of several; `None` if there is one.
        client: Option<String>,
    },
    /// That of a Kubernetes service account.
    Workload {
        authority: String,
        tenant: String,
        client: String,
        /// The service account's token.
        token_file: PathBuf,
    },
}

#[derive(Deserialize)]
struct AccessToken {
    #[serde(deserialize_with = "zeroizing")]
    access_token: Zeroizing<String>,
}

fn zeroizing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl Identity {
    /// The one that the environment names, in the variables of Azure's own libraries.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        match (set("AZURE_FEDERATED_TOKEN_FILE"), set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID")) {
            (Some(file), Some(tenant), Some(client)) => Self::Workload {
                authority: set("AZURE_AUTHORITY_HOST").unwrap_or_else(|| ENTRA_HOST.to_owned()),
                tenant,
                client,
                token_file: file.into(),
            },
            (_, _, client) => Self::Managed {
                metadata: set("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                    .unwrap_or_else(|| METADATA_HOST.to_owned()),
                client,
            },
        }
    }

    /// An access token for this resource.
    pub(super) async fn token(
        &self,
        http: &HttpClient,
        resource: &str,
    ) -> Result<Zeroizing<String>, AzureError> {
        let (name, request) = match self {
            Self::Managed { metadata, client } => (METADATA, managed(metadata, client.as_deref(), resource)?),
            Self::Workload { authority, tenant, client, token_file } => {
                let token = read(token_file).await?;
                (ENTRA, workload(authority, tenant, client, &token, resource)?)
            }
        };
        let answer: AccessToken = Service { name, http, address: None }.ask(request).await?;
        Ok(answer.access_token)
    }
}

async fn read(path: &PathBuf) -> Result<Zeroizing<String>, AzureError> {
    let unreadable = |reason: String| AzureError::Identity { path: path.display().to_string(), reason };
    let text = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(error.to_string()))?;
    if text.len() > LONGEST_TOKEN {
        return Err(unreadable(format!("it has more than {LONGEST_TOKEN} bytes")));
    }
    Ok(Zeroizing::new(text))
}

fn managed(metadata: &str, client: Option<&str>, resource: &str) -> Result<Request<String>, AzureError> {
    let client = client.map(|client| format!("&client_id={}", encoded(client))).unwrap_or_default();
    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}{client}",
        metadata.trim_end_matches('/'),
        encoded(resource)
    );
    let request = Request::get(&url).header("Metadata", "true").body(String::new());
    request.map_err(|error| AzureError::Url { url, reason: error.to_string() })
}

fn workload(
    authority: &str,
    tenant: &str,
    client: &str,
    token: &str,
    resource: &str,
) -> Result<Request<String>, AzureError> {
    let url = format!("{}/{}/oauth2/v2.0/token", authority.trim_end_matches('/'), encoded(tenant));
    let fields = [
        ("client_id", client),
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", token.trim()),
        ("scope", &format!("{resource}/.default")),
    ];
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let request =
        Request::post(&url).header("Content-Type", "application/x-www-form-urlencoded").body(body.join("&"));
    request.map_err(|error| AzureError::Url { url, reason: error.to_string() })
}

/// RFC 3986, section 2.1: everything but unreserved characters is encoded.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_identity() {
        let workload = |name: &str| match name {
            "AZURE_FEDERATED_TOKEN_FILE" => Some("/token".to_owned()),
            "AZURE_TENANT_ID" => Some("tenant".to_owned()),
            "AZURE_CLIENT_ID" => Some("client".to_owned()),
            _ => None,
        };
        assert!(matches!(Identity::from_environment(workload), Identity::Workload { .. }));
        let managed = Identity::from_environment(|_| None);
        assert_eq!(managed, Identity::Managed { metadata: METADATA_HOST.to_owned(), client: None });
    }

    #[test]
    fn requests_are_those_of_the_documentation() {
        let request = managed(METADATA_HOST, None, "https://vault.azure.net").unwrap();
        assert_eq!(
            request.uri().to_string(),
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
        );
        assert_eq!(request.headers()["Metadata"], "true");
        let request = workload(ENTRA_HOST, "t", "c", "a.b.c\n", "https://vault.azure.net").unwrap();
        assert_eq!(request.uri().to_string(), "https://login.microsoftonline.com/t/oauth2/v2.0/token");
        assert!(
            request.body().contains("&client_assertion=a.b.c&scope=https%3A%2F%2Fvault.azure.net%2F.default")
        );
    }
}
