//! Which plaintext may be loaded as a model.

use std::{collections::BTreeSet, fmt};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::OwnerPublicKey;
use serde::{Deserialize, Serialize};

use crate::statement::Statement;

/// Which plaintext may be loaded under this name: one whose digest is listed,
/// or one that a listed signer signed with a version not below the floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRule {
    pub name: ModelName,
    /// Owners whose signature is accepted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signers: BTreeSet<OwnerPublicKey>,
    /// The rollback floor for signed versions.
    #[serde(default)]
    pub minimum_version: u64,
    /// Plaintext digests accepted whatever their version.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub digests: BTreeSet<Sha256Digest>,
}

/// A statement that a rule accepted: what it says about the plaintext may be
/// held against the plaintext. Only [`ModelRule::judge`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenuineStatement {
    statement: Statement,
    acceptance: Acceptance,
}

/// Why a statement was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The rule lists its plaintext's digest.
    Digest,
    /// A listed signer signed it, and its version is not below the floor.
    Signature,
}

impl GenuineStatement {
    /// The accepted statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Why.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }
}

/// One rule that did not hold.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleFailure {
    /// The statement is about a model of another name than the rule.
    ///
    /// Do: put the sealed model where its own name is served, or seal it under this name
    /// with `--model`.
    Name { wanted: ModelName, found: ModelName },
    /// The SHA-256 in the statement is not among the `sha256` of the rule.
    ///
    /// Do: list the digest in the manifest's `[[model]]`, or seal with a signer that is
    /// listed.
    Digest { listed: usize, found: Sha256Digest },
    /// The owner who signed the statement is not among the `signers` of the rule.
    ///
    /// Do: seal the model with the key of a listed owner, or add the signer to the
    /// manifest's `[[model]]`.
    Signer { listed: usize, found: OwnerPublicKey },
    /// The signature is not one of the owner whom the statement names.
    ///
    /// Do: copy the `.seal` file again; if the error stays, seal the model again.
    Signature {
        /// The signer that the statement names.
        signer: OwnerPublicKey,
    },
    /// The statement's version is lower than the rule's `minimum_version`.
    ///
    /// Do: serve a later version, or seal again under a higher `--version`.
    Version { minimum: u64, found: u64 },
}

impl RuleFailure {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "model-name",
            Self::Digest { .. } => "model-digest-unlisted",
            Self::Signer { .. } => "model-signer-unlisted",
            Self::Signature { .. } => "model-signature-invalid",
            Self::Version { .. } => "model-version-below-floor",
        }
    }
}

impl fmt::Display for RuleFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { wanted, found } => write!(f, "name: wanted {wanted}, got {found}"),
            Self::Digest { listed: 0, .. } => write!(f, "digest: the rule lists none in sha256"),
            Self::Digest { listed, found } => {
                write!(f, "digest: {found} is none of the {listed} in sha256 of the rule")
            }
            Self::Signer { listed: 0, .. } => write!(f, "signer: the rule lists none in signers"),
            Self::Signer { listed, found } => {
                write!(f, "signer: {found} is none of the {listed} in signers of the rule")
            }
            Self::Signature { signer } => write!(f, "signature: not valid for {signer}"),
            Self::Version { minimum, found } => {
                write!(f, "version: wanted at least {minimum}, got {found}")
            }
        }
    }
}

/// A rule of the manifest, or of the command, does not accept the statement of a model.
/// The failures say which parts of it did not hold; there is at least one.
///
/// Do: compare the statement in the `.seal` file with the manifest's `[[model]]`, as the
/// message lists them.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .failures.iter().map(RuleFailure::to_string).collect::<Vec<_>>().join("; "))]
pub struct RuleRefusal {
    /// The rules that did not hold.
    pub failures: Vec<RuleFailure>,
}

impl RuleRefusal {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        "model-not-genuine"
    }
}

impl ModelRule {
    /// Judges a statement by every rule, before anything is decrypted.
    pub fn judge(&self, statement: &Statement) -> Result<GenuineStatement, RuleRefusal> {
        let mut failures = Vec::new();
        if statement.model != self.name {
            failures.push(RuleFailure::Name { wanted: self.name.clone(), found: statement.model.clone() });
        }
        let digest_is_listed = self.digests.contains(&statement.sha256);
        let against_signature = self.against_signature(statement);
        let acceptance = if digest_is_listed { Acceptance::Digest } else { Acceptance::Signature };
        if !digest_is_listed && !against_signature.is_empty() {
            failures.push(RuleFailure::Digest { listed: self.digests.len(), found: statement.sha256 });
            failures.extend(against_signature);
        }
        if failures.is_empty() {
            Ok(GenuineStatement { statement: statement.clone(), acceptance })
        } else {
            Err(RuleRefusal { failures })
        }
    }

    fn against_signature(&self, statement: &Statement) -> Vec<RuleFailure> {
        let mut failures = Vec::new();
        if !self.signers.contains(&statement.signer) {
            failures.push(RuleFailure::Signer { listed: self.signers.len(), found: statement.signer });
        }
        if statement.verify_signature().is_err() {
            failures.push(RuleFailure::Signature { signer: statement.signer });
        }
        if statement.version < self.minimum_version {
            failures.push(RuleFailure::Version { minimum: self.minimum_version, found: statement.version });
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use adytum_signing::OwnerSigningKey;

    use super::*;
    use crate::statement::FileName;

    fn signed(key: &OwnerSigningKey, version: u64) -> Statement {
        let digest = Sha256Digest::of_bytes(b"model");
        Statement::sign(key, "digits".parse().unwrap(), version, FileName::model_onnx(), 5, digest)
    }

    fn rule(signers: &[&OwnerSigningKey]) -> ModelRule {
        ModelRule {
            name: "digits".parse().unwrap(),
            signers: signers.iter().map(|key| key.public_key()).collect(),
            minimum_version: 3,
            digests: BTreeSet::new(),
        }
    }

    fn codes(refusal: &RuleRefusal) -> Vec<&'static str> {
        refusal.failures.iter().map(RuleFailure::code).collect()
    }

    #[test]
    fn a_listed_signer_and_a_version_at_the_floor_pass() {
        let key = OwnerSigningKey::generate().unwrap();
        let genuine = rule(&[&key]).judge(&signed(&key, 3)).unwrap();
        assert_eq!(genuine.acceptance(), Acceptance::Signature);
        let refusal = rule(&[&key]).judge(&signed(&key, 2)).unwrap_err();
        assert_eq!(refusal.failures[1], RuleFailure::Version { minimum: 3, found: 2 });
    }

    #[test]
    fn a_listed_digest_passes_whatever_the_version_and_signature() {
        let key = OwnerSigningKey::generate().unwrap();
        let mut listing = rule(&[]);
        listing.digests.insert(Sha256Digest::of_bytes(b"model"));
        let mut statement = signed(&key, 1);
        statement.signature.0[0] ^= 1;
        assert_eq!(listing.judge(&statement).unwrap().acceptance(), Acceptance::Digest);
        statement.model = "other".parse().unwrap();
        assert_eq!(codes(&listing.judge(&statement).unwrap_err()), ["model-name"]);
    }

    #[test]
    fn a_refusal_names_everything() {
        let owner = OwnerSigningKey::generate().unwrap();
        let host = OwnerSigningKey::generate().unwrap();
        // Signed by the host: valid, but the signer is not listed.
        let refusal = rule(&[&owner]).judge(&signed(&host, 5)).unwrap_err();
        assert_eq!(codes(&refusal), ["model-digest-unlisted", "model-signer-unlisted"]);
        // Said to be the owner's.
        let forged = Statement { signer: owner.public_key(), ..signed(&host, 5) };
        let refusal = rule(&[&owner]).judge(&forged).unwrap_err();
        assert_eq!(codes(&refusal), ["model-digest-unlisted", "model-signature-invalid"]);
        let mut worst = Statement { version: 1, ..signed(&host, 5) };
        worst.model = "other".parse().unwrap();
        let refusal = rule(&[]).judge(&worst).unwrap_err();
        assert_eq!(
            codes(&refusal),
            [
                "model-name",
                "model-digest-unlisted",
                "model-signer-unlisted",
                "model-signature-invalid",
                "model-version-below-floor"
            ]
        );
        assert!(refusal.to_string().contains("version: wanted at least 3, got 1"), "{refusal}");
    }

    #[test]
    fn an_empty_rule_accepts_nothing() {
        let key = OwnerSigningKey::generate().unwrap();
        assert!(rule(&[]).judge(&signed(&key, 9)).is_err());
    }
}
