//! What owners sign so that a broker hands its root key over: which code the next
//! broker has, and which the present one, for one genesis.

use std::collections::BTreeSet;

use adytum_evidence::{measurement::Sha256Digest, policy::Policy, verifier::TrustRoot};
use adytum_signing::{OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};
use serde::{Deserialize, Serialize};

use crate::{
    approval::{ApprovalError, MAXIMUM_OWNERS, OwnerApproval, agreed},
    genesis::GenesisDigest,
    manifest::{ManifestError, Trust, azure, document::TrustTable, roots},
    roles::Owners,
    trust,
};

/// The value of `format` in an authorisation of this version.
pub const FORMAT: &str = "adytum upgrade authorisation v1";
/// The value of `format` in a file of one with its signatures.
pub const SIGNED_FORMAT: &str = "adytum signed upgrade authorisation v1";
/// The longest authorisation, with its signatures, in bytes.
pub const MAXIMUM_LENGTH: usize = 128 * 1024;

/// The document as it is written (TOML).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// The broker it is for.
    pub genesis: GenesisDigest,
    /// The roots that the successor trusts when it verifies the present broker.
    pub trust: TrustTable,
    /// Which code the present broker has.
    pub present: Policy,
    /// Which code the next one may have.
    pub next: Policy,
}

impl Document {
    /// For this broker.
    pub fn new(genesis: GenesisDigest, trust: TrustTable, present: Policy, next: Policy) -> Self {
        Self { format: FORMAT.to_owned(), genesis, trust, present, next }
    }

    /// The document as text.
    pub fn to_toml(&self) -> Result<String, AuthorisationError> {
        toml::to_string_pretty(self).map_err(syntax)
    }
}

/// A text with its owners' signatures. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAuthorisation {
    /// The text, exactly as signed.
    pub text: String,
    pub approvals: Vec<OwnerApproval>,
}

/// An authorisation that holds together. Whether owners signed it is another
/// matter: see [`SignedAuthorisation::approved_by`].
#[derive(Clone, Debug)]
pub struct Authorisation {
    /// Which one: SHA-256 of its text.
    pub digest: Sha256Digest,
    /// The present broker's code.
    pub present: Policy,
    pub next: Policy,
    /// The roots that are trusted for the present one.
    pub roots: Vec<TrustRoot>,
}

/// Why a text is no authorisation that counts here.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorisationError {
    /// The upgrade authorisation has more than [`MAXIMUM_LENGTH`] bytes.
    ///
    /// Do: give the file that `adytum broker authorise-upgrade` wrote. If it is that file,
    /// shorten the policy of `--next-policy`.
    #[error("the upgrade authorisation has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The upgrade authorisation is not TOML, or a field is missing, unknown or not of its type.
    ///
    /// Do: make the authorisation again with `adytum broker authorise-upgrade`, and don't edit
    /// the file.
    #[error("the upgrade authorisation can't be read: {reason}")]
    Syntax {
        /// What the reader said.
        reason: String,
    },
    /// The document has the format of another kind of document, or of another version.
    ///
    /// Do: give the file that `adytum broker authorise-upgrade` of this version wrote.
    #[error("the format is {found:?}, expected {expected:?}")]
    Format {
        /// The format read here.
        expected: &'static str,
        found: String,
    },
    /// The upgrade authorisation is for another broker.
    ///
    /// Do: authorise the upgrade at this broker with `adytum broker authorise-upgrade`, or give
    /// the file of this broker.
    #[error(
        "the upgrade authorisation is for the broker with genesis {found}; this broker's is {expected}. \
         Authorise the upgrade at this broker"
    )]
    OtherGenesis { expected: GenesisDigest, found: GenesisDigest },
    /// The table `[trust]` of the upgrade authorisation can't be used.
    ///
    /// Do: make the authorisation again with `adytum broker authorise-upgrade`, and don't edit
    /// the file.
    #[error("[trust] of the upgrade authorisation: {reason}")]
    Trust { reason: String },
    /// The owners did not agree to it.
    #[error("the owners did not agree to the upgrade authorisation: {0}")]
    Approval(#[from] ApprovalError),
}

impl AuthorisationError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "upgrade-authorisation-too-long",
            Self::Syntax { .. } => "upgrade-authorisation-syntax",
            Self::Format { .. } => "upgrade-authorisation-format",
            Self::OtherGenesis { .. } => "upgrade-authorisation-other-genesis",
            Self::Trust { .. } => "upgrade-authorisation-trust",
            Self::Approval(error) => error.code(),
        }
    }
}

fn syntax(error: impl ToString) -> AuthorisationError {
    AuthorisationError::Syntax { reason: error.to_string() }
}

/// A file of an authorisation with its signatures.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedFile {
    format: String,
    document: String,
    #[serde(default, rename = "signature")]
    signatures: Vec<SignatureTable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureTable {
    owner: OwnerPublicKey,
    signature: String,
}

impl SignedAuthorisation {
    /// A text that nobody has signed yet.
    pub fn unsigned(text: impl Into<String>) -> Self {
        Self { text: text.into(), approvals: Vec::new() }
    }

    /// Reads the text, if it is for this broker.
    pub fn read(&self, genesis: GenesisDigest) -> Result<Authorisation, AuthorisationError> {
        if self.text.len() > MAXIMUM_LENGTH {
            return Err(AuthorisationError::TooLong { found: self.text.len() });
        }
        let document: Document = toml::from_str(&self.text).map_err(syntax)?;
        if document.format != FORMAT {
            return Err(AuthorisationError::Format { expected: FORMAT, found: document.format });
        }
        if document.genesis != genesis {
            let found = document.genesis;
            return Err(AuthorisationError::OtherGenesis { expected: genesis, found });
        }
        Ok(Authorisation {
            digest: Sha256Digest::of_bytes(self.text.as_bytes()),
            present: document.present,
            next: document.next,
            roots: roots(document.trust)?,
        })
    }

    /// The owners who signed it, if they are enough of those in force.
    pub fn approved_by(
        &self,
        genesis: GenesisDigest,
        owners: &Owners,
    ) -> Result<BTreeSet<OwnerPublicKey>, AuthorisationError> {
        let fields = fields(genesis, &self.text);
        let fields = [fields[0].as_slice(), fields[1].as_slice()];
        Ok(agreed(owners.keys(), owners.threshold(), Purpose::Upgrade, &fields, &self.approvals)?)
    }

    /// Adds an owner's signature; a former one of the same owner is replaced.
    pub fn sign(&mut self, genesis: GenesisDigest, key: &OwnerSigningKey) {
        let fields = fields(genesis, &self.text);
        let fields = [fields[0].as_slice(), fields[1].as_slice()];
        self.approvals.retain(|approval| approval.owner != key.public_key());
        self.approvals.push(OwnerApproval::sign(key, Purpose::Upgrade, &fields));
    }

    /// Text and signatures as one file.
    pub fn to_file(&self) -> Result<String, AuthorisationError> {
        let signature = |approval: &OwnerApproval| SignatureTable {
            owner: approval.owner,
            signature: hex::encode(approval.signature.0),
        };
        let file = SignedFile {
            format: SIGNED_FORMAT.to_owned(),
            document: self.text.clone(),
            signatures: self.approvals.iter().map(signature).collect(),
        };
        toml::to_string_pretty(&file).map_err(syntax)
    }

    /// Reads what [`Self::to_file`] wrote.
    pub fn from_file(text: &str) -> Result<Self, AuthorisationError> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(AuthorisationError::TooLong { found: text.len() });
        }
        let file: SignedFile = toml::from_str(text).map_err(syntax)?;
        if file.format != SIGNED_FORMAT {
            return Err(AuthorisationError::Format { expected: SIGNED_FORMAT, found: file.format });
        }
        if file.signatures.len() > MAXIMUM_OWNERS {
            return Err(ApprovalError::TooMany { found: file.signatures.len() }.into());
        }
        let approval = |table: SignatureTable| {
            let mut bytes = [0; 64];
            hex::decode_to_slice(&table.signature, &mut bytes)
                .map_err(|_| syntax("a signature is not 128 hexadecimal digits"))?;
            Ok(OwnerApproval { owner: table.owner, signature: OwnerSignature(bytes) })
        };
        let approvals =
            file.signatures.into_iter().map(approval).collect::<Result<_, AuthorisationError>>()?;
        Ok(Self { text: file.document, approvals })
    }
}

/// The fields that are signed: the genesis digest and SHA-256 of the exact text.
fn fields(genesis: GenesisDigest, text: &str) -> [[u8; 32]; 2] {
    [genesis.0.0, Sha256Digest::of_bytes(text.as_bytes()).0]
}

fn roots(table: TrustTable) -> Result<Vec<TrustRoot>, AuthorisationError> {
    let wrong = |reason: String| AuthorisationError::Trust { reason };
    let simulation_roots = table.simulation_roots.iter().map(|text| roots::root_from_pem(text));
    let vendors = table.vendors.into_iter().collect();
    let trust = Trust {
        azure: azure::services(&vendors, table.azure).map_err(wrong)?,
        vendors,
        simulation_roots: simulation_roots.collect::<Result<_, _>>().map_err(wrong)?,
    };
    let roots = trust::roots(&trust).map_err(|error: ManifestError| wrong(error.to_string()))?;
    if roots.is_empty() {
        return Err(wrong("it trusts nobody, so no broker could be verified".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use adytum_evidence::{claims::TeeKind, measurement::WorkloadIdentity, trust::Vendor};
    use proptest::prelude::*;

    use super::*;
    use crate::genesis::Genesis;

    fn policy(byte: u8) -> Policy {
        Policy::for_identity(Vendor::Intel, TeeKind::Sgx, WorkloadIdentity([byte; 32]))
    }

    fn document(genesis: &Genesis) -> Document {
        let trust = TrustTable { vendors: vec![Vendor::Intel], ..TrustTable::default() };
        Document::new(genesis.digest(), trust, policy(1), policy(2))
    }

    #[test]
    fn enough_owners_of_this_genesis_authorise_these_programs_and_nobody_else() {
        let keys: [_; 3] = std::array::from_fn(|_| OwnerSigningKey::generate().unwrap());
        let genesis = Genesis::create(keys[..2].iter().map(OwnerSigningKey::public_key), 2).unwrap();
        let other = Genesis::create(keys[..2].iter().map(OwnerSigningKey::public_key), 2).unwrap();
        let mut signed = SignedAuthorisation::unsigned(document(&genesis).to_toml().unwrap());
        let code = |signed: &SignedAuthorisation, genesis: &Genesis| {
            signed
                .approved_by(genesis.digest(), genesis.first_owners())
                .map(drop)
                .map_err(|error| error.code())
        };
        assert_eq!(code(&signed, &genesis), Err("signature-missing"));
        signed.sign(genesis.digest(), &keys[0]);
        signed.sign(genesis.digest(), &keys[0]);
        assert_eq!(code(&signed, &genesis), Err("signatures-below-threshold"));
        signed.sign(genesis.digest(), &keys[1]);
        assert_eq!(code(&signed, &genesis), Ok(()));
        // Replayed to another broker of the same owners.
        assert_eq!(code(&signed, &other), Err("signature-invalid"));
        assert_eq!(signed.read(other.digest()).unwrap_err().code(), "upgrade-authorisation-other-genesis");
        let read = signed.read(genesis.digest()).unwrap();
        assert_eq!((read.present, read.next), (policy(1), policy(2)));
        // Another program than the one signed for.
        let mut changed = signed.clone();
        changed.text = changed.text.replace(&"02".repeat(32), &"03".repeat(32));
        assert_ne!(changed.text, signed.text);
        assert_eq!(code(&changed, &genesis), Err("signature-invalid"));
        let mut thief = signed.clone();
        thief.sign(genesis.digest(), &keys[2]);
        assert_eq!(code(&thief, &genesis), Err("signature-by-stranger"));
        assert_eq!(SignedAuthorisation::from_file(&signed.to_file().unwrap()), Ok(signed));
    }

    #[test]
    fn texts_that_are_none_say_why() {
        let owner = OwnerSigningKey::generate().unwrap();
        let genesis = Genesis::create([owner.public_key()], 1).unwrap();
        let read = |document: &Document| {
            let text = document.to_toml().unwrap();
            SignedAuthorisation::unsigned(text).read(genesis.digest()).map(drop).map_err(|error| error.code())
        };
        let good = document(&genesis);
        assert_eq!(read(&good), Ok(()));
        let mut bad = good.clone();
        bad.format = "adytum manifest v1".into();
        assert_eq!(read(&bad), Err("upgrade-authorisation-format"));
        bad = good.clone();
        bad.trust.vendors = Vec::new();
        assert_eq!(read(&bad), Err("upgrade-authorisation-trust"));
        let syntax = SignedAuthorisation::unsigned("x = 1").read(genesis.digest()).unwrap_err();
        assert_eq!(syntax.code(), "upgrade-authorisation-syntax");
        assert!(SignedAuthorisation::from_file(&good.to_toml().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = SignedAuthorisation::from_file(&text);
        }
    }
}
