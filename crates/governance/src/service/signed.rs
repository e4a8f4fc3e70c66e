//! A service's text with its owners' signatures, and all that shows who these owners are.

use std::collections::BTreeMap;

use adytum_evidence::{
    clock::{Day, UnixSeconds},
    measurement::Sha256Digest,
};
use adytum_signing::{OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};
use serde::{Deserialize, Serialize};

use super::{
    Edition, Service, ServiceError,
    document::{Document, FORMAT},
};
use crate::{
    approval::{self, ApprovalError, MAXIMUM_OWNERS, OwnerApproval},
    genesis::{Genesis, GenesisDigest},
    manifest::{SignedManifest, Trust, azure, roots::root_from_pem},
    roles::{Owners, Roles},
    rules, trust,
};

/// The value of `format` in a file of a service with its signatures.
pub const SIGNED_FORMAT: &str = "adytum signed service v1";
/// The longest file, in bytes: several manifests may be in it.
pub const MAXIMUM_LENGTH: usize = 4 * 1024 * 1024;
/// The most manifests that changed the owners.
const MAXIMUM_CHANGES: usize = 256;

/// A text with its owners' signatures. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedService {
    /// The genesis document of the broker: it names the first owners.
    pub genesis: String,
    /// The manifests that changed the owners, the oldest first, each signed by the owners
    /// before it.
    pub owners_changes: Vec<SignedManifest>,
    /// The text, exactly as signed.
    pub text: String,
    pub approvals: Vec<OwnerApproval>,
}

/// The file (TOML).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedFile {
    format: String,
    genesis: String,
    document: String,
    #[serde(default, rename = "signature", skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<SignatureTable>,
    #[serde(default, rename = "owners_change", skip_serializing_if = "Vec::is_empty")]
    owners_changes: Vec<ChangeTable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureTable {
    owner: OwnerPublicKey,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeTable {
    manifest: String,
    signatures: String,
}

/// The fields that are signed: the genesis digest, the version of the manifest (eight bytes,
/// big-endian), the revision (four bytes, big-endian) and SHA-256 of the exact text.
struct Fields([u8; 32], [u8; 8], [u8; 4], [u8; 32]);

impl Fields {
    fn of(document: &Document, text: &str) -> Self {
        Self(
            document.genesis.0.0,
            document.manifest_version.to_be_bytes(),
            document.revision.to_be_bytes(),
            Sha256Digest::of_bytes(text.as_bytes()).0,
        )
    }

    fn fields(&self) -> [&[u8]; 4] {
        [&self.0, &self.1, &self.2, &self.3]
    }
}

impl SignedService {
    /// A service that nobody has signed yet.
    pub fn unsigned(
        genesis: &Genesis,
        owners_changes: Vec<SignedManifest>,
        document: &Document,
    ) -> Result<Self, ServiceError> {
        let text = document.to_toml()?;
        Ok(Self { genesis: genesis.to_toml(), owners_changes, text, approvals: Vec::new() })
    }

    /// Adds an owner's signature; an earlier one of the same owner is replaced.
    pub fn sign(&mut self, key: &OwnerSigningKey) -> Result<(), ServiceError> {
        let fields = Fields::of(&self.document()?, &self.text);
        self.approvals.retain(|approval| approval.owner != key.public_key());
        self.approvals.push(OwnerApproval::sign(key, Purpose::Service, &fields.fields()));
        Ok(())
    }

    /// The genesis that the file names. Nobody has confirmed it.
    pub fn stated_genesis(&self) -> Result<Genesis, ServiceError> {
        Ok(Genesis::parse(&self.genesis)?)
    }

    /// The text, read. Nothing is verified.
    pub fn document(&self) -> Result<Document, ServiceError> {
        let document: Document = toml::from_str(&self.text).map_err(syntax)?;
        if document.format != FORMAT {
            return Err(ServiceError::Format { expected: FORMAT, found: document.format });
        }
        Ok(document)
    }

    /// The service, if its genesis is this one, its owners agreed to it, and it has not expired
    /// at this time.
    pub fn verify(&self, pinned: GenesisDigest, now: UnixSeconds) -> Result<Service, ServiceError> {
        let genesis = self.stated_genesis()?;
        if genesis.digest() != pinned {
            return Err(ServiceError::OtherGenesis { expected: pinned, found: genesis.digest() });
        }
        let document = self.document()?;
        if document.genesis != pinned {
            return Err(ServiceError::OtherGenesis { expected: pinned, found: document.genesis });
        }
        let (owners, owners_since) = self.owners(&genesis)?;
        let fields = Fields::of(&document, &self.text);
        approval::agreed(
            owners.keys(),
            owners.threshold(),
            Purpose::Service,
            &fields.fields(),
            &self.approvals,
        )?;
        let today = Day::of(now);
        if today > document.expires {
            return Err(ServiceError::Expired { name: document.name, expires: document.expires, today });
        }
        let edition = Edition {
            owners_since,
            manifest_version: document.manifest_version,
            revision: document.revision,
            text: Sha256Digest::of_bytes(self.text.as_bytes()),
        };
        service(document, edition)
    }

    /// The owners in force after all changes, and since which manifest they are.
    pub fn owners(&self, genesis: &Genesis) -> Result<(Owners, u64), ServiceError> {
        let (mut roles, mut since) = (Roles::initial(genesis.first_owners()), 0);
        for signed in &self.owners_changes {
            let (manifest, _) = rules::agreed(genesis, &roles.owners, signed)?;
            let version = manifest.version;
            if version <= since {
                let reason = format!("version {version} comes after version {since}");
                return Err(ServiceError::Chain { reason });
            }
            if manifest.roles.as_ref().is_none_or(|roles| roles.owners.is_none()) {
                return Err(ServiceError::Chain { reason: format!("version {version} names no owners") });
            }
            roles = roles.after(manifest.roles.as_ref());
            since = version;
        }
        Ok((roles.owners, since))
    }

    /// All of it as one file.
    pub fn to_file(&self) -> Result<String, ServiceError> {
        let signature = |approval: &OwnerApproval| SignatureTable {
            owner: approval.owner,
            signature: hex::encode(approval.signature.0),
        };
        let change = |signed: &SignedManifest| ChangeTable {
            manifest: signed.text.clone(),
            signatures: signed.signatures_to_text(),
        };
        let file = SignedFile {
            format: SIGNED_FORMAT.to_owned(),
            genesis: self.genesis.clone(),
            document: self.text.clone(),
            signatures: self.approvals.iter().map(signature).collect(),
            owners_changes: self.owners_changes.iter().map(change).collect(),
        };
        toml::to_string_pretty(&file).map_err(syntax)
    }

    /// Reads what [`Self::to_file`] wrote.
    pub fn from_file(text: &str) -> Result<Self, ServiceError> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(ServiceError::TooLong { maximum: MAXIMUM_LENGTH });
        }
        let file: SignedFile = toml::from_str(text).map_err(syntax)?;
        if file.format != SIGNED_FORMAT {
            return Err(ServiceError::Format { expected: SIGNED_FORMAT, found: file.format });
        }
        if file.signatures.len() > MAXIMUM_OWNERS {
            return Err(ApprovalError::TooMany { found: file.signatures.len() }.into());
        }
        if file.owners_changes.len() > MAXIMUM_CHANGES {
            return Err(ServiceError::Chain { reason: format!("there are more than {MAXIMUM_CHANGES}") });
        }
        let approval = |table: SignatureTable| {
            let mut bytes = [0; 64];
            hex::decode_to_slice(&table.signature, &mut bytes)
                .map_err(|_| syntax("a signature is not 128 hexadecimal digits"))?;
            Ok(OwnerApproval { owner: table.owner, signature: OwnerSignature(bytes) })
        };
        let change = |table: ChangeTable| Ok(SignedManifest::from_texts(&table.manifest, &table.signatures)?);
        Ok(Self {
            genesis: file.genesis,
            owners_changes: file
                .owners_changes
                .into_iter()
                .map(change)
                .collect::<Result<_, ServiceError>>()?,
            text: file.document,
            approvals: file.signatures.into_iter().map(approval).collect::<Result<_, ServiceError>>()?,
        })
    }
}

fn service(document: Document, edition: Edition) -> Result<Service, ServiceError> {
    let simulation_roots = document.trust.simulation_roots.iter().map(|text| root_from_pem(text));
    let vendors = document.trust.vendors.into_iter().collect();
    let trusted = Trust {
        azure: azure::services(&vendors, document.trust.azure).map_err(syntax)?,
        vendors,
        simulation_roots: simulation_roots.collect::<Result<_, _>>().map_err(syntax)?,
    };
    let roots = trust::roots(&trusted)?;
    let workloads: BTreeMap<_, _> =
        document.workloads.into_iter().map(|workload| (workload.name, workload.policy)).collect();
    let models: BTreeMap<_, _> = document.models.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
    for (what, is_empty) in
        [("root", roots.is_empty()), ("workload", workloads.is_empty()), ("model", models.is_empty())]
    {
        if is_empty {
            return Err(ServiceError::Empty { what });
        }
    }
    Ok(Service {
        name: document.name,
        genesis: document.genesis,
        edition,
        manifest_sha256: document.manifest_sha256,
        expires: document.expires,
        roots,
        workloads,
        models,
    })
}

fn syntax(error: impl ToString) -> ServiceError {
    ServiceError::Syntax { reason: error.to_string() }
}
