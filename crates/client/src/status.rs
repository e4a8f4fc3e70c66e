//! Which versions of a model a server has.

use std::fmt;

use adytum_api::tensorflow::serving::{
    GetModelStatusResponse, ModelVersionStatus, model_version_status::State,
};

/// A version of a model at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    pub version: u64,
    pub state: VersionState,
    /// Why it can't be served, in the server's words.
    pub reason: Option<String>,
}

/// How far a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It was found.
    Found,
    /// It is being loaded.
    Loading,
    /// It answers.
    Available,
    /// It is being unloaded.
    Unloading,
    /// It answers no more, or never did.
    Ended,
    /// The server says nothing that is known here.
    Unknown,
}

impl VersionState {
    /// TensorFlow Serving's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "START",
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
            Self::Unloading => "UNLOADING",
            Self::Ended => "END",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<i32> for VersionState {
    fn from(number: i32) -> Self {
        match State::try_from(number) {
            Ok(State::Start) => Self::Found,
            Ok(State::Loading) => Self::Loading,
            Ok(State::Available) => Self::Available,
            Ok(State::Unloading) => Self::Unloading,
            Ok(State::End) => Self::Ended,
            Ok(State::Unknown) | Err(_) => Self::Unknown,
        }
    }
}

/// The versions in an answer, the newest first. Versions below 0 do not exist.
pub(crate) fn versions(response: GetModelStatusResponse) -> Vec<VersionStatus> {
    let version = |status: ModelVersionStatus| {
        let reason = status.status.filter(|status| status.error_code != 0);
        Some(VersionStatus {
            version: u64::try_from(status.version).ok()?,
            state: status.state.into(),
            reason: reason.map(|status| status.error_message),
        })
    };
    let mut versions: Vec<_> = response.model_version_status.into_iter().filter_map(version).collect();
    versions.sort_by_key(|status| std::cmp::Reverse(status.version));
    versions
}

#[cfg(test)]
mod tests {
    use adytum_api::tensorflow::serving::StatusProto;

    use super::*;

    #[test]
    fn versions_have_their_state_and_the_reason_of_a_failure() {
        let status = |version, state, error_code| ModelVersionStatus {
            version,
            state,
            status: Some(StatusProto { error_code, error_message: "no key".to_owned() }),
        };
        let response = GetModelStatusResponse {
            model_version_status: vec![
                status(1, 30, 0),
                status(3, 50, 9),
                status(-1, 30, 0),
                status(2, 77, 0),
            ],
        };
        let found = versions(response);
        let words: Vec<_> = found.iter().map(|one| (one.version, one.state.name())).collect();
        assert_eq!(words, [(3, "END"), (2, "UNKNOWN"), (1, "AVAILABLE")]);
        assert_eq!(found[0].reason.as_deref(), Some("no key"));
        assert_eq!(found[2].reason, None);
    }
}
