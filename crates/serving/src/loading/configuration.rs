//! TensorFlow Serving's `ModelServerConfig`: which models are served, from where, and
//! which of their versions.
//!
//! Source: `model_server_config.proto` and `file_system_storage_path_source.proto`.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use crate::text_format::{Fields, Message, TextError, parse};

/// The models that a server serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelServerConfig {
    /// In the order of the file.
    pub models: Vec<ModelConfig>,
}

/// A model that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name in requests.
    pub name: String,
    /// The directory of its versions.
    pub base: PathBuf,
    /// The versions that are served.
    pub policy: VersionPolicy,
    /// Names for versions.
    pub labels: BTreeMap<String, i64>,
}

/// The versions of a model that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest ones.
    Latest(NonZeroUsize),
    /// All that are there.
    All,
    /// These.
    Specific(BTreeSet<i64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(NonZeroUsize::MIN)
    }
}

/// The fault of a `ModelServerConfig`.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The text is not a `ModelServerConfig`.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The configuration has a `custom_model_config`, which no server reads by itself.
    ///
    /// Do: list the models in `model_config_list`.
    #[error("custom_model_config is not supported; list the models in model_config_list")]
    Custom,
    /// A model of the configuration has no name or no directory.
    ///
    /// Do: give each model a `name` and a `base_path`.
    #[error("model number {number} of the configuration has no {field}")]
    Missing {
        /// Its place in the list, counted from 1.
        number: usize,
        /// The field, `name` or `base_path`.
        field: &'static str,
    },
    /// Two models of the configuration have one name.
    ///
    /// Do: give each model a name of its own; versions of one model are directories in
    /// its `base_path`.
    #[error("Illegal to list model {name} multiple times in config list")]
    SameName { name: String },
    /// A model's name has characters that addresses and logs can't carry, or too many.
    ///
    /// Do: use letters, digits and the signs `_`, `-`, `.` and `:` in names, at most 200.
    #[error("the model name {name:?} has other characters than letters, digits and _-.:, or more than 200")]
    Name { name: String },
    /// A model's directory is an address of an object store.
    ///
    /// Do: fetch the model into a volume, and give the volume's path.
    #[error("{base_path}: models are read from directories only; fetch the model into a volume first")]
    Address { base_path: String },
    /// A model's directory is a relative path, and there is no root that it could be
    /// relative to.
    ///
    /// Do: give an absolute path, or a root with `--model_root`.
    #[error(
        "Expected model {name} to have an absolute path or URI; got base_path()={base_path}; give an absolute \
         path, or --model_root"
    )]
    Relative { name: String, base_path: String },
    /// A model's platform is none that this server has.
    ///
    /// Do: leave `model_platform` out, or write `tensorflow`.
    #[error(
        "model {name}: the platform {platform:?} is unknown; there is \"tensorflow\", which is the default"
    )]
    Platform { name: String, platform: String },
    /// A version of a policy or a label can't be a version.
    ///
    /// Do: give versions from 0 on, and at least one of them.
    #[error("model {name}: {field} needs versions from 0 on{found}")]
    Version { name: String, field: &'static str, found: String },
    /// A model's configuration gives one label twice.
    ///
    /// Do: strike one of the two.
    #[error("model {name}: the label {label:?} is given twice")]
    SameLabel { name: String, label: String },
}

impl ConfigurationError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Text(error) => error.code(),
            Self::Custom => "model-config-custom",
            Self::Missing { .. } => "model-config-missing",
            Self::SameName { .. } => "model-config-same-name",
            Self::Name { .. } => "model-config-name",
            Self::Address { .. } => "model-config-address",
            Self::Relative { .. } => "model-config-relative",
            Self::Platform { .. } => "model-config-platform",
            Self::Version { .. } => "model-config-version",
            Self::SameLabel { .. } => "model-config-same-label",
        }
    }
}

const MESSAGE: &str = "ModelServerConfig";

impl ModelServerConfig {
    /// Reads protobuf's text format. `root` is what relative paths are relative to.
    pub fn parse(text: &[u8], root: Option<&Path>) -> Result<Self, ConfigurationError> {
        let mut fields = Fields::new(MESSAGE, parse(MESSAGE, text)?);
        fields.one_of(&["model_config_list", "custom_model_config"])?;
        let list = fields.message("model_config_list")?;
        if fields.is_given("custom_model_config") {
            return Err(ConfigurationError::Custom);
        }
        fields.finish()?;
        let mut list = Fields::new("ModelConfigList", list.unwrap_or_default());
        let configurations = list.messages("config")?;
        list.finish()?;
        let models = configurations
            .into_iter()
            .enumerate()
            .map(|(index, message)| model(index + 1, message, root))
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(models)
    }

    /// These models, if their names differ.
    pub fn new(models: Vec<ModelConfig>) -> Result<Self, ConfigurationError> {
        let mut names = BTreeSet::new();
        for model in &models {
            check_name(&model.name)?;
            if !names.insert(&model.name) {
                return Err(ConfigurationError::SameName { name: model.name.clone() });
            }
        }
        Ok(Self { models })
    }
}

impl ModelConfig {
    /// The latest version of a model in a directory.
    pub fn latest(name: &str, base: &Path) -> Self {
        let (name, base) = (name.to_owned(), base.to_owned());
        Self { name, base, policy: VersionPolicy::default(), labels: BTreeMap::new() }
    }
}

fn check_name(name: &str) -> Result<(), ConfigurationError> {
    let fits =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'));
    if fits && (1..=200).contains(&name.len()) {
        return Ok(());
    }
    Err(ConfigurationError::Name { name: name.chars().take(200).collect() })
}

/// The directory that a `base_path` names.
pub fn base_path(name: &str, path: String, root: Option<&Path>) -> Result<PathBuf, ConfigurationError> {
    if path.contains("://") {
        return Err(ConfigurationError::Address { base_path: path });
    }
    let base = PathBuf::from(&path);
    match root {
        _ if base.is_absolute() => Ok(base),
        Some(root) => Ok(root.join(base)),
        None => Err(ConfigurationError::Relative { name: name.to_owned(), base_path: path }),
    }
}

fn model(number: usize, message: Message, root: Option<&Path>) -> Result<ModelConfig, ConfigurationError> {
    let mut fields = Fields::new("ModelConfig", message);
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let name = given(fields.text("name")?);
    let base = given(fields.text("base_path")?);
    let platform = fields.text("model_platform")?.unwrap_or_default();
    let versions = fields.message("model_version_policy")?;
    let label_entries = fields.messages("version_labels")?;
    // Deprecated, and the same as the platform.
    fields.is_given("model_type");
    let logs = fields.is_given("logging_config");
    // A name that is misspelt is not one that is missing.
    fields.finish()?;
    let missing = |field| ConfigurationError::Missing { number, field };
    let name = name.ok_or_else(|| missing("name"))?;
    let base = base.ok_or_else(|| missing("base_path"))?;
    if !matches!(platform.as_str(), "" | "tensorflow" | "onnx") {
        return Err(ConfigurationError::Platform { name, platform });
    }
    let policy = match versions {
        Some(message) => policy(&name, message)?,
        None => VersionPolicy::default(),
    };
    let labels = labels(&name, label_entries)?;
    if logs {
        tracing::warn!(
            model = name,
            "logging_config has no effect here: requests and answers are never logged"
        );
    }
    let base = base_path(&name, base, root)?;
    Ok(ModelConfig { name, base, policy, labels })
}

fn policy(name: &str, message: Message) -> Result<VersionPolicy, ConfigurationError> {
    let mut fields = Fields::new("ServableVersionPolicy", message);
    fields.one_of(&["latest", "all", "specific"])?;
    let latest = fields.message("latest")?;
    let all = fields.message("all")?;
    let specific = fields.message("specific")?;
    fields.finish()?;
    if let Some(message) = all {
        Fields::new("All", message).finish()?;
        return Ok(VersionPolicy::All);
    }
    if let Some(message) = specific {
        let mut fields = Fields::new("Specific", message);
        let versions = fields.integers("versions")?;
        fields.finish()?;
        return specific_versions(name, versions);
    }
    let mut fields = Fields::new("Latest", latest.unwrap_or_default());
    let number = fields.unsigned("num_versions")?;
    fields.finish()?;
    Ok(latest_versions(number.unwrap_or(0)))
}

/// The highest `number` versions; 0 means the default of one.
pub fn latest_versions(number: u32) -> VersionPolicy {
    let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    VersionPolicy::Latest(number.unwrap_or(NonZeroUsize::MIN))
}

/// These versions of a model, at least one.
pub fn specific_versions(name: &str, versions: Vec<i64>) -> Result<VersionPolicy, ConfigurationError> {
    let wrong = |found| ConfigurationError::Version { name: name.to_owned(), field: "specific", found };
    if versions.is_empty() {
        return Err(wrong(", and has none".to_owned()));
    }
    if let Some(negative) = versions.iter().find(|version| **version < 0) {
        return Err(wrong(format!(", found {negative}")));
    }
    Ok(VersionPolicy::Specific(versions.into_iter().collect()))
}

fn labels(name: &str, entries: Vec<Message>) -> Result<BTreeMap<String, i64>, ConfigurationError> {
    let mut labels = BTreeMap::new();
    for entry in entries {
        let mut fields = Fields::new("VersionLabelsEntry", entry);
        let label = fields.text("key")?.unwrap_or_default();
        let version = fields.integer("value")?.unwrap_or(0);
        fields.finish()?;
        if version < 0 {
            let found = format!(", found {version}");
            return Err(ConfigurationError::Version {
                name: name.to_owned(),
                field: "version_labels",
                found,
            });
        }
        if labels.insert(label.clone(), version).is_some() {
            return Err(ConfigurationError::SameLabel { name: name.to_owned(), label });
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ModelServerConfig, ConfigurationError> {
        ModelServerConfig::parse(text.as_bytes(), None)
    }

    fn one(model: &str) -> Result<ModelConfig, ConfigurationError> {
        let text = format!("model_config_list {{ config {{ name: 'm' base_path: '/models/m' {model} }} }}");
        read(&text).map(|configuration| configuration.models[0].clone())
    }

    #[test]
    fn models_policies_and_labels_are_read() {
        let configuration = read(
            "model_config_list { config { name: 'b' base_path: '/models/b' model_platform: 'tensorflow' } \
             config: { name: 'a', base_path: '/models/a', model_version_policy { latest { num_versions: 3 } } } }",
        )
        .unwrap();
        let names: Vec<&str> = configuration.models.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(configuration.models[0], ModelConfig::latest("b", Path::new("/models/b")));
        assert_eq!(configuration.models[1].policy, latest_versions(3));
        assert_eq!(one("model_version_policy { all {} }").unwrap().policy, VersionPolicy::All);
        assert_eq!(one("model_version_policy {}").unwrap().policy, VersionPolicy::default());
        let model = one("model_version_policy { specific { versions: 42 versions: 43 } } \
             version_labels { key: 'stable' value: 42 } version_labels { key: 'canary' value: 43 }")
        .unwrap();
        assert_eq!(model.policy, VersionPolicy::Specific([42, 43].into()));
        assert_eq!(model.labels, [("canary".to_owned(), 43), ("stable".to_owned(), 42)].into());
        assert_eq!(read("").unwrap(), ModelServerConfig::default());
    }

    #[test]
    fn relative_paths_need_a_root() {
        let text = b"model_config_list { config { name: 'm' base_path: 'm' } }";
        let configuration = ModelServerConfig::parse(text, Some(Path::new("/models"))).unwrap();
        assert_eq!(configuration.models[0].base, Path::new("/models/m"));
        assert_eq!(ModelServerConfig::parse(text, None).unwrap_err().code(), "model-config-relative");
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        let twice = "config { name: 'm' base_path: '/m' }".repeat(2);
        for (text, code) in [
            (format!("model_config_list {{ {twice} }}"), "model-config-same-name"),
            ("model_config_list { config { base_path: '/m' } }".to_owned(), "model-config-missing"),
            ("model_config_list { config { name: 'm' } }".to_owned(), "model-config-missing"),
            ("model_config_list { config { name: 'a/b' base_path: '/m' } }".to_owned(), "model-config-name"),
            (
                "model_config_list { config { name: 'm' base_path: 's3://m' } }".to_owned(),
                "model-config-address",
            ),
            ("custom_model_config {}".to_owned(), "model-config-custom"),
            ("model_config_list {} custom_model_config {}".to_owned(), "text-conflict"),
            ("model_configs {}".to_owned(), "text-unknown-field"),
        ] {
            assert_eq!(read(&text).unwrap_err().code(), code, "{text}");
        }
        for (text, code) in [
            ("model_platform: 'caffe'", "model-config-platform"),
            ("model_version_policy { specific {} }", "model-config-version"),
            ("model_version_policy { specific { versions: -1 } }", "model-config-version"),
            ("model_version_policy { latest {} all {} }", "text-conflict"),
            ("version_labels { key: 'a' value: -1 }", "model-config-version"),
            ("version_labels { key: 'a' } version_labels { key: 'a' }", "model-config-same-label"),
        ] {
            assert_eq!(one(text).unwrap_err().code(), code, "{text}");
        }
    }
}
