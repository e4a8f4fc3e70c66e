//! Sealed secrets of Confidential Containers, for the program that init starts.
//!
//! In their guests, Kata's agent looks at the environment and the mounted files before a program starts. Where it
//! finds a sealed secret, it asks the Confidential Data Hub for the value, and the program gets that. Here init
//! does the same, with the key source that the measured configuration names. No port is needed, so this works in every
//! TEE.
//!
//! The text is the host's. So the measured configuration says in which places it may be, to which secrets it may
//! point from there, and who must have signed it. It is read before anything is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::Path,
};

use adytum_api::{names::SecretName, resource::ResourcePath};
use nix::sys::signal::Signal;

use crate::{
    configuration::{MeasuredConfiguration, PointerRule, ReloadSignal},
    delivery::{DeliveryError, SecretFile},
    environment::VariableName,
    exit_code,
    platform::Platform,
    sealed_pointer::{self, MAXIMUM_LENGTH, PointerError},
    secret::Released,
};

/// Why a sealed secret is not opened. `place` is the variable or the file that has it.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedSecretError {
    /// The measured configuration names a place of a sealed secret (`[[sealed]]`), and the host gives none
    /// there.
    ///
    /// Do: set the variable, or mount the file, with the sealed secret; or remove the `[[sealed]]` entry and measure
    /// the configuration again.
    #[error(
        "{place} has no sealed secret, which the measured configuration expects there: {reason}; give one, or remove the \
         [[sealed]] entry and measure the configuration again"
    )]
    Missing { place: String, reason: String },
    /// The text is not a sealed secret of Confidential Containers.
    ///
    /// Do: make it again, as `sealed.HEADER.CONTENT.SIGNATURE`; docs/confidential-containers.md describes it.
    #[error("{place}: {error}; make the sealed secret again")]
    Malformed { place: String, error: PointerError },
    /// The sealed secret is of a type or a provider that is not opened here: an `envelope` needs a cloud's key
    /// service.
    ///
    /// Do: put the value into the key source as a secret, and give a sealed secret of the type `vault` that points to
    /// it.
    #[error(
        "{place}: {error}; put the value into the key source, and give a sealed secret of the type vault"
    )]
    Unsupported { place: String, error: PointerError },
    /// None of the signers that the measured configuration names has signed the sealed secret, or it was changed.
    ///
    /// Do: give the sealed secret as its owner signed it. If the owner has a new key, put it into `signers` and measure
    /// the configuration again.
    #[error(
        "{place}: {error}; give it as its owner signed it, or measure a configuration with the owner's new key"
    )]
    Signature { place: String, error: PointerError },
    /// The sealed secret points to a resource that the measured configuration does not name for its place.
    ///
    /// Do: give a sealed secret that points to one of the resources in the message, or add the resource to the
    /// `[[sealed]]` entry and measure the configuration again.
    #[error(
        "{place} points to {found}; expected {}; give another sealed secret, or add the resource to the [[sealed]] entry \
         and measure the configuration again",
        list(expected)
    )]
    Resource { place: String, found: ResourcePath, expected: Vec<ResourcePath> },
    /// The value of a secret can't be an environment variable: it has a NUL byte.
    ///
    /// Do: give the program the secret as a file: `file` and `path` in place of `variable` in `[[sealed]]`.
    #[error(
        "the value of the secret {secret} has a NUL byte, so it can't be in the variable {variable}; use file and path in \
         place of variable in [[sealed]]"
    )]
    Value { variable: VariableName, secret: SecretName },
    /// The measured configuration names places of sealed secrets (`[[sealed]]`), and this program has init in
    /// itself, which opens none.
    ///
    /// Do: remove `[[sealed]]` from the measured configuration, or start the program with `adytum-init`.
    #[error(
        "the measured configuration has [[sealed]], which only adytum-init opens, and this program has init in itself; \
         remove it, or start the program with adytum-init"
    )]
    NotOpened,
    /// The value of a sealed secret can't go where the configuration says.
    #[error(transparent)]
    Place(#[from] DeliveryError),
}

fn list(resources: &[ResourcePath]) -> String {
    resources.iter().map(ResourcePath::as_str).collect::<Vec<_>>().join(" or ")
}

impl SealedSecretError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "sealed-secret-missing",
            Self::Malformed { .. } => "sealed-secret-malformed",
            Self::Unsupported { .. } => "sealed-secret-unsupported",
            Self::Signature { .. } => "sealed-secret-signature",
            Self::Resource { .. } => "sealed-secret-resource",
            Self::Value { .. } => "sealed-secret-value",
            Self::NotOpened => "sealed-secrets-not-opened",
            Self::Place(error) => error.code(),
        }
    }

    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Place(_) => exit_code::DELIVERY,
            Self::Missing { .. }
            | Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::Signature { .. }
            | Self::Resource { .. }
            | Self::Value { .. }
            | Self::NotOpened => exit_code::CONFIGURATION,
        }
    }

    fn of(place: String, error: PointerError) -> Self {
        match error {
            PointerError::Malformed(_) => Self::Malformed { place, error },
            PointerError::Unsupported(_) => Self::Unsupported { place, error },
            PointerError::Signature(_) => Self::Signature { place, error },
        }
    }
}

/// What the host's sealed secrets point to, and where the values go. Files that were delivered are removed when this
/// is dropped.
#[derive(Debug)]
pub struct SealedSecrets {
    variables: BTreeMap<VariableName, SecretName>,
    files: Vec<OpenedFile>,
}

#[derive(Debug)]
struct OpenedFile {
    secret: SecretName,
    file: SecretFile,
    reload_signal: Option<ReloadSignal>,
}

impl SealedSecrets {
    /// Reads every sealed secret that the configuration names, and looks at the places of the values.
    /// `environment` is the host's.
    pub fn prepare<'a>(
        configuration: &MeasuredConfiguration,
        environment: impl Iterator<Item = (&'a OsStr, &'a OsStr)> + Clone,
        platform: Platform,
    ) -> Result<Self, SealedSecretError> {
        let mut variables = BTreeMap::new();
        for (name, rule) in &configuration.sealed().variables {
            let place = format!("environment variable {name}");
            let text = environment
                .clone()
                .find(|(found, _)| *found == name.as_str())
                .map(|(_, value)| value.to_str());
            let text = match text {
                Some(Some(text)) => text,
                Some(None) => return Err(missing(&place, "it is no text")),
                None => return Err(missing(&place, "it is not set")),
            };
            variables.insert(name.clone(), secret_of(place, text, rule)?);
        }
        let mut files = Vec::new();
        for (path, rule) in &configuration.sealed().files {
            let place = rule.file.to_string();
            let text = read(rule.file.as_path()).map_err(|error| missing(&place, &error.to_string()))?;
            let secret = secret_of(place, &text, &rule.pointer)?;
            let file = SecretFile::prepare(path, rule.owner, platform, configuration.storage())?;
            files.push(OpenedFile { secret, file, reload_signal: rule.reload_signal });
        }
        Ok(Self { variables, files })
    }

    /// The variables with their values.
    pub fn variables(&self, released: &Released) -> Result<BTreeMap<OsString, OsString>, SealedSecretError> {
        let mut values = BTreeMap::new();
        for (variable, secret) in &self.variables {
            let Some(value) = released.secrets.get(secret) else { continue };
            if value.as_bytes().contains(&0) {
                return Err(SealedSecretError::Value { variable: variable.clone(), secret: secret.clone() });
            }
            values.insert(variable.as_str().into(), OsString::from_vec(value.as_bytes().to_vec()));
        }
        Ok(values)
    }

    /// Writes the files whose secrets were released, now or at a renewal. Gives the signals that inform the program.
    pub fn deliver(&mut self, released: &Released) -> Result<BTreeSet<Signal>, DeliveryError> {
        let mut signals = BTreeSet::new();
        for OpenedFile { secret, file, reload_signal } in &mut self.files {
            if let Some(value) = released.secrets.get(secret) {
                file.replace(value.as_bytes())?;
                tracing::info!(%secret, version = value.version(), "opened sealed secret written to {}", file.path());
                signals.extend(reload_signal.map(Signal::from));
            }
        }
        Ok(signals)
    }
}

fn missing(place: &str, reason: &str) -> SealedSecretError {
    SealedSecretError::Missing { place: place.to_owned(), reason: reason.to_owned() }
}

/// The text of a file; of one that is too long, enough to refuse it.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAXIMUM_LENGTH as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn secret_of(place: String, text: &str, rule: &PointerRule) -> Result<SecretName, SealedSecretError> {
    let found = match sealed_pointer::read(text, rule.keys().as_ref()) {
        Ok(found) => found,
        Err(error) => return Err(SealedSecretError::of(place, error)),
    };
    match rule.resources.get(&found) {
        Some(secret) => Ok(secret.clone()),
        None => Err(SealedSecretError::Resource {
            place,
            found,
            expected: rule.resources.keys().cloned().collect(),
        }),
    }
}
