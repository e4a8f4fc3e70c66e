//! The one key source of a workload: our broker, or another one. Which one is measured, so
//! no host chooses it, and none takes the place of another.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::SecretName;
use adytum_evidence::{measurement::Sha256Digest, policy::Policy, trust::Vendor};
use adytum_governance::genesis::GenesisDigest;
use adytum_sources::{
    aecs::{AecsName, Encoding},
    azure::{Form, KeyName, KeyWrapping, VaultName, roots_from_pem},
    kbs::{ResourceError, ResourcePath},
};
use serde::{
    Deserialize, Serialize, Serializer,
    de::{IntoDeserializer, value},
};

use super::{ConfigurationError, error::invalid};

/// The one key source that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedSource {
    /// Our key broker. It releases rules about models, and it lends.
    Broker(PinnedBroker),
    /// KubeTEE's Enclave Configuration Service.
    Aecs(PinnedAecs),
    /// Azure Key Vault, or a Managed HSM, by secure key release.
    KeyVault(PinnedKeyVault),
    /// A Key Broker Service of Confidential Containers.
    Kbs(PinnedKbs),
    /// None: a workload without secrets, which gets a token of an attestation service.
    Nothing(WithoutSource),
}

/// There is nothing to say of no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WithoutSource {}

/// The vault that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedKeyVault {
    pub vault: VaultName,
    /// The URL of the attestation service that the keys' release policies name.
    pub attestation: String,
    pub wrapping: KeyWrapping,
    /// What the vault's certificates must chain to, in PEM; Azure's roots, if there are none.
    pub roots: Option<String>,
    /// What the vault calls the secrets.
    pub names: BTreeMap<SecretName, KeyName>,
}

/// The KBS that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedKbs {
    /// `https://HOST:PORT`: its certificate must be for this host.
    pub url: String,
    /// What that chains to, in PEM.
    pub roots: String,
    /// What the KBS calls the secrets.
    pub names: BTreeMap<SecretName, ResourcePath>,
}

/// The one broker that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedBroker {
    pub genesis: GenesisDigest,
    /// Which code on which platforms: one of these must accept it. Never empty.
    pub policies: Vec<Policy>,
    /// The root of the software platform, in DER, if a policy accepts one.
    #[serde(serialize_with = "hex_option")]
    pub simulation_root: Option<Vec<u8>>,
    /// The Occlum configurations that the broker may have loaded, by their digests.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub occlum_configuration: BTreeSet<Sha256Digest>,
    /// The attestation service of Azure whose token the broker is shown; without one, it is
    /// shown the evidence of the TEE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_attestation: Option<PinnedAttestationService>,
}

/// An attestation service of Azure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedAttestationService {
    /// `https://NAME.REGION.attest.azure.net`.
    pub service: String,
    /// What its certificate must chain to, in PEM; Azure's roots, if there are none.
    pub roots: Option<String>,
}

/// The AECS servers that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedAecs {
    pub server: PinnedAecsServer,
    /// What AECS calls the secrets.
    pub names: BTreeMap<SecretName, AecsName>,
}

/// Which AECS servers are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedAecsServer {
    /// Those whose report says this.
    Verified(Box<PinnedAecsReport>),
    /// Any, as with the original client (`allow_unverified_aecs`).
    Anyone,
}

/// What an AECS server's report must say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedAecsReport {
    pub policy: Policy,
    /// The root of the software platform, in DER, if the policy accepts one.
    #[serde(serialize_with = "hex_option")]
    pub simulation_root: Option<Vec<u8>>,
    /// What its user data, the first 32 bytes of the report data, begin with.
    #[serde(serialize_with = "hex_text")]
    pub user_data: Vec<u8>,
    /// SHA-256 of the PEM text of its key; `None` is any.
    pub public_key: Option<Sha256Digest>,
}

impl PinnedSource {
    /// The policies that its evidence is held against; none where anyone is believed.
    pub fn policies(&self) -> &[Policy] {
        match self {
            Self::Broker(broker) => &broker.policies,
            Self::Aecs(aecs) => match &aecs.server {
                PinnedAecsServer::Verified(report) => std::slice::from_ref(&report.policy),
                PinnedAecsServer::Anyone => &[],
            },
            // They prove themselves by their certificates.
            Self::KeyVault(_) | Self::Kbs(_) | Self::Nothing(_) => &[],
        }
    }

    /// The root of the software platform, in DER, if a policy accepts one.
    pub fn simulation_root(&self) -> Option<&[u8]> {
        match self {
            Self::Broker(broker) => broker.simulation_root.as_deref(),
            Self::Aecs(aecs) => match &aecs.server {
                PinnedAecsServer::Verified(report) => report.simulation_root.as_deref(),
                PinnedAecsServer::Anyone => None,
            },
            Self::KeyVault(_) | Self::Kbs(_) | Self::Nothing(_) => None,
        }
    }
}

/// `[broker]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BrokerTable {
    genesis: GenesisDigest,
    simulation_root: Option<String>,
    #[serde(default)]
    occlum_configuration: BTreeSet<Sha256Digest>,
    azure_attestation: Option<AttestationServiceTable>,
    policy: Policy,
}

/// `[broker.azure_attestation]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationServiceTable {
    service: String,
    roots: Option<String>,
}

/// `[aecs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AecsTable {
    #[serde(default)]
    allow_unverified_aecs: bool,
    policy: Option<Policy>,
    simulation_root: Option<String>,
    /// Up to 32 bytes in hexadecimal.
    #[serde(default)]
    user_data: String,
    public_key_sha256: Option<Sha256Digest>,
}

/// `[key_vault]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyVaultTable {
    vault: VaultName,
    attestation: String,
    #[serde(default)]
    wrapping: KeyWrapping,
    roots: Option<String>,
}

/// `[kbs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KbsTable {
    url: String,
    roots: String,
}

/// The tables of sources: there is exactly one.
pub(super) struct SourceTables {
    pub(super) broker: Option<BrokerTable>,
    pub(super) aecs: Option<AecsTable>,
    pub(super) key_vault: Option<KeyVaultTable>,
    pub(super) kbs: Option<KbsTable>,
    /// Whether a workload may do without one.
    pub(super) dispensable: bool,
}

/// Where a secret is at the source, as its table says.
#[derive(Clone, Debug, Default)]
pub(super) struct Location {
    pub(super) location: Option<String>,
    pub(super) encoding: Option<String>,
}

impl Location {
    /// How the value is written, in the words of a source.
    fn encoding<'de, T: Deserialize<'de> + Default>(
        &'de self,
        name: &SecretName,
    ) -> Result<T, ConfigurationError> {
        let Some(text) = &self.encoding else { return Ok(T::default()) };
        let deserializer: value::StrDeserializer<'de, value::Error> = text.as_str().into_deserializer();
        T::deserialize(deserializer)
            .map_err(|error| invalid(format!("secret {name}"), format!("encoding: {error}")))
    }
}

impl SourceTables {
    pub(super) fn pin(
        self,
        locations: BTreeMap<SecretName, Location>,
    ) -> Result<PinnedSource, ConfigurationError> {
        match (self.broker, self.aecs, self.key_vault, self.kbs) {
            (Some(table), None, None, None) => {
                no_locations(&locations)?;
                let policies = vec![table.policy];
                let root = table.simulation_root.as_deref();
                let pinned = broker(table.genesis, policies, root, table.occlum_configuration)?;
                let azure_attestation =
                    table.azure_attestation.map(AttestationServiceTable::pin).transpose()?;
                Ok(PinnedSource::Broker(PinnedBroker { azure_attestation, ..pinned }))
            }
            (None, Some(table), None, None) => {
                let server = table.server()?;
                Ok(PinnedSource::Aecs(PinnedAecs { server, names: aecs_names(locations)? }))
            }
            (None, None, Some(table), None) => table.pin(locations).map(PinnedSource::KeyVault),
            (None, None, None, Some(table)) => table.pin(locations).map(PinnedSource::Kbs),
            (None, None, None, None) if self.dispensable && locations.is_empty() => {
                Ok(PinnedSource::Nothing(WithoutSource {}))
            }
            _ => Err(ConfigurationError::Sources),
        }
    }
}

impl AttestationServiceTable {
    fn pin(self) -> Result<PinnedAttestationService, ConfigurationError> {
        let Self { service, roots } = self;
        if !service.starts_with("https://") {
            let reason = "expected https://NAME.REGION.attest.azure.net, the service that the manifest names in \
                          [[trust.azure]]";
            return Err(invalid("broker.azure_attestation.service", reason));
        }
        if let Some(roots) = &roots {
            roots_from_pem(roots).map_err(|reason| invalid("broker.azure_attestation.roots", reason))?;
        }
        Ok(PinnedAttestationService { service, roots })
    }
}

impl AecsTable {
    fn server(self) -> Result<PinnedAecsServer, ConfigurationError> {
        let user_data = hex::decode(&self.user_data)
            .map_err(|error| invalid("aecs.user_data", format!("no hexadecimal: {error}")))?;
        let report = self.policy.map(|policy| {
            let root =
                simulation_root("aecs", std::slice::from_ref(&policy), self.simulation_root.as_deref())?;
            aecs_report(policy, root, user_data, self.public_key_sha256)
        });
        aecs_server(report.transpose()?, self.allow_unverified_aecs)
    }
}

impl KeyVaultTable {
    fn pin(self, locations: BTreeMap<SecretName, Location>) -> Result<PinnedKeyVault, ConfigurationError> {
        let Self { vault, attestation, wrapping, roots } = self;
        if let Some(roots) = &roots {
            roots_from_pem(roots).map_err(|reason| invalid("key_vault.roots", reason))?;
        }
        let mut names = BTreeMap::new();
        for (name, place) in locations {
            let wrong = |error: adytum_sources::azure::KeyNameError| {
                invalid(format!("secret {name}"), format!("location: {error}"))
            };
            let at: KeyName = place.location.as_deref().unwrap_or(name.as_str()).parse().map_err(wrong)?;
            let form: Form = place.encoding(&name)?;
            names.insert(name, at.formed(form));
        }
        Ok(PinnedKeyVault { vault, attestation, wrapping, roots, names })
    }
}

impl KbsTable {
    fn pin(self, locations: BTreeMap<SecretName, Location>) -> Result<PinnedKbs, ConfigurationError> {
        let Self { url, roots } = self;
        if !url.starts_with("https://") {
            let reason = "expected https://HOST:PORT: the protocol does not attest the server, so its certificate says who \
                          it is";
            return Err(invalid("kbs.url", reason));
        }
        roots_from_pem(&roots).map_err(|reason| invalid("kbs.roots", reason))?;
        let mut names = BTreeMap::new();
        for (name, Location { location, encoding }) in locations {
            let field = || format!("secret {name}");
            if encoding.is_some() {
                return Err(invalid(field(), "encoding has no effect here: a KBS gives values as they are"));
            }
            let missing = "location is missing: give the resource, REPOSITORY/TYPE/TAG";
            let location = location.ok_or_else(|| invalid(field(), missing))?;
            let at: ResourcePath =
                location.parse().map_err(|error: ResourceError| invalid(field(), error.to_string()))?;
            names.insert(name, at);
        }
        Ok(PinnedKbs { url, roots, names })
    }
}

/// Either there is something that a server must be, or any server is believed by name.
pub(super) fn aecs_server(
    report: Option<PinnedAecsReport>,
    allow_unverified: bool,
) -> Result<PinnedAecsServer, ConfigurationError> {
    match (report, allow_unverified) {
        (Some(report), false) => Ok(PinnedAecsServer::Verified(Box::new(report))),
        (None, true) => Ok(PinnedAecsServer::Anyone),
        (None, false) => Err(ConfigurationError::AecsUnverified),
        (Some(_), true) => Err(invalid(
            "allow_unverified_aecs",
            "there is a policy for the AECS server as well; remove one of both",
        )),
    }
}

pub(super) fn aecs_report(
    policy: Policy,
    simulation_root: Option<Vec<u8>>,
    user_data: Vec<u8>,
    public_key: Option<Sha256Digest>,
) -> Result<PinnedAecsReport, ConfigurationError> {
    if user_data.len() > 32 {
        return Err(invalid("the user data of the AECS server", "they have at most 32 bytes"));
    }
    Ok(PinnedAecsReport { policy, simulation_root, user_data, public_key })
}

fn no_locations(locations: &BTreeMap<SecretName, Location>) -> Result<(), ConfigurationError> {
    let named = locations.iter().find(|(_, at)| at.location.is_some() || at.encoding.is_some());
    named.map_or(Ok(()), |(name, _)| {
        Err(invalid(
            format!("secret {name}"),
            "location and encoding are for other key sources; the broker knows a secret by its name",
        ))
    })
}

fn aecs_names(
    locations: BTreeMap<SecretName, Location>,
) -> Result<BTreeMap<SecretName, AecsName>, ConfigurationError> {
    let mut names = BTreeMap::new();
    for (name, place) in locations {
        let wrong = |error: adytum_sources::aecs::NameError| {
            invalid(format!("secret {name}"), format!("location: {error}; give SERVICE/NAME"))
        };
        let at: AecsName = place.location.as_deref().unwrap_or(name.as_str()).parse().map_err(wrong)?;
        let encoding: Encoding = place.encoding(&name)?;
        names.insert(name, at.encoded(encoding));
    }
    Ok(names)
}

pub(super) fn broker(
    genesis: GenesisDigest,
    policies: Vec<Policy>,
    root: Option<&str>,
    occlum_configuration: BTreeSet<Sha256Digest>,
) -> Result<PinnedBroker, ConfigurationError> {
    let simulation_root = simulation_root("broker", &policies, root)?;
    Ok(PinnedBroker { genesis, policies, simulation_root, occlum_configuration, azure_attestation: None })
}

/// The root of the software platform: there is one exactly if a policy names it.
pub(super) fn simulation_root(
    source: &str,
    policies: &[Policy],
    root: Option<&str>,
) -> Result<Option<Vec<u8>>, ConfigurationError> {
    let simulated = policies.iter().any(|policy| policy.vendors.contains(&Vendor::Simulation));
    match (root, simulated) {
        (None, false) => Ok(None),
        (Some(text), true) => certificate(source, text).map(Some),
        (Some(_), false) => Err(invalid(
            format!("{source}.simulation_root"),
            "no policy names the vendor simulation, so no simulated platform is trusted; remove the root",
        )),
        (None, true) => Err(invalid(
            format!("{source}.policy"),
            format!(
                "it names the vendor simulation; give the software platform's root certificate (PEM) as \
                 {source}.simulation_root"
            ),
        )),
    }
}

fn certificate(source: &str, text: &str) -> Result<Vec<u8>, ConfigurationError> {
    let reason = match pem::parse_many(text).as_deref() {
        Ok([block]) if block.tag() == "CERTIFICATE" => return Ok(block.contents().to_vec()),
        Ok([block]) => format!("a PEM block {:?}", block.tag()),
        Ok(blocks) => format!("{} PEM blocks", blocks.len()),
        Err(_) => "a text that is not PEM".to_owned(),
    };
    Err(invalid(
        format!("{source}.simulation_root"),
        format!("expected one certificate in PEM, found {reason}"),
    ))
}

fn hex_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

#[expect(clippy::ref_option, reason = "serde's interface")]
fn hex_option<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(hex::encode).serialize(serializer)
}

#[cfg(test)]
mod tests;
