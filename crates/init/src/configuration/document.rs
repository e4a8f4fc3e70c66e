//! The TOML form of a measured configuration.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::SecretName;
use adytum_evidence::measurement::Sha256Digest;
use serde::Deserialize;

use super::{
    AbsolutePath, ConfigurationError, FORMAT, MAXIMUM_SECRETS, MeasuredConfiguration, Owner,
    PinnedOnnxRuntime, PinnedProgram, ReloadSignal, SecretDestination, SecretRule, Storage,
    attestation_token::AttestationTable,
    bundle::{self, BundleTable},
    cdh::{self, CdhTable},
    error::invalid,
    lease::LeaseTable,
    model::{self, ModelTable},
    sealed::{self, SealedTable},
    source::{AecsTable, BrokerTable, KbsTable, KeyVaultTable, Location, SourceTables},
};
use crate::{
    environment::EnvironmentRules,
    pattern::{ArgumentRule, ArgumentRules},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    #[serde(default)]
    allow_plain_models: bool,
    #[serde(default)]
    program: ProgramTable,
    #[serde(default)]
    environment: EnvironmentRules,
    #[serde(default, rename = "library")]
    libraries: Vec<LibraryTable>,
    onnxruntime: Option<PinnedOnnxRuntime>,
    broker: Option<BrokerTable>,
    aecs: Option<AecsTable>,
    key_vault: Option<KeyVaultTable>,
    kbs: Option<KbsTable>,
    azure_attestation: Option<AttestationTable>,
    lease: Option<LeaseTable>,
    #[serde(default, rename = "model")]
    models: Vec<ModelTable>,
    #[serde(default, rename = "secret")]
    secrets: Vec<SecretTable>,
    #[serde(default)]
    storage: StorageTable,
    #[serde(default, rename = "bundle")]
    bundles: Vec<BundleTable>,
    #[serde(default)]
    cdh: Vec<CdhTable>,
    #[serde(default)]
    sealed: Vec<SealedTable>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProgramTable {
    path: Option<AbsolutePath>,
    sha256: Option<Sha256Digest>,
    arguments: Vec<ArgumentRule>,
    required_arguments: Vec<ArgumentRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LibraryTable {
    path: AbsolutePath,
    sha256: Sha256Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretTable {
    name: SecretName,
    path: Option<SecretDestination>,
    key_path: Option<AbsolutePath>,
    user: Option<u32>,
    group: Option<u32>,
    reload_signal: Option<ReloadSignal>,
    location: Option<String>,
    encoding: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StorageTable {
    tmpfs: BTreeSet<AbsolutePath>,
}

/// Only the format, so that a later format is named and not torn apart.
#[derive(Deserialize)]
struct Head {
    format: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<MeasuredConfiguration, ConfigurationError> {
    let malformed = |error: toml::de::Error| ConfigurationError::Malformed { reason: error.to_string() };
    let head: Head = toml::from_str(text).map_err(malformed)?;
    if let Some(found) = head.format
        && found != FORMAT
    {
        return Err(ConfigurationError::Format { found });
    }
    let document: Document = toml::from_str(text).map_err(malformed)?;
    debug_assert_eq!(document.format, FORMAT);
    let (mut secrets, mut locations) = (BTreeMap::new(), BTreeMap::new());
    for secret in document.secrets {
        let location = Location { location: secret.location, encoding: secret.encoding };
        locations.insert(secret.name.clone(), location);
        let rule = SecretRule {
            destination: secret.path.unwrap_or(SecretDestination::Memory),
            key_path: secret.key_path,
            owner: Owner { user: secret.user, group: secret.group },
            reload_signal: secret.reload_signal,
        };
        add_secret(&mut secrets, secret.name, rule)?;
    }
    let (program, arguments) = document.program.pin()?;
    let bundles = bundle::bundles(document.bundles, &secrets)?;
    let tables = SourceTables {
        broker: document.broker,
        aecs: document.aecs,
        key_vault: document.key_vault,
        kbs: document.kbs,
        dispensable: document.azure_attestation.is_some(),
    };
    let source = tables.pin(locations)?;
    let environment = checked(document.environment)?;
    Ok(MeasuredConfiguration {
        bundles,
        program,
        arguments,
        sealed: sealed::rules(document.sealed, &environment, &secrets)?,
        environment,
        libraries: libraries(document.libraries)?,
        onnxruntime: document.onnxruntime,
        lease: document.lease.map(|table| table.pin(&source)).transpose()?,
        models: model::models(document.models, &source)?,
        attestation_token: document.azure_attestation.map(AttestationTable::pin).transpose()?,
        source,
        cdh: cdh::resources(document.cdh, &secrets)?,
        secrets,
        storage: document.storage.into(),
        allow_plain_models: document.allow_plain_models,
        source_address: None,
        collateral_place: None,
    })
}
impl ProgramTable {
    pub(super) fn pin(self) -> Result<(Option<PinnedProgram>, ArgumentRules), ConfigurationError> {
        let program = match (self.path, self.sha256) {
            (Some(path), Some(sha256)) => Some(PinnedProgram { path, sha256 }),
            (None, None) => None,
            _ => return Err(invalid("program", "path and sha256 go together: give both or neither")),
        };
        Ok((program, ArgumentRules { required: self.required_arguments, optional: self.arguments }))
    }
}

impl From<StorageTable> for Storage {
    fn from(table: StorageTable) -> Self {
        Self { tmpfs: table.tmpfs }
    }
}

pub(super) fn checked(rules: EnvironmentRules) -> Result<EnvironmentRules, ConfigurationError> {
    for (name, value) in &rules.set {
        if value.contains('\0') {
            return Err(invalid(format!("environment.set.{name}"), "a value has no NUL byte"));
        }
        if rules.allow.contains(name) {
            return Err(invalid(
                format!("environment.allow {name}"),
                "it is pinned under environment.set as well",
            ));
        }
    }
    Ok(rules)
}

pub(super) fn libraries(
    tables: Vec<LibraryTable>,
) -> Result<BTreeMap<AbsolutePath, Sha256Digest>, ConfigurationError> {
    let mut libraries = BTreeMap::new();
    for LibraryTable { path, sha256 } in tables {
        if libraries.insert(path.clone(), sha256).is_some() {
            return Err(invalid(format!("library {path}"), "it is listed twice"));
        }
    }
    Ok(libraries)
}

impl SecretRule {
    /// Everywhere it goes to, memory aside.
    pub(super) fn places(&self) -> Vec<SecretDestination> {
        let key = self.key_path.clone().map(SecretDestination::File);
        let whole = Some(self.destination.clone()).filter(|place| *place != SecretDestination::Memory);
        whole.into_iter().chain(key).collect()
    }
}

pub(super) fn add_secret(
    secrets: &mut BTreeMap<SecretName, SecretRule>,
    name: SecretName,
    rule: SecretRule,
) -> Result<(), ConfigurationError> {
    let field = format!("secret {name}");
    if secrets.len() == MAXIMUM_SECRETS {
        return Err(invalid(field, format!("a workload may have at most {MAXIMUM_SECRETS} secrets")));
    }
    let is_file = matches!(rule.destination, SecretDestination::File(_));
    if !is_file && rule.owner != Owner::default() {
        return Err(invalid(field, "user and group are for secrets that have a file as path"));
    }
    if !is_file && rule.reload_signal.is_some() {
        return Err(invalid(field, "reload_signal is for secrets that have a file as path"));
    }
    if !is_file && rule.key_path.is_some() {
        return Err(invalid(field, "key_path is for secrets that have a file as path"));
    }
    let places = rule.places();
    if places.len() == 2 && places.first() == places.last() {
        return Err(invalid(
            field,
            "path and key_path are the same; leave key_path out to have both in one file",
        ));
    }
    for place in places {
        if let Some((other, _)) = secrets.iter().find(|(_, other)| other.places().contains(&place)) {
            return Err(invalid(field, format!("{other} has the same path {place}")));
        }
    }
    if secrets.insert(name, rule).is_some() {
        return Err(invalid(field, "it is listed twice"));
    }
    Ok(())
}
