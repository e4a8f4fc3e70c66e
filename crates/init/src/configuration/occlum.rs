//! Occlum's `init_ra_conf.json` as a measured configuration.
//!
//! Its `ra_config` says which broker is accepted, with switches; ours is stricter
//! where the switches would let anybody in:
//!
//! - `verify_mr_enclave` must be on. A signer alone pins the owner of a key, and
//!   Occlum's default signing key is a public file.
//! - A debug enclave is never accepted: its memory can be read.
//! - `isv_svn` is the lowest accepted, not the only one: with the enclave's
//!   measurement pinned, a higher one is the same code.
//! - The file has no genesis, and without one a broker that anybody created with the same
//!   code would be trusted. It is in an additional object, `"adytum"`, which Occlum's own
//!   init ignores and which may also hold what the TOML form has besides secrets and
//!   policy.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::{TcbStatus, TeeKind},
    measurement::{MrEnclave, MrSigner, Sha256Digest},
    policy::Policy,
    trust::Vendor,
};
use adytum_governance::genesis::GenesisDigest;
use serde::Deserialize;

use super::{
    AbsolutePath, ConfigurationError, MeasuredConfiguration, Owner, PinnedOnnxRuntime, PinnedSource,
    SealedRules, SecretDestination, SecretRule,
    bundle::{self, BundleTable},
    document::{self, LibraryTable, ProgramTable, StorageTable},
    source,
};
use crate::environment::EnvironmentRules;

/// Overrides `kms_server`.
pub const BROKER_VARIABLE: &str = "OCCLUM_INIT_RA_KMS_SERVER";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kms_server: Option<String>,
    #[serde(default)]
    kms_keys: Vec<Key>,
    ra_config: Rules,
    adytum: Option<Addition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: SecretName,
    path: AbsolutePath,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    verify_mr_enclave: Switch,
    verify_mr_signer: Switch,
    verify_isv_prod_id: Switch,
    verify_isv_svn: Switch,
    #[serde(default)]
    verify_config_svn: Switch,
    /// Off accepts debug enclaves too in Occlum, and not here.
    #[serde(default, rename = "verify_enclave_debuggable")]
    _verify_enclave_debuggable: Switch,
    sgx_mrs: Vec<Entry>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    #[default]
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Entry {
    mr_enclave: String,
    mr_signer: String,
    isv_prod_id: u16,
    isv_svn: u16,
    #[serde(rename = "config_svn")]
    _config_svn: u16,
    debuggable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    genesis: Option<GenesisDigest>,
    /// Whose hardware the broker may run on.
    #[serde(default = "intel")]
    vendors: BTreeSet<Vendor>,
    #[serde(default = "up_to_date")]
    tcb_status: BTreeSet<TcbStatus>,
    simulation_root: Option<String>,
    #[serde(default)]
    occlum_configuration: BTreeSet<Sha256Digest>,
    #[serde(default)]
    allow_plain_models: bool,
    #[serde(default)]
    program: ProgramTable,
    #[serde(default)]
    environment: EnvironmentRules,
    #[serde(default, rename = "library")]
    libraries: Vec<LibraryTable>,
    onnxruntime: Option<PinnedOnnxRuntime>,
    #[serde(default)]
    storage: StorageTable,
    #[serde(default, rename = "bundle")]
    bundles: Vec<BundleTable>,
}

fn intel() -> BTreeSet<Vendor> {
    BTreeSet::from([Vendor::Intel])
}

fn up_to_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

pub(super) fn parse(text: &str) -> Result<MeasuredConfiguration, ConfigurationError> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| ConfigurationError::Malformed { reason: error.to_string() })?;
    let addition = document.adytum.ok_or(ConfigurationError::GenesisMissing)?;
    let genesis = addition.genesis.ok_or(ConfigurationError::GenesisMissing)?;
    let policies = policies(&document.ra_config, &addition.vendors, &addition.tcb_status)?;
    let mut secrets = BTreeMap::new();
    for Key { key, path } in document.kms_keys {
        let destination = SecretDestination::File(path);
        let rule = SecretRule { destination, key_path: None, owner: Owner::default(), reload_signal: None };
        document::add_secret(&mut secrets, key, rule)?;
    }
    // Occlum's init fetches the key of an encrypted image without a word in
    // `kms_keys`, and so is it here.
    for bundle in &addition.bundles {
        if !secrets.contains_key(bundle.secret()) {
            let (destination, owner) = (SecretDestination::Memory, Owner::default());
            let rule = SecretRule { destination, key_path: None, owner, reload_signal: None };
            document::add_secret(&mut secrets, bundle.secret().clone(), rule)?;
        }
    }
    let (program, arguments) = addition.program.pin()?;
    let bundles = bundle::bundles(addition.bundles, &secrets)?;
    let broker = source::broker(
        genesis,
        policies,
        addition.simulation_root.as_deref(),
        addition.occlum_configuration,
    )?;
    Ok(MeasuredConfiguration {
        bundles,
        program,
        arguments,
        environment: document::checked(addition.environment)?,
        libraries: document::libraries(addition.libraries)?,
        onnxruntime: addition.onnxruntime,
        lease: None,
        models: BTreeMap::new(),
        source: PinnedSource::Broker(broker),
        // Under Occlum, loopback is the host's.
        cdh: BTreeMap::new(),
        sealed: SealedRules::default(),
        secrets,
        storage: addition.storage.into(),
        allow_plain_models: addition.allow_plain_models,
        source_address: document.kms_server,
        collateral_place: None,
        attestation_token: None,
    })
}

/// One policy for each entry; any that accepts is enough, as in Occlum.
fn policies(
    rules: &Rules,
    vendors: &BTreeSet<Vendor>,
    tcb_status: &BTreeSet<TcbStatus>,
) -> Result<Vec<Policy>, ConfigurationError> {
    let refused = |reason: String| Err(ConfigurationError::OcclumRules { reason });
    if rules.verify_mr_enclave != Switch::On {
        return refused(
            "verify_mr_enclave is not \"on\", so the broker's code would not be checked; switch it on and give \
             the broker's mr_enclave"
                .to_owned(),
        );
    }
    if rules.verify_config_svn == Switch::On {
        return refused("verify_config_svn is not supported; switch it off".to_owned());
    }
    if rules.sgx_mrs.is_empty() {
        return refused("sgx_mrs is empty, so no broker could pass".to_owned());
    }
    if vendors.is_empty() || tcb_status.is_empty() {
        return refused("\"vendors\" and \"tcb_status\" must not be empty".to_owned());
    }
    let mut policies = Vec::new();
    for (index, entry) in rules.sgx_mrs.iter().enumerate() {
        if entry.debuggable {
            return refused(format!(
                "sgx_mrs[{index}] asks for a debug enclave, whose memory anybody can read; set debuggable to false"
            ));
        }
        let wrong = |error: adytum_evidence::measurement::HexError| ConfigurationError::OcclumRules {
            reason: format!("sgx_mrs[{index}]: {error}"),
        };
        let on = |switch| switch == Switch::On;
        let mr_enclave: MrEnclave = entry.mr_enclave.parse().map_err(wrong)?;
        let mr_signer: Option<MrSigner> =
            on(rules.verify_mr_signer).then(|| entry.mr_signer.parse()).transpose().map_err(wrong)?;
        policies.push(Policy {
            vendors: vendors.clone(),
            mr_enclave: BTreeSet::from([mr_enclave]),
            mr_signer: mr_signer.into_iter().collect(),
            isv_prod_id: on(rules.verify_isv_prod_id).then_some(entry.isv_prod_id),
            minimum_isv_svn: on(rules.verify_isv_svn).then_some(entry.isv_svn),
            tcb_status: tcb_status.clone(),
            ..Policy::without_code(Vendor::Intel, TeeKind::Sgx)
        });
    }
    Ok(policies)
}
