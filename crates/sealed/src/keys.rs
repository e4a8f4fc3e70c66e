//! The keys that models are sealed to: age X25519 (C2SP age, "The X25519
//! recipient type").

use std::{fmt, str::FromStr};

use age::{secrecy::ExposeSecret, x25519};
use zeroize::Zeroizing;

/// Opens what was sealed to its recipient. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct ModelIdentity(x25519::Identity);

impl ModelIdentity {
    /// A new identity from the system's random generator.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The public half.
    pub fn recipient(&self) -> ModelRecipient {
        ModelRecipient(self.0.to_public())
    }

    /// The secret text `AGE-SECRET-KEY-1..`: what the broker holds as a secret
    /// of kind age-identity.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    pub(crate) fn as_age(&self) -> &dyn age::Identity {
        &self.0
    }
}

impl FromStr for ModelIdentity {
    type Err = ModelKeyError;

    /// Reads an identity, alone or in the file that `age-keygen` writes: blank
    /// lines and lines that start with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, ModelKeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(ModelKeyError::Identity { reason: "there is no key in it" })?;
        if lines.next().is_some() {
            return Err(ModelKeyError::Identity { reason: "there is more than one line in it" });
        }
        // The crate's messages are fixed texts: nothing of the key is in them.
        line.parse().map(Self).map_err(|reason| ModelKeyError::Identity { reason })
    }
}

impl fmt::Debug for ModelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelIdentity({})", self.recipient())
    }
}

/// What models are sealed to. Its text form is `age1..`.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelRecipient(x25519::Recipient);

impl ModelRecipient {
    pub(crate) fn as_age(&self) -> &dyn age::Recipient {
        &self.0
    }
}

impl FromStr for ModelRecipient {
    type Err = ModelKeyError;

    fn from_str(text: &str) -> Result<Self, ModelKeyError> {
        if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("AGE-SECRET-KEY-")) {
            return Err(ModelKeyError::IdentityForRecipient);
        }
        text.parse()
            .map(Self)
            .map_err(|reason| ModelKeyError::Recipient { found: text.chars().take(80).collect(), reason })
    }
}

impl fmt::Display for ModelRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for ModelRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelRecipient({self})")
    }
}

/// Why a text is not a key.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelKeyError {
    /// The text is no age identity. It is not repeated: it may be half a secret.
    ///
    /// Do: make one with `adytum model-key new`, and give the whole `AGE-SECRET-KEY-1..`
    /// line.
    #[error("not an age identity (\"AGE-SECRET-KEY-1..\"): {reason}")]
    Identity { reason: &'static str },
    /// The text is no age recipient, the public part of a model key.
    ///
    /// Do: give the `age1..` line that `adytum model-key new` printed.
    #[error("{found:?} is not an age recipient (\"age1..\"): {reason}")]
    Recipient {
        /// The beginning of the text.
        found: String,
        reason: &'static str,
    },
    /// A secret key was given where a public one is expected.
    ///
    /// Do: consider the identity exposed; make another with `adytum model-key new`, and
    /// give its recipient.
    #[error(
        "this is an age identity, which is secret; a model is sealed to the recipient (\"age1..\") that \
         belongs to it. Consider the identity exposed and make a new one"
    )]
    IdentityForRecipient,
}

impl ModelKeyError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Identity { .. } => "model-identity-malformed",
            Self::Recipient { .. } => "model-recipient-malformed",
            Self::IdentityForRecipient => "model-identity-for-recipient",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_both_ways() {
        let identity = ModelIdentity::generate();
        let text = identity.to_text();
        assert!(text.starts_with("AGE-SECRET-KEY-1"));
        assert_eq!(text.parse::<ModelIdentity>().unwrap().recipient(), identity.recipient());
        let recipient = identity.recipient();
        assert_eq!(recipient.to_string().parse(), Ok(recipient));
    }

    #[test]
    fn a_file_of_age_keygen_is_read() {
        let identity = ModelIdentity::generate();
        let file =
            format!("# created: today\n# public key: {}\n\n{}\n", identity.recipient(), *identity.to_text());
        assert_eq!(file.parse::<ModelIdentity>().unwrap().recipient(), identity.recipient());
        let two = format!("{}\n{}\n", *identity.to_text(), *identity.to_text());
        assert!(two.parse::<ModelIdentity>().is_err());
        assert!("# nothing\n".parse::<ModelIdentity>().is_err());
    }

    #[test]
    fn an_identity_does_not_print() {
        let identity = ModelIdentity::generate();
        assert!(!format!("{identity:?}").contains("SECRET"));
        let mut broken = identity.to_text().to_string();
        broken.pop();
        let error = broken.parse::<ModelIdentity>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&broken[16..40]));
        let error = broken.parse::<ModelRecipient>().unwrap_err();
        assert_eq!(error, ModelKeyError::IdentityForRecipient);
    }
}
