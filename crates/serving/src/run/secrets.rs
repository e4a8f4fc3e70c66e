//! What the released secrets are for.

use std::{fs, io, path::Path, sync::Arc};

use adytum_api::names::SecretName;
use adytum_init::{
    Released, SecretValue,
    configuration::{MeasuredConfiguration, SecretDestination},
};
use adytum_sealed::keys::ModelIdentity;
use rustls::ServerConfig;
use zeroize::Zeroizing;

use super::error::ServeError;
use crate::{
    flags::Flags,
    loading::ModelSource,
    tls::{self, TlsError, ssl_config::SslConfig},
};

/// The secret that opens sealed models.
pub(super) const MODEL_KEY: &str = "model_key";

/// The longest `SSLConfig`, in bytes.
const LONGEST_SSL_CONFIG: u64 = 1 << 20;

/// The model's place, and what the broker released for it.
pub(super) fn source(
    flags: &Flags,
    allow_plain: bool,
    released: Option<Released>,
) -> Result<ModelSource, ServeError> {
    let mut source = ModelSource {
        name: flags.model_name.clone(),
        base: flags.model_base_path.clone(),
        rule: None,
        identities: Vec::new(),
        allow_plain,
        size_limit: flags.max_model_bytes,
    };
    // Its secrets are wiped at this function's end.
    if let Some(released) = released {
        if let Some(key) = released.secrets.get(MODEL_KEY) {
            let text = std::str::from_utf8(key.as_bytes()).unwrap_or_default();
            source.identities.push(text.parse::<ModelIdentity>().map_err(ServeError::ModelKey)?);
        }
        source.rule = released.models.into_iter().find(|rule| rule.name.as_str() == flags.model_name);
    }
    Ok(source)
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
    let secret = released.and_then(|released| released.secrets.get(ssl_secret?));
    let configuration = match (secret, &flags.ssl_config_file) {
        (Some(secret), _) => server_configuration(secret)?,
        (None, None) => return Ok(None),
        (None, Some(path)) => {
            let text = read_ssl_config(path)
                .map_err(|source| ServeError::SslConfigFile { path: path.clone(), source })?;
            tls::server_configuration(&SslConfig::parse(&text).map_err(TlsError::from)?)?
        }
    };
    Ok(Some(Arc::new(configuration)))
}

/// TLS from a secret: an `SSLConfig`, or a certificate and its key.
pub(super) fn server_configuration(secret: &SecretValue) -> Result<ServerConfig, TlsError> {
    let Some((chain, key)) = secret.chain_and_key() else {
        return tls::server_configuration(&SslConfig::parse(secret.as_bytes())?);
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let ssl = SslConfig { server_key: text(key).into(), server_cert: text(chain), ..SslConfig::default() };
    tls::server_configuration(&ssl)
}

fn read_ssl_config(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_SSL_CONFIG {
        return Err(io::Error::other(format!("{length} bytes are more than any SSLConfig has")));
    }
    fs::read(path).map(Zeroizing::new)
}
