//! Which environment variables the measured configuration lets through.
//!
//! The environment is the host's. A variable reaches the program only if the
//! configuration allows its name (with the host's value) or sets it (with a
//! value of its own); every other one is cleared. Variables that make the loader
//! run other code are refused: a host that sets them either attacks or is
//! mistaken, and silence would hide both.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::sealed_pointer;

/// Variables, besides all that start with `LD_`, through which the dynamic
/// loader or the C library would load code or change how it is run (ld.so(8),
/// iconv(3), locale(7)).
const LOADER_VARIABLES: [&str; 4] = ["GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH"];

/// What init itself reads. Untrusted: addresses, how much is logged, where
/// Kubernetes looks for status.
pub const HOST_VARIABLES: [&str; 19] = [
    "ADYTUM_BROKER",
    "OCCLUM_INIT_RA_KMS_SERVER",
    "PCCS_URL",
    "UA_ENV_PCCS_URL",
    "MAA_PROVIDER_URL",
    "MAA_TOKEN_PATH",
    "MAA_REPORT_DATA",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AMD_KDS_URL",
    "ADYTUM_EVIDENCE_LISTEN",
    "ADYTUM_TEE",
    "ADYTUM_LOG_FORMAT",
    "RUST_LOG",
    "ADYTUM_HEALTH_PORT",
    crate::termination::VARIABLE,
];

/// Does this variable make the loader run other code?
pub fn is_loader_variable(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"LD_") || LOADER_VARIABLES.iter().any(|known| name == *known)
}

/// The name of an environment variable: letters, digits and `_`, the first no
/// digit (POSIX.1, 8.1), and not one of the loader's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

/// Why a text can't be the name of an allowed variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name:?} {reason}")]
pub struct VariableNameError {
    pub name: String,
    pub reason: &'static str,
}

impl VariableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(text: &str) -> Result<Self, VariableNameError> {
        let error = |reason| Err(VariableNameError { name: text.to_owned(), reason });
        let well_formed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if !well_formed {
            return error("is no name: letters, digits and '_', the first no digit");
        }
        if is_loader_variable(OsStr::new(text)) {
            return error("makes the loader run other code, so it can't be allowed");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for VariableName {
    type Error = VariableNameError;

    fn try_from(text: String) -> Result<Self, VariableNameError> {
        text.parse()
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> Self {
        name.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// All rules about the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentRules {
    /// Passed on with whatever value the host gives.
    pub allow: BTreeSet<VariableName>,
    /// Always set, to this value. A host that gives another is refused.
    pub set: BTreeMap<VariableName, String>,
}

/// Why an environment does not pass. Values are not repeated: a host may have
/// put anything into them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentRefusal {
    /// One of the loader's variables is set.
    #[error("environment variable {name} makes the loader run other code; unset it")]
    Loader { name: String },
    /// A pinned variable has another value.
    #[error("environment variable {name} is pinned to {wanted:?} and set to something else; unset it")]
    Pinned { name: VariableName, wanted: String },
    /// The program would get a sealed secret of Confidential Containers as it is: the measured
    /// configuration does not say to which secret it may point.
    #[error(
        "environment variable {name} has a sealed secret of Confidential Containers, and the measured configuration does not say \
         to which secret it may point; unset it, or move the variable from allow to a [[sealed]] entry"
    )]
    Sealed { name: VariableName },
}

impl EnvironmentRules {
    /// Checks the host's environment.
    pub fn check<'a>(
        &self,
        environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Result<(), EnvironmentRefusal> {
        for (name, value) in environment {
            if is_loader_variable(name) {
                return Err(EnvironmentRefusal::Loader { name: name.to_string_lossy().into_owned() });
            }
            if let Some(name) = self.allow.iter().find(|known| name == known.as_str())
                && sealed_pointer::is_sealed(value.as_bytes())
            {
                return Err(EnvironmentRefusal::Sealed { name: name.clone() });
            }
            if let Some((name, wanted)) = self.set.iter().find(|(known, _)| name == known.as_str())
                && value != wanted.as_str()
            {
                return Err(EnvironmentRefusal::Pinned { name: name.clone(), wanted: wanted.clone() });
            }
        }
        Ok(())
    }

    /// The environment that the program gets.
    pub fn confined<'a>(
        &self,
        environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> BTreeMap<OsString, OsString> {
        let allowed = |name: &OsStr| self.allow.iter().any(|known| name == known.as_str());
        let mut confined: BTreeMap<OsString, OsString> = environment
            .into_iter()
            .filter(|(name, _)| allowed(name) && !is_loader_variable(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        confined.extend(self.set.iter().map(|(name, value)| (name.as_str().into(), value.into())));
        confined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> EnvironmentRules {
        EnvironmentRules {
            allow: BTreeSet::from(["TZ".parse().unwrap()]),
            set: BTreeMap::from([("OMP_NUM_THREADS".parse().unwrap(), "1".to_owned())]),
        }
    }

    fn pairs<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a OsStr, &'a OsStr)> {
        list.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value)))
    }

    #[test]
    fn only_what_is_allowed_passes() {
        let host = [("TZ", "UTC"), ("PATH", "/evil"), ("KUBERNETES_PORT", "x")];
        assert_eq!(rules().check(pairs(&host)), Ok(()));
        let confined = rules().confined(pairs(&host));
        let expected = BTreeMap::from([("OMP_NUM_THREADS".into(), "1".into()), ("TZ".into(), "UTC".into())]);
        assert_eq!(confined, expected);
    }

    #[test]
    fn the_loaders_variables_are_refused_and_cannot_be_allowed() {
        for name in
            ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_ANYTHING", "GLIBC_TUNABLES", "GCONV_PATH"]
        {
            let refusal = rules().check(pairs(&[(name, "")])).unwrap_err();
            assert_eq!(refusal, EnvironmentRefusal::Loader { name: name.to_owned() });
            assert!(name.parse::<VariableName>().is_err());
        }
    }

    #[test]
    fn a_pinned_value_is_set_and_another_is_refused() {
        assert_eq!(rules().check(pairs(&[("OMP_NUM_THREADS", "1")])), Ok(()));
        assert!(rules().check(pairs(&[("OMP_NUM_THREADS", "64")])).is_err());
    }

    #[test]
    fn a_sealed_secret_is_not_passed_on_unopened() {
        let sealed = "sealed.fakejwsheader.eyJ2ZXJzaW9uIjoiMC4xLjAifQ.fakesignature";
        let refusal = rules().check(pairs(&[("TZ", sealed)])).unwrap_err();
        assert_eq!(refusal, EnvironmentRefusal::Sealed { name: "TZ".parse().unwrap() });
        assert!(!refusal.to_string().contains("eyJ2"), "{refusal}");
        // The first does not reach the program; the others are no sealed secrets.
        for other in [("OTHER", sealed), ("TZ", "sealed.off"), ("TZ", "a.b.c.d"), ("TZ", "")] {
            assert_eq!(rules().check(pairs(&[other])), Ok(()), "{other:?}");
        }
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "1A", "A=B", "A B", "Ä", "A\0"] {
            assert!(text.parse::<VariableName>().is_err(), "{text:?}");
        }
    }
}
