//! What Azure calls vaults and keys.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is no name of a key or of a vault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no {expected}")]
pub struct KeyNameError {
    found: String,
    expected: &'static str,
}

/// The host name of a vault or of a Managed HSM, as in `example.vault.azure.net`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultName(String);

impl VaultName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What an access token must be for (the parameter `resource`).
    pub(super) fn resource(&self) -> &'static str {
        if self.0.contains(".managedhsm.") {
            "https://managedhsm.azure.net"
        } else {
            "https://vault.azure.net"
        }
    }
}

impl FromStr for VaultName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() < 64
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if text.len() < 254 && text.contains('.') && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "host name of a vault, in lower case, as in example.vault.azure.net";
        Err(KeyNameError { found: text.to_owned(), expected })
    }
}

impl TryFrom<String> for VaultName {
    type Error = KeyNameError;

    fn try_from(text: String) -> Result<Self, KeyNameError> {
        text.parse()
    }
}

impl From<VaultName> for String {
    fn from(name: VaultName) -> Self {
        name.0
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The form in which a released key is given on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A symmetric key as its bytes; a private key as PKCS #8 in PEM.
    #[default]
    Plain,
    /// A symmetric key as its bytes in hexadecimal.
    Hexadecimal,
    /// A symmetric key of 32 bytes as an age identity, which opens sealed models.
    AgeIdentity,
}

/// A key in a vault, and the form in which it is given on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyName {
    name: String,
    /// Any, if there is none.
    version: Option<String>,
    form: Form,
}

impl KeyName {
    /// The same in this form.
    #[must_use]
    pub fn formed(self, form: Form) -> Self {
        Self { form, ..self }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The path of the key, as in `/keys/NAME/VERSION`.
    pub(super) fn path(&self) -> String {
        match &self.version {
            Some(version) => format!("/keys/{}/{version}", self.name),
            None => format!("/keys/{}", self.name),
        }
    }

    /// Is this the identifier of that key in that vault, as in
    /// `https://example.vault.azure.net/keys/NAME/VERSION`?
    pub(super) fn is(&self, vault: &VaultName, identifier: &str) -> bool {
        let path = || {
            let rest = identifier.strip_prefix("https://")?.strip_prefix(vault.as_str())?;
            let rest = rest.strip_prefix(":443").unwrap_or(rest);
            let mut parts = rest.strip_prefix("/keys/")?.split('/');
            Some((parts.next()?, parts.next(), parts.next()))
        };
        match path() {
            Some((name, version, None)) => {
                name.eq_ignore_ascii_case(&self.name)
                    && (self.version.is_none() || version == self.version.as_deref())
            }
            _ => false,
        }
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    /// `NAME`, or `NAME/VERSION`.
    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        let (name, version) = match text.split_once('/') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let is_name = (1..128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_version = |version: &str| {
            (1..65).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !is_name || !version.is_none_or(is_version) {
            let expected = "key of a vault: NAME or NAME/VERSION, of letters, digits and '-'";
            return Err(KeyNameError { found: text.to_owned(), expected });
        }
        Ok(Self { name: name.to_owned(), version: version.map(str::to_owned), form: Form::Plain })
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for text in ["key", "key-1", "key/0123456789abcdef0123456789abcdef"] {
            assert_eq!(text.parse::<KeyName>().unwrap().to_string(), text);
        }
        for text in ["", "/", "a/", "a/b/c", "a_b", "../a", "a?b", "a b", "a/..", "ü"] {
            assert!(text.parse::<KeyName>().is_err(), "{text:?}");
        }
        for text in ["example.vault.azure.net", "a.managedhsm.azure.net"] {
            assert_eq!(text.parse::<VaultName>().unwrap().as_str(), text);
        }
        for text in ["", "example", "Example.vault.azure.net", "a..b", "a/b.c", "a.b:443", "@a.b"] {
            assert!(text.parse::<VaultName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_identifier_is_of_one_vault_and_one_key() {
        let vault: VaultName = "example.vault.azure.net".parse().unwrap();
        let (any, one): (KeyName, KeyName) = ("key".parse().unwrap(), "key/12".parse().unwrap());
        for identifier in
            ["https://example.vault.azure.net/keys/key/12", "https://example.vault.azure.net:443/keys/key/12"]
        {
            assert!(any.is(&vault, identifier) && one.is(&vault, identifier), "{identifier}");
        }
        assert!(any.is(&vault, "https://example.vault.azure.net/keys/key/13"));
        for identifier in [
            "https://example.vault.azure.net/keys/key/13",
            "https://example.vault.azure.net/keys/other/12",
            "https://other.vault.azure.net/keys/key/12",
            "https://example.vault.azure.net.evil/keys/key/12",
            "http://example.vault.azure.net/keys/key/12",
            "https://example.vault.azure.net/secrets/key/12",
            "https://example.vault.azure.net/keys/key/12/x",
            "",
        ] {
            assert!(!one.is(&vault, identifier), "{identifier}");
        }
    }
}
