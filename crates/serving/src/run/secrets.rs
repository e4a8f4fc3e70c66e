//! What the released secrets are for.

use std::{fs, io, path::Path, sync::Arc};

use adytum_init::{
    Released,
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

/// TLS from the secret whose path is `--ssl_config_file`, or else from that file.
pub(super) fn tls(
    flags: &Flags,
    configuration: Option<&MeasuredConfiguration>,
    released: Option<&Released>,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    let mut text = None;
    for (name, rule) in configuration.into_iter().flat_map(MeasuredConfiguration::secrets) {
        match &rule.destination {
            SecretDestination::Memory => {}
            SecretDestination::File(path) if flags.ssl_config_file.as_deref() == Some(path.as_path()) => {
                let secret = released.and_then(|released| released.secrets.get(name));
                text = secret.map(|secret| Zeroizing::new(secret.as_bytes().to_vec()));
            }
            other => {
                let destination = other.to_string();
                return Err(ServeError::Destination { name: name.to_string(), destination });
            }
        }
    }
    let text = match (text, &flags.ssl_config_file) {
        (Some(text), _) => text,
        (None, None) => return Ok(None),
        (None, Some(path)) => read_ssl_config(path)
            .map_err(|source| ServeError::SslConfigFile { path: path.clone(), source })?,
    };
    let ssl = SslConfig::parse(&text).map_err(TlsError::from)?;
    Ok(Some(Arc::new(tls::server_configuration(&ssl)?)))
}

fn read_ssl_config(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_SSL_CONFIG {
        return Err(io::Error::other(format!("{length} bytes are more than any SSLConfig has")));
    }
    fs::read(path).map(Zeroizing::new)
}
