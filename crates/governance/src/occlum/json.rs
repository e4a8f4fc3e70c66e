//! Occlum's two JSON files as they are written.

use std::{collections::BTreeSet, fmt};

use adytum_api::names::SecretName;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use zeroize::Zeroizing;

use super::{Entry, MAXIMUM_ENTRIES, MAXIMUM_SECRETS, OcclumError};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

impl Switch {
    fn on(self) -> bool {
        matches!(self, Self::On)
    }

    fn off_by_default() -> Self {
        Self::Off
    }

    fn on_by_default() -> Self {
        Self::On
    }
}

/// Older files lack the last two switches. A file without the configuration's
/// switch does not check it; without the switch of debug mode no debug enclave passes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    verify_mr_enclave: Switch,
    verify_mr_signer: Switch,
    verify_isv_prod_id: Switch,
    verify_isv_svn: Switch,
    #[serde(default = "Switch::off_by_default")]
    verify_config_svn: Switch,
    #[serde(default = "Switch::on_by_default")]
    verify_enclave_debuggable: Switch,
    sgx_mrs: Vec<Measurements>,
}

/// Fields whose switch is off may hold anything, or be absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measurements {
    #[serde(default)]
    mr_enclave: String,
    #[serde(default)]
    mr_signer: String,
    #[serde(default)]
    isv_prod_id: Option<u16>,
    #[serde(default)]
    isv_svn: Option<u16>,
    #[serde(default)]
    config_svn: Option<u16>,
    #[serde(default)]
    debuggable: bool,
}

const CONFIGURATION: &str = "Occlum configuration";
const SECRETS: &str = "Occlum secrets";

/// The entries of an RA verify configuration, in their order.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, OcclumError> {
    let configuration: Configuration = serde_json::from_str(text)
        .map_err(|error| OcclumError::Syntax { file: CONFIGURATION, reason: error.to_string() })?;
    if configuration.sgx_mrs.is_empty() {
        return Err(OcclumError::NoEntry);
    }
    let found = configuration.sgx_mrs.len();
    if found > MAXIMUM_ENTRIES {
        return Err(OcclumError::TooMany { what: "entries in sgx_mrs", found, limit: MAXIMUM_ENTRIES });
    }
    let entry = |(index, measurements)| entry(&configuration, index, measurements);
    configuration.sgx_mrs.iter().enumerate().map(entry).collect()
}

fn entry(switches: &Configuration, index: usize, said: &Measurements) -> Result<Entry, OcclumError> {
    let value = |field, reason: String| OcclumError::Value {
        workload: format!("occlum-{}", index + 1),
        field,
        reason,
    };
    let number = |switch: Switch, field, number: Option<u16>| match (switch, number) {
        (Switch::Off, _) => Ok(None),
        (Switch::On, Some(number)) => Ok(Some(number)),
        (Switch::On, None) => Err(value(field, "is to be verified and is missing".to_owned())),
    };
    Ok(Entry {
        mr_enclave: switches
            .verify_mr_enclave
            .on()
            .then(|| said.mr_enclave.parse())
            .transpose()
            .map_err(|error| value("mr_enclave", format!("{error}")))?,
        mr_signer: switches
            .verify_mr_signer
            .on()
            .then(|| said.mr_signer.parse())
            .transpose()
            .map_err(|error| value("mr_signer", format!("{error}")))?,
        isv_prod_id: number(switches.verify_isv_prod_id, "isv_prod_id", said.isv_prod_id)?,
        isv_svn: number(switches.verify_isv_svn, "isv_svn", said.isv_svn)?,
        config_svn: number(switches.verify_config_svn, "config_svn", said.config_svn)?,
        debuggable: switches.verify_enclave_debuggable.on().then_some(said.debuggable),
    })
}

/// Names and base64 values, kept as pairs: a JSON map that names something
/// twice would otherwise lose one silently.
struct Pairs(Vec<(String, Zeroizing<String>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of secret names and base64 texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, SecretText>()? {
                    pairs.push((name, value.0));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// A text whose error message does not quote it.
struct SecretText(Zeroizing<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)
            .map(|text| Self(Zeroizing::new(text)))
            .map_err(|_| serde::de::Error::custom("a secret's value is not a text"))
    }
}

/// Names and decoded values.
pub(super) type NamedValues = Vec<(SecretName, Zeroizing<Vec<u8>>)>;

/// The secrets of a secrets file.
pub(super) fn secrets(text: &str) -> Result<NamedValues, OcclumError> {
    let Pairs(pairs) = serde_json::from_str(text)
        .map_err(|error| OcclumError::Syntax { file: SECRETS, reason: error.to_string() })?;
    if pairs.len() > MAXIMUM_SECRETS {
        return Err(OcclumError::TooMany { what: "secrets", found: pairs.len(), limit: MAXIMUM_SECRETS });
    }
    let mut seen = BTreeSet::new();
    let mut secrets = Vec::new();
    for (text, encoded) in pairs {
        let refuse = |reason: String| OcclumError::Secret {
            name: format!("{:?}", text.chars().take(128).collect::<String>()),
            reason,
        };
        let name: SecretName = text.parse().map_err(|error| refuse(format!("{error}")))?;
        if !seen.insert(name.clone()) {
            return Err(refuse("stands there twice".to_owned()));
        }
        // The decoder's own message would quote a character of the value.
        let value = STANDARD
            .decode(encoded.trim())
            .map(Zeroizing::new)
            .map_err(|_| refuse("its value is not base64 (RFC 4648, section 4)".to_owned()))?;
        secrets.push((name, value));
    }
    Ok(secrets)
}
