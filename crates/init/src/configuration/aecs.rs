//! The file of Occlum's AECS client (`init_aecs.json`, in an image `init_ra_conf.json`) as a
//! measured configuration.
//!
//! It has fields for what the AECS server must be, `ua_policy_*`, which Occlum's init does not
//! look at. Here they are the server's policy, and one of them must pin its code:
//!
//! - `ua_policy_hex_ta_measurement` is MRENCLAVE. `ua_policy_hex_signer` alone pins the owner of a
//!   key, and is enough only with `allow_any_program` in the added object `adytum`.
//! - A debug enclave is never accepted: its memory can be read.
//! - `ua_policy_str_min_isvsvn` is the lowest that is accepted; `ua_policy_hex_prod_id` is decimal,
//!   whatever its name says.
//! - Fields that reports of SGX with DCAP never have are refused, since nothing could pass.
//! - All of them empty means that anybody may be the server. That needs
//!   `allow_unverified_aecs` in `adytum`.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::{TcbStatus, TeeKind},
    measurement::Sha256Digest,
    policy::Policy,
    trust::Vendor,
};
use adytum_sources::aecs::{AecsName, Encoding};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    AbsolutePath, ConfigurationError, MeasuredConfiguration, Owner, PinnedAecs, PinnedAecsReport,
    PinnedOnnxRuntime, PinnedSource, SealedRules, SecretDestination, SecretRule,
    bundle::{self, BundleTable},
    document::{self, LibraryTable, ProgramTable, StorageTable},
    lease::LeaseTable,
    model::{self, ModelTable},
    source,
};
use crate::environment::EnvironmentRules;

/// The beginning of the fields of a server's policy.
const POLICY: &str = "ua_policy_";
/// The platform of our verifier, as AECS calls it.
const SGX_DCAP: &str = "SGX_DCAP";
/// The name of the key of an encrypted image.
const IMAGE_KEY: &str = "image_key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kms_server: Option<String>,
    #[serde(default)]
    kms_keys: Vec<Key>,
    #[serde(default)]
    ua_env_pccs_url: String,
    /// By their names: AECS's clients differ in what they know besides the policy.
    ra_config: BTreeMap<String, String>,
    #[serde(default)]
    adytum: Addition,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: SecretName,
    path: AbsolutePath,
    #[serde(default)]
    service: String,
    encode: Option<Encoding>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Addition {
    allow_unverified_aecs: bool,
    allow_any_program: bool,
    /// Whose hardware the server may run on; Intel's, if nothing is said.
    vendors: Option<BTreeSet<Vendor>>,
    tcb_status: Option<BTreeSet<TcbStatus>>,
    simulation_root: Option<String>,
    allow_plain_models: bool,
    program: ProgramTable,
    environment: EnvironmentRules,
    #[serde(rename = "library")]
    libraries: Vec<LibraryTable>,
    onnxruntime: Option<PinnedOnnxRuntime>,
    storage: StorageTable,
    #[serde(rename = "bundle")]
    bundles: Vec<BundleTable>,
    lease: Option<LeaseTable>,
    #[serde(rename = "model")]
    models: Vec<ModelTable>,
}

/// Is it the file of the AECS client? Occlum gives both files the same name.
pub(super) fn is_aecs(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Head {
        ra_config: BTreeMap<String, IgnoredAny>,
    }
    let head = serde_json::from_str::<Head>(text);
    head.is_ok_and(|head| head.ra_config.keys().any(|name| name.starts_with("ua_")))
}

pub(super) fn parse(text: &str) -> Result<MeasuredConfiguration, ConfigurationError> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| ConfigurationError::Malformed { reason: error.to_string() })?;
    let addition = document.adytum;
    let mut secrets = BTreeMap::new();
    let mut names = BTreeMap::new();
    let rule = |destination| SecretRule {
        destination,
        key_path: None,
        owner: Owner::default(),
        reload_signal: None,
    };
    for Key { key, path, service, encode } in document.kms_keys {
        names.insert(key.clone(), named(&key, Some(&service), encode.unwrap_or_default())?);
        document::add_secret(&mut secrets, key, rule(SecretDestination::File(path)))?;
    }
    // Occlum's init fetches the key of an encrypted image without a word in `kms_keys`.
    for bundle in &addition.bundles {
        let key = bundle.secret();
        if !secrets.contains_key(key) {
            names.insert(key.clone(), named(key, None, Encoding::Plain)?);
            document::add_secret(&mut secrets, key.clone(), rule(SecretDestination::Memory))?;
        }
    }
    let policy = ServerPolicy {
        fields: &document.ra_config,
        vendors: addition.vendors.unwrap_or_else(|| BTreeSet::from([Vendor::Intel])),
        tcb_status: addition.tcb_status.unwrap_or_else(|| BTreeSet::from([TcbStatus::UpToDate])),
        allow_any_program: addition.allow_any_program,
    };
    let report = policy.report(addition.simulation_root.as_deref())?;
    let server = source::aecs_server(report, addition.allow_unverified_aecs)?;
    let source = PinnedSource::Aecs(PinnedAecs { server, names });
    let (program, arguments) = addition.program.pin()?;
    let bundles = bundle::bundles(addition.bundles, &secrets)?;
    Ok(MeasuredConfiguration {
        bundles,
        program,
        arguments,
        environment: document::checked(addition.environment)?,
        libraries: document::libraries(addition.libraries)?,
        onnxruntime: addition.onnxruntime,
        lease: addition.lease.map(|table| table.pin(&source)).transpose()?,
        models: model::models(addition.models, &source)?,
        source,
        // Under Occlum, loopback is the host's.
        cdh: BTreeMap::new(),
        sealed: SealedRules::default(),
        secrets,
        storage: addition.storage.into(),
        allow_plain_models: addition.allow_plain_models,
        source_address: document.kms_server,
        attestation_token: None,
        collateral_place: Some(document.ua_env_pccs_url).filter(|place| !place.is_empty()),
    })
}

fn named(
    key: &SecretName,
    service: Option<&str>,
    encoding: Encoding,
) -> Result<AecsName, ConfigurationError> {
    let name = if key.as_str() == IMAGE_KEY {
        AecsName::image_key(IMAGE_KEY)
    } else {
        AecsName::new(service, key.as_str(), encoding)
    };
    name.map_err(|error| refused(format!("kms_keys, {key}: {error}")))
}

fn refused(reason: String) -> ConfigurationError {
    ConfigurationError::AecsRules { reason }
}

/// The fields that say what the server must be, and what the file's addition says of them.
struct ServerPolicy<'a> {
    fields: &'a BTreeMap<String, String>,
    vendors: BTreeSet<Vendor>,
    tcb_status: BTreeSet<TcbStatus>,
    allow_any_program: bool,
}

impl ServerPolicy<'_> {
    /// `None` if nothing is said.
    fn report(&self, root: Option<&str>) -> Result<Option<PinnedAecsReport>, ConfigurationError> {
        let mut said = self
            .fields
            .iter()
            .filter(|(name, value)| name.starts_with(POLICY) && !value.is_empty())
            .peekable();
        if said.peek().is_none() {
            return Ok(None);
        }
        let mut policy = Policy {
            vendors: self.vendors.clone(),
            tcb_status: self.tcb_status.clone(),
            ..Policy::without_code(Vendor::Intel, TeeKind::Sgx)
        };
        let (mut user_data, mut public_key) = (Vec::new(), None);
        for (field, value) in said {
            let wrong = |reason: String| refused(format!("{field}: {reason}"));
            match field.as_str() {
                "ua_policy_str_tee_platform" if value == SGX_DCAP => {}
                "ua_policy_str_tee_platform" => {
                    return Err(wrong(format!("expected {SGX_DCAP:?} or nothing, found {value:?}")));
                }
                "ua_policy_hex_ta_measurement" => {
                    policy.mr_enclave.insert(value.parse().map_err(|error| wrong(format!("{error}")))?);
                }
                "ua_policy_hex_signer" => {
                    policy.mr_signer.insert(value.parse().map_err(|error| wrong(format!("{error}")))?);
                }
                "ua_policy_hex_prod_id" => policy.isv_prod_id = Some(number(value).map_err(wrong)?),
                "ua_policy_str_min_isvsvn" => policy.minimum_isv_svn = Some(number(value).map_err(wrong)?),
                "ua_policy_bool_debug_disabled" => match value.as_str() {
                    "true" | "1" => {}
                    "false" | "0" => {
                        let reason =
                            "it asks for a debug enclave, whose memory anybody can read; set it to \"1\"";
                        return Err(wrong(reason.to_owned()));
                    }
                    other => return Err(wrong(format!("expected \"1\" or nothing, found {other:?}"))),
                },
                "ua_policy_hex_user_data" => {
                    user_data =
                        hex::decode(value).map_err(|error| wrong(format!("no hexadecimal: {error}")))?;
                }
                "ua_policy_hex_hash_or_pem_pubkey" => public_key = Some(key_digest(value).map_err(wrong)?),
                _ => {
                    let reason = "reports of SGX with DCAP never have it, so no server could pass; empty it";
                    return Err(wrong(reason.to_owned()));
                }
            }
        }
        self.check_code(&mut policy)?;
        let root = source::simulation_root("adytum", std::slice::from_ref(&policy), root)?;
        source::aecs_report(policy, root, user_data, public_key).map(Some)
    }

    fn check_code(&self, policy: &mut Policy) -> Result<(), ConfigurationError> {
        if self.vendors.is_empty() || self.tcb_status.is_empty() {
            return Err(refused("\"vendors\" and \"tcb_status\" of \"adytum\" must not be empty".to_owned()));
        }
        if !policy.mr_enclave.is_empty() {
            return Ok(());
        }
        if policy.mr_signer.is_empty() || !self.allow_any_program {
            return Err(refused(format!(
                "{POLICY}hex_ta_measurement is empty, so the server's code would not be checked; give its MRENCLAVE, or \
                 {POLICY}hex_signer and \"allow_any_program\": true in \"adytum\""
            )));
        }
        policy.allow_any_program = true;
        Ok(())
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("expected a decimal number up to 65535, found {text:?}"))
}

/// A PEM text's digest, or the digest itself.
fn key_digest(text: &str) -> Result<Sha256Digest, String> {
    if text.starts_with("-----BEGIN ") {
        return Ok(Sha256Digest::of_bytes(text.as_bytes()));
    }
    text.parse().map_err(|error| format!("neither PEM nor a digest: {error}"))
}

#[cfg(test)]
mod tests;
