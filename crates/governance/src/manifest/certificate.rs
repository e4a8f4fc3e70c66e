//! The certificates in a manifest: every field of one but the key.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::duration::WrittenDuration;

/// The most names (of both kinds together) in one certificate.
pub const MAXIMUM_CERTIFICATE_NAMES: usize = 64;
/// The longest `custom_ca`, in bytes.
pub const MAXIMUM_CUSTOM_CA_LENGTH: usize = 32 * 1024;

/// A host name in a certificate: lower-case labels, of which the first may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no host name for a certificate; expected labels of a-z, 0-9 and '-' (1 to 63 each, 253 \
         in all, not beginning or ending with '-'), separated by '.'; the first of three or more may be \"*\""
)]
pub struct DnsNameError {
    /// The beginning of what was found.
    pub found: String,
}

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let labels = |text: &str| text.split('.').all(label);
        // Numbers alone are an address, and clients compare those otherwise.
        let address =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        let valid = match text.strip_prefix("*.") {
            Some(rest) => rest.contains('.') && labels(rest),
            None => labels(text),
        };
        if valid && !address && text.len() <= 253 {
            Ok(Self(text.to_owned()))
        } else {
            Err(DnsNameError { found: text.chars().take(80).collect() })
        }
    }
}

impl TryFrom<String> for DnsName {
    type Error = DnsNameError;

    fn try_from(text: String) -> Result<Self, DnsNameError> {
        text.parse()
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateUsage {
    /// As a TLS server.
    Server,
    /// As a TLS client.
    Client,
}

impl fmt::Display for CertificateUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// All fields of a certificate but the key: at least one name and one usage, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    /// Host names, in the order of the manifest.
    pub dns_names: Vec<DnsName>,
    /// Addresses, in the order of the manifest.
    pub ip_addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usages: Vec<CertificateUsage>,
    /// How long it is valid.
    pub lifetime: WrittenDuration,
}

/// What TensorFlow Serving's SSLConfig has besides key and certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SslConfigRule {
    /// Must clients show a certificate?
    pub client_verify: bool,
    /// Whose (PEM); `None` for those of the broker's own authority.
    pub custom_ca: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_are_read() {
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        for text in ["localhost", "tf-demo-svc", "tf-demo.default.svc.cluster.local", "*.demo.svc", &long] {
            assert_eq!(text.parse::<DnsName>().unwrap().as_str(), text);
        }
        let labels = |n: usize| vec!["a".repeat(63); n].join(".");
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "A",
            "ä",
            "a_b",
            "a b",
            "*",
            "*.svc",
            "a.*.b",
            "**.a.b",
            "127.0.0.1",
            "1",
            "::1",
            "a\n",
            "a\0b",
            &labels(4),
            &"a".repeat(64),
        ] {
            assert!(text.parse::<DnsName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<DnsName>();
        }
    }
}
