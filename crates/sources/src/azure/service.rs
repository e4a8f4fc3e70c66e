//! Requests to Azure's services, and the errors that they answer.

use http::Request;
use serde::{Deserialize, de::DeserializeOwned};

use super::AzureError;
use crate::http_exchange::{Answer, ExchangeError, HttpClient};

/// Of a service's reason, this many characters are repeated.
const LONGEST_REASON: usize = 500;

/// `{"error": {"code": .., "message": ..}}`, or the form of Microsoft Entra.
#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    error: serde_json::Value,
    #[serde(default)]
    error_description: String,
}

/// One service, by a name for messages.
pub(super) struct Service<'a> {
    pub(super) name: &'static str,
    pub(super) http: &'a HttpClient,
    /// Where to connect to, if not where the URL says.
    pub(super) address: Option<&'a str>,
}

impl Service<'_> {
    /// Sends a request and reads the JSON of its answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request<String>) -> Result<T, AzureError> {
        let url = request.uri().to_string();
        let answer = self.http.send(request, self.address).await.map_err(|error| match error {
            ExchangeError::Url(reason) => AzureError::Url { url: url.clone(), reason },
            ExchangeError::Unreachable(reason) => {
                AzureError::Unreachable { service: self.name, url: url.clone(), reason }
            }
            ExchangeError::TooLarge => AzureError::TooLarge { service: self.name },
        })?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        // The reader's message could repeat parts of an access token.
        serde_json::from_slice(&answer.body).map_err(|_| AzureError::Answer { service: self.name })
    }

    fn refusal(&self, answer: &Answer) -> AzureError {
        let status = answer.status.as_u16();
        let said = serde_json::from_slice::<Failure>(&answer.body).ok();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (code, reason) = said.map_or_else(Default::default, |said| match said.error {
            serde_json::Value::String(code) => (code, said.error_description),
            error => (text(&error["code"]), text(&error["message"])),
        });
        let shortened = |text: String| {
            let printable = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
            printable.take(LONGEST_REASON).collect()
        };
        let (code, reason) = (shortened(code), shortened(reason));
        AzureError::Refused { service: self.name, status, code, reason }
    }
}

/// A request with JSON.
pub(super) fn post_json(
    url: String,
    body: String,
    token: Option<&str>,
) -> Result<Request<String>, AzureError> {
    let mut request = Request::post(&url).header("Content-Type", "application/json");
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    request.body(body).map_err(|error| AzureError::Url { url, reason: error.to_string() })
}
