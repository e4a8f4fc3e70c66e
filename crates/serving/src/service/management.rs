//! `ModelService.HandleReloadConfigRequest`: changes of the configuration of models.
//!
//! Only a client whose TLS certificate the measured configuration names may do it.

use std::{collections::BTreeMap, path::PathBuf};

use adytum_api::tensorflow::serving::{
    ModelServerConfig as ConfigProto, ReloadConfigRequest, ReloadConfigResponse, StatusProto,
    file_system_storage_path_source_config::servable_version_policy::PolicyChoice,
    model_server_config::Config,
};
use aws_lc_rs::digest::{SHA256, digest};
use http::request::Parts;
use tonic::{Code, Status};

use crate::{
    connection::Peer,
    loading::{
        ConfigurationError, ModelConfig, ModelServerConfig, ReloadError, Reloads, VersionPolicy, base_path,
        latest_versions, specific_versions,
    },
    status,
};

/// The reason why a client's configuration was not applied.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagementError {
    /// The server was not set up to take its configuration from clients.
    ///
    /// Do: change the configuration's file and let the server poll it, or name the certificate
    /// of a client with `--model_manager_certificates`.
    #[error("this server takes no configuration from clients (--model_manager_certificates)")]
    NotOffered,
    /// The client's certificate is not one that may change the configuration.
    ///
    /// Do: use a client certificate that `--model_manager_certificates` names.
    #[error(
        "only a client whose certificate --model_manager_certificates names may change the configuration"
    )]
    NotAllowed,
    /// The request has no list of models.
    ///
    /// Do: send `config.model_config_list`.
    #[error("ReloadConfigRequest has no config.model_config_list")]
    NoList,
    /// The configuration has a fault.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The configuration can't be put into effect.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl ManagementError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOffered => "reload-not-offered",
            Self::NotAllowed => "reload-not-allowed",
            Self::NoList => "reload-no-list",
            Self::Configuration(error) => error.code(),
            Self::Reload(error) => error.code(),
        }
    }
}

impl From<ManagementError> for Status {
    fn from(error: ManagementError) -> Self {
        let code = match &error {
            ManagementError::NotOffered => Code::Unimplemented,
            ManagementError::NotAllowed => Code::PermissionDenied,
            ManagementError::NoList | ManagementError::Configuration(_) => Code::InvalidArgument,
            ManagementError::Reload(ReloadError::Stopped) => Code::Unavailable,
            ManagementError::Reload(ReloadError::NotAvailable { .. }) => Code::FailedPrecondition,
            ManagementError::Reload(_) => Code::InvalidArgument,
        };
        status::status(code, error.code(), &error.to_string())
    }
}

/// Changes the configuration of models, for some clients.
#[derive(Clone)]
pub struct Management {
    reloads: Reloads,
    root: Option<PathBuf>,
    /// The SHA-256 of their certificates in DER.
    certificates: Vec<[u8; 32]>,
}

impl Management {
    /// For the clients of these certificates. Relative directories are below `root`.
    pub fn new(reloads: Reloads, root: Option<PathBuf>, certificates: Vec<[u8; 32]>) -> Self {
        Self { reloads, root, certificates }
    }

    /// Whether a client with this certificate may do it.
    fn allows(&self, certificate: &[u8]) -> bool {
        let found = digest(&SHA256, certificate);
        self.certificates.iter().any(|known| known == found.as_ref())
    }

    pub(super) async fn reload(
        &self,
        parts: &Parts,
        request: ReloadConfigRequest,
    ) -> Result<ReloadConfigResponse, ManagementError> {
        if self.certificates.is_empty() {
            return Err(ManagementError::NotOffered);
        }
        let certificate = parts.extensions.get::<Peer>().and_then(Peer::certificate);
        if !certificate.is_some_and(|certificate| self.allows(certificate)) {
            return Err(ManagementError::NotAllowed);
        }
        let configuration = self.configuration(request.config)?;
        self.reloads.apply(configuration).await?;
        let status = StatusProto { error_code: Code::Ok.into(), error_message: String::new() };
        Ok(ReloadConfigResponse { status: Some(status) })
    }

    fn configuration(&self, config: Option<ConfigProto>) -> Result<ModelServerConfig, ManagementError> {
        let list = match config.and_then(|config| config.config) {
            Some(Config::ModelConfigList(list)) => list,
            Some(Config::CustomModelConfig(_)) => return Err(ConfigurationError::Custom.into()),
            None => return Err(ManagementError::NoList),
        };
        let models = list.config.into_iter().enumerate().map(|(index, model)| {
            let missing = |field| ConfigurationError::Missing { number: index + 1, field };
            if model.name.is_empty() {
                return Err(missing("name"));
            }
            if model.base_path.is_empty() {
                return Err(missing("base_path"));
            }
            if !matches!(model.model_platform.as_str(), "" | "tensorflow" | "onnx") {
                return Err(ConfigurationError::Platform {
                    name: model.name,
                    platform: model.model_platform,
                });
            }
            let policy = match model.model_version_policy.and_then(|policy| policy.policy_choice) {
                None => VersionPolicy::default(),
                Some(PolicyChoice::All(_)) => VersionPolicy::All,
                Some(PolicyChoice::Latest(latest)) => latest_versions(latest.num_versions),
                Some(PolicyChoice::Specific(specific)) => specific_versions(&model.name, specific.versions)?,
            };
            let labels: BTreeMap<String, i64> = model.version_labels;
            if let Some(version) = labels.values().find(|version| **version < 0) {
                let found = format!(", found {version}");
                return Err(ConfigurationError::Version { name: model.name, field: "version_labels", found });
            }
            let base = base_path(&model.name, model.base_path, self.root.as_deref())?;
            Ok(ModelConfig { name: model.name, base, policy, labels })
        });
        Ok(ModelServerConfig::new(models.collect::<Result<_, _>>()?)?)
    }
}
