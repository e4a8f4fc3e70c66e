//! What the released secrets are for.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use adytum_api::names::SecretName;
use adytum_init::{
    Released, SecretKind, SecretValue,
    configuration::{MeasuredConfiguration, SecretDestination},
};
use adytum_sealed::{keys::ModelIdentity, rule::ModelRule};
use rustls::ServerConfig;
use zeroize::Zeroizing;

use super::error::ServeError;
use crate::{
    flags::Flags,
    loading::Keys,
    tls::{self, TlsError, TlsVersion, ssl_config::SslConfig},
};

/// The secret that opens sealed models, whatever its kind is.
const MODEL_KEY: &str = "model_key";

/// The longest `SSLConfig`, in bytes.
const LONGEST_SSL_CONFIG: u64 = 1 << 20;

/// What the key source released for models, kept up to date by renewals.
#[derive(Default)]
pub(super) struct KeyRing {
    identities: BTreeMap<SecretName, ModelIdentity>,
    rules: Vec<ModelRule>,
}

impl KeyRing {
    /// Takes what was released: at the start all, at a renewal what has changed. Whether
    /// that changes anything for models.
    pub(super) fn update(&mut self, released: &Released) -> Result<bool, ServeError> {
        let changed = identities(&released.secrets)?;
        let news = !changed.is_empty() || self.rules != released.models;
        self.identities.extend(changed);
        self.rules.clone_from(&released.models);
        Ok(news)
    }

    /// What opens and judges models.
    pub(super) fn keys(&self) -> Keys {
        Keys { rules: self.rules.clone(), identities: self.identities.values().cloned().collect() }
    }
}

/// What opens sealed models: [`MODEL_KEY`], and every other age identity, so that
/// models of the old key and of the new one can be loaded while the key changes.
fn identities(
    secrets: &BTreeMap<SecretName, SecretValue>,
) -> Result<BTreeMap<SecretName, ModelIdentity>, ServeError> {
    secrets
        .iter()
        .filter(|(name, secret)| name.as_str() == MODEL_KEY || secret.kind() == SecretKind::AgeIdentity)
        .map(|(name, secret)| {
            let text = std::str::from_utf8(secret.as_bytes()).unwrap_or_default();
            let identity = text
                .parse::<ModelIdentity>()
                .map_err(|source| ServeError::ModelKey { name: name.to_string(), source })?;
            Ok((name.clone(), identity))
        })
        .collect()
}

/// The secret whose path is `--ssl_config_file`. Every secret must have a use here.
pub(super) fn ssl_secret<'a>(
    flags: &Flags,
    configuration: &'a MeasuredConfiguration,
) -> Result<Option<&'a SecretName>, ServeError> {
    let mut found = None;
    for (name, rule) in configuration.secrets() {
        match &rule.destination {
            SecretDestination::Memory => {}
            SecretDestination::File(path)
                if rule.key_path.is_none() && flags.ssl_config_file.as_deref() == Some(path.as_path()) =>
            {
                found = Some(name);
            }
            other => {
                let destination = other.to_string();
                return Err(ServeError::Destination { name: name.to_string(), destination });
            }
        }
    }
    Ok(found)
}

/// TLS from that secret, or else from the file of that name.
pub(super) fn tls(
    flags: &Flags,
    ssl_secret: Option<&SecretName>,
    released: Option<&Released>,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    let minimum = flags.minimum_tls_version;
    let secret = released.and_then(|released| released.secrets.get(ssl_secret?));
    let configuration = match (secret, &flags.ssl_config_file) {
        (Some(secret), _) => server_configuration(secret, minimum)?,
        (None, None) => return Ok(None),
        (None, Some(path)) => {
            let text = read_ssl_config(path)
                .map_err(|source| ServeError::SslConfigFile { path: path.clone(), source })?;
            tls::server_configuration(&SslConfig::parse(&text).map_err(TlsError::from)?, minimum)?
        }
    };
    Ok(Some(Arc::new(configuration)))
}

/// TLS from a secret: an `SSLConfig`, or a certificate and its key.
pub(super) fn server_configuration(
    secret: &SecretValue,
    minimum: TlsVersion,
) -> Result<ServerConfig, TlsError> {
    let Some((chain, key)) = secret.chain_and_key() else {
        return tls::server_configuration(&SslConfig::parse(secret.as_bytes())?, minimum);
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let ssl = SslConfig { server_key: text(key).into(), server_cert: text(chain), ..SslConfig::default() };
    tls::server_configuration(&ssl, minimum)
}

fn read_ssl_config(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_SSL_CONFIG {
        return Err(io::Error::other(format!("{length} bytes are more than any SSLConfig has")));
    }
    fs::read(path).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adytum_init::Lease;

    use super::*;

    fn released(secrets: &[(&str, SecretKind, &str)]) -> Released {
        let value = |kind, text: &str| SecretValue::new(text.as_bytes().to_vec(), kind, 1);
        let secrets: BTreeMap<SecretName, SecretValue> =
            secrets.iter().map(|(name, kind, text)| (name.parse().unwrap(), value(*kind, text))).collect();
        let lease = Some(Lease { duration: Duration::from_secs(600), grace: Duration::ZERO });
        Released { secrets, models: Vec::new(), manifest: None, lease }
    }

    fn keys_of(secrets: &[(&str, SecretKind, &str)]) -> Result<Keys, ServeError> {
        let mut ring = KeyRing::default();
        ring.update(&released(secrets))?;
        Ok(ring.keys())
    }

    #[test]
    fn every_age_identity_opens_models() {
        let identities = [(); 4].map(|()| ModelIdentity::generate());
        let [first, second, third, opaque] = identities.each_ref().map(ModelIdentity::to_text);
        let keys = keys_of(&[
            ("an_earlier_name", SecretKind::AgeIdentity, &third),
            ("model_key", SecretKind::AgeIdentity, &first),
            ("model_key_2", SecretKind::AgeIdentity, &second),
            // Nobody said that this one opens anything.
            ("notes", SecretKind::Opaque, &opaque),
            ("ssl_config", SecretKind::Opaque, "server_key: \"\""),
        ]);
        let taken: Vec<_> = keys.unwrap().identities.iter().map(ModelIdentity::recipient).collect();
        let expected = [2, 0, 1].map(|index: usize| identities[index].recipient());
        assert_eq!(taken, expected);
    }

    #[test]
    fn the_model_key_may_be_of_any_kind_and_may_be_missing() {
        let identity = ModelIdentity::generate();
        let keys = keys_of(&[("model_key", SecretKind::Opaque, &identity.to_text())]).unwrap();
        assert_eq!(keys.identities.len(), 1);
        assert!(keys_of(&[]).unwrap().identities.is_empty());
    }

    #[test]
    fn a_renewal_changes_what_has_changed() {
        let [old, new] = [(); 2].map(|()| ModelIdentity::generate());
        let mut ring = KeyRing::default();
        let first = released(&[("model_key", SecretKind::AgeIdentity, &old.to_text())]);
        assert!(ring.update(&first).unwrap());
        assert!(!ring.update(&released(&[])).unwrap(), "nothing has changed");
        assert_eq!(ring.keys().identities.len(), 1);
        let second = released(&[("model_key", SecretKind::AgeIdentity, &new.to_text())]);
        assert!(ring.update(&second).unwrap());
        assert_eq!(ring.keys().identities[0].recipient(), new.recipient());
        let rule = ModelRule {
            name: "m".parse().unwrap(),
            signers: [].into(),
            minimum_version: 3,
            digests: [].into(),
        };
        assert!(ring.update(&Released { models: vec![rule], ..released(&[]) }).unwrap());
        assert_eq!(ring.keys().rules.len(), 1);
    }

    #[test]
    fn an_identity_that_is_none_is_named() {
        for name in ["model_key", "model_key_2"] {
            let error = keys_of(&[(name, SecretKind::AgeIdentity, "sesame")]).err().unwrap();
            assert_eq!(error.code(), "model-identity-malformed");
            let message = error.to_string();
            assert!(message.starts_with(&format!("the secret {name}: ")), "{message}");
            assert!(!message.contains("sesame"), "{message}");
        }
    }
}
