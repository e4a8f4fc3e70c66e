//! A broker's refusal of a command or a question.

use tonic::Status;

/// A refusal by the broker, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("the broker refused ({status:?}){}{message}", if message.is_empty() { "" } else { ": " })]
pub(crate) struct BrokerRefusal {
    status: tonic::Code,
    message: String,
    /// The stable code that it states.
    stated: Option<String>,
}

impl BrokerRefusal {
    /// The status with which it answered.
    pub(crate) fn status(&self) -> tonic::Code {
        self.status
    }

    /// The stable code that the broker states.
    pub(crate) fn stated_code(&self) -> Option<&str> {
        self.stated.as_deref()
    }
}

impl From<&Status> for BrokerRefusal {
    fn from(status: &Status) -> Self {
        let stated = status.metadata().get(adytum_api::refusal::CODE);
        Self {
            status: status.code(),
            message: status.message().to_owned(),
            stated: stated.and_then(|code| code.to_str().ok()).map(str::to_owned),
        }
    }
}
