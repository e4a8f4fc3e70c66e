//! What AECS calls a secret.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The service of a secret for which none is named.
const DEFAULT_SERVICE: &str = "TrustedApplications";
/// The service that Occlum's init asks for an image's key, whatever its file says.
const IMAGE_KEY_SERVICE: &str = "service1";
/// AECS takes names below 256 bytes.
const LONGEST_NAME: usize = 255;

/// Why a text is no name for AECS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name in AECS: expected 1 to {LONGEST_NAME} characters of A-Z a-z 0-9 _ . -")]
pub struct NameError(String);

/// How the value of a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As it is.
    #[default]
    Plain,
    /// As base64.
    Base64,
}

/// A secret's service and name in AECS, and how its value is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AecsName {
    service: String,
    name: String,
    encoding: Encoding,
}

impl AecsName {
    /// The secret of this name in this service; without one, in AECS's default one.
    pub fn new(service: Option<&str>, name: &str, encoding: Encoding) -> Result<Self, NameError> {
        let service = service.filter(|service| !service.is_empty()).unwrap_or(DEFAULT_SERVICE);
        Ok(Self { service: checked(service)?, name: checked(name)?, encoding })
    }

    /// The key of an encrypted image, where Occlum's init asks for it.
    pub fn image_key(name: &str) -> Result<Self, NameError> {
        Self::new(Some(IMAGE_KEY_SERVICE), name, Encoding::Plain)
    }

    /// The same, its value written so.
    #[must_use]
    pub fn encoded(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }
}

impl FromStr for AecsName {
    type Err = NameError;

    /// `SERVICE/NAME`, or `NAME` in the default service.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some(("", _)) => Err(NameError(text.to_owned())),
            Some((service, name)) => Self::new(Some(service), name, Encoding::Plain),
            None => Self::new(None, text, Encoding::Plain),
        }
    }
}

impl fmt::Display for AecsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

fn checked(text: &str) -> Result<String, NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(allowed) {
        return Err(NameError(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_service() {
        for (text, expected) in [("key", "TrustedApplications/key"), ("service/key", "service/key")] {
            assert_eq!(text.parse::<AecsName>().unwrap().to_string(), expected);
        }
        assert_eq!(AecsName::image_key("image_key").unwrap().to_string(), "service1/image_key");
        for text in ["", "/key", "service/", "a/b/c", "a b", "ü", &"x".repeat(256)] {
            assert!(text.parse::<AecsName>().is_err(), "{text:?}");
        }
    }
}
