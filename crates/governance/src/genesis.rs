//! The genesis: the document that creates a broker. It names the owners and how many of
//! them must agree. Its digest is that broker's identity, for ever (ARCHITECTURE.md).

use std::{collections::BTreeSet, fmt, str::FromStr};

use adytum_evidence::{
    identity::LengthPrefixed,
    measurement::{HexError, Sha256Digest},
};
use adytum_signing::OwnerPublicKey;
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    approval::MAXIMUM_OWNERS,
    roles::{Owners, OwnersError},
};

/// The value of `format` in a genesis document of this version.
pub const FORMAT: &str = "adytum genesis v1";
/// The longest genesis document, in bytes.
pub const MAXIMUM_LENGTH: usize = 16 * 1024;

/// The digest of a genesis document: which broker this is, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenesisDigest(pub Sha256Digest);

impl fmt::Display for GenesisDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GenesisDigest {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        text.parse().map(Self)
    }
}

/// A genesis that holds together: at least one owner, no owner twice, and a threshold
/// that the owners can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    id: Sha256Digest,
    owners: Owners,
}

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    id: Sha256Digest,
    threshold: u64,
    owners: Vec<OwnerPublicKey>,
}

/// The reason why a document is no genesis.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// The genesis document has more than [`MAXIMUM_LENGTH`] bytes.
    ///
    /// Do: give the file that `adytum genesis new` wrote.
    #[error("the genesis document has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The genesis document is not TOML, or a field is missing, unknown or not of its type.
    ///
    /// Do: give the file that `adytum genesis new` wrote; the message names the line.
    #[error("the genesis document can't be read: {reason}")]
    Syntax {
        /// What the reader said; names the line.
        reason: String,
    },
    /// The document has the format of another kind of document, or of another version.
    ///
    /// Do: give the genesis document, as `adytum genesis new` of this version wrote it.
    #[error("the genesis document's format is {found:?}; this program reads {FORMAT:?}")]
    Format { found: String },
    /// The genesis document names no owner, so nobody could ever change such a broker.
    ///
    /// Do: name at least one owner: `adytum genesis new --owner FILE`.
    #[error("the genesis document names no owner; name at least one public key under `owners`")]
    NoOwner,
    /// The genesis document names more owners than [`MAXIMUM_OWNERS`].
    ///
    /// Do: name fewer owners (`adytum genesis new --owner FILE`, once for each).
    #[error("the genesis document names {found} owners; at most {MAXIMUM_OWNERS} are allowed")]
    TooManyOwners {
        /// How many it names.
        found: usize,
    },
    /// The genesis document names one owner twice, and one person would count as two.
    ///
    /// Do: name each owner once (`adytum genesis new --owner FILE`, once for each).
    #[error("the genesis document names the owner {owner} twice")]
    DuplicateOwner { owner: OwnerPublicKey },
    /// The threshold is zero, or higher than the number of owners.
    ///
    /// Do: give `adytum genesis new --threshold NUMBER` a number from 1 to the number of owners.
    #[error("the genesis document's threshold is {found}; with {owners} owner(s) it must be 1 to {owners}")]
    Threshold {
        found: u64,
        /// How many owners there are.
        owners: usize,
    },
    /// The system's random generator failed, so no genesis was made.
    ///
    /// Do: run `adytum genesis new` again; if it fails again, check the machine.
    ///
    /// Retry: yes
    #[error("the system's random generator failed, so no genesis id could be made")]
    Random,
}

impl GenesisError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "genesis-too-long",
            Self::Syntax { .. } => "genesis-syntax",
            Self::Format { .. } => "genesis-format",
            Self::NoOwner => "genesis-no-owner",
            Self::TooManyOwners { .. } => "genesis-too-many-owners",
            Self::DuplicateOwner { .. } => "genesis-duplicate-owner",
            Self::Threshold { .. } => "genesis-threshold",
            Self::Random => "genesis-random",
        }
    }
}

impl Genesis {
    /// Creates a broker with a new random id: `threshold` of `owners` must agree
    /// to every change.
    pub fn create(
        owners: impl IntoIterator<Item = OwnerPublicKey>,
        threshold: usize,
    ) -> Result<Self, GenesisError> {
        let mut id = [0; 32];
        rand::fill(&mut id).map_err(|_| GenesisError::Random)?;
        Self::check(Sha256Digest(id), owners.into_iter().collect(), threshold as u64)
    }

    /// Reads a genesis document (TOML).
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(GenesisError::TooLong { found: text.len() });
        }
        let document: Document =
            toml::from_str(text).map_err(|error| GenesisError::Syntax { reason: error.to_string() })?;
        if document.format != FORMAT {
            return Err(GenesisError::Format { found: document.format });
        }
        Self::check(document.id, document.owners, document.threshold)
    }

    fn check(id: Sha256Digest, owners: Vec<OwnerPublicKey>, threshold: u64) -> Result<Self, GenesisError> {
        let owners = Owners::new(owners, threshold).map_err(|error| match error {
            OwnersError::None => GenesisError::NoOwner,
            OwnersError::TooMany { found } => GenesisError::TooManyOwners { found },
            OwnersError::Duplicate { owner } => GenesisError::DuplicateOwner { owner },
            OwnersError::Threshold { found, owners } => GenesisError::Threshold { found, owners },
        })?;
        Ok(Self { id, owners })
    }

    /// The document as text. Reading it again gives the same digest.
    pub fn to_toml(&self) -> String {
        let owners: String = self.owners().iter().map(|owner| format!("    \"{owner}\",\n")).collect();
        format!(
            "format = \"{FORMAT}\"\nid = \"{}\"\n# The number of owners who must sign each change.\nthreshold = {}\n\
             owners = [\n{owners}]\n",
            self.id,
            self.threshold()
        )
    }

    /// The digest of what the document says (not of its text): SHA-256 over the
    /// length-prefixed format, id, threshold (eight bytes, big-endian) and the
    /// owners' public keys in ascending order.
    pub fn digest(&self) -> GenesisDigest {
        let mut hasher = LengthPrefixed::<Sha256>::new();
        hasher.field(FORMAT.as_bytes());
        hasher.field(&self.id.0);
        hasher.field(&(self.threshold() as u64).to_be_bytes());
        for owner in self.owners() {
            hasher.field(&owner.0);
        }
        GenesisDigest(Sha256Digest(hasher.finish().into()))
    }

    /// The first owners and their threshold. Who the owners are now, a manifest may
    /// have changed: see the broker's state.
    pub fn first_owners(&self) -> &Owners {
        &self.owners
    }

    /// The first owners.
    pub fn owners(&self) -> &BTreeSet<OwnerPublicKey> {
        self.owners.keys()
    }

    /// How many of them must sign a change; 1 to their number.
    pub fn threshold(&self) -> usize {
        self.owners.threshold()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(byte: u8) -> OwnerPublicKey {
        OwnerPublicKey([byte; 32])
    }

    fn document(threshold: &str, owners: &[OwnerPublicKey]) -> String {
        let owners: Vec<String> = owners.iter().map(|owner| format!("\"{owner}\"")).collect();
        format!(
            "format = \"{FORMAT}\"\nid = \"{}\"\nthreshold = {threshold}\nowners = [{}]\n",
            "ab".repeat(32),
            owners.join(", ")
        )
    }

    #[test]
    fn text_form_keeps_the_digest_and_comments_do_not_change_it() {
        let genesis = Genesis::create([owner(2), owner(1)], 2).unwrap();
        let text = genesis.to_toml();
        assert_eq!(Genesis::parse(&text).unwrap(), genesis);
        let commented = format!("# ours\n{text}\n# end\n");
        assert_eq!(Genesis::parse(&commented).unwrap().digest(), genesis.digest());
    }

    #[test]
    fn two_foundings_by_the_same_owners_are_two_brokers() {
        let found = || Genesis::create([owner(1)], 1).unwrap().digest();
        assert_ne!(found(), found());
    }

    #[test]
    fn every_field_is_in_the_digest() {
        let base = Genesis::parse(&document("1", &[owner(1), owner(2)])).unwrap().digest();
        for other in [
            document("2", &[owner(1), owner(2)]),
            document("1", &[owner(1), owner(3)]),
            document("1", &[owner(1)]),
            document("1", &[owner(1), owner(2)]).replace(&"ab".repeat(32), &"ac".repeat(32)),
        ] {
            assert_ne!(Genesis::parse(&other).unwrap().digest(), base);
        }
        assert_eq!(Genesis::parse(&document("1", &[owner(2), owner(1)])).unwrap().digest(), base);
    }

    #[test]
    fn documents_that_found_nothing_do_not_parse() {
        let many: Vec<_> = (0..65).map(owner).collect();
        for (text, code) in [
            (document("0", &[owner(1)]), "genesis-threshold"),
            (document("2", &[owner(1)]), "genesis-threshold"),
            (document("1", &[]), "genesis-no-owner"),
            (document("1", &[owner(1), owner(1)]), "genesis-duplicate-owner"),
            (document("1", &many), "genesis-too-many-owners"),
            (document("-1", &[owner(1)]), "genesis-syntax"),
            (document("1", &[owner(1)]) + "motto = \"x\"\n", "genesis-syntax"),
            (document("1", &[owner(1)]).replace("genesis v1", "genesis v2"), "genesis-format"),
            ("x".repeat(MAXIMUM_LENGTH + 1), "genesis-too-long"),
            (String::new(), "genesis-syntax"),
        ] {
            assert_eq!(Genesis::parse(&text).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_line() {
        let text = document("1", &[owner(1)]).replace("threshold", "treshold");
        assert!(Genesis::parse(&text).unwrap_err().to_string().contains("line 3"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,400}") {
            let _ = Genesis::parse(&text);
        }

        #[test]
        fn any_change_of_a_document_is_read_or_refused(at in 0usize..300, with in any::<char>()) {
            let mut text: Vec<char> = document("1", &[owner(1), owner(2)]).chars().collect();
            let at = at % text.len();
            text[at] = with;
            if let Ok(genesis) = Genesis::parse(&text.into_iter().collect::<String>()) {
                prop_assert_eq!(Genesis::parse(&genesis.to_toml()).unwrap().digest(), genesis.digest());
            }
        }
    }
}
