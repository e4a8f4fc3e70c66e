//! The file of contexts.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{key_file, owner_directory::replace};

/// More than any file of contexts has, in bytes.
const MAXIMUM_LENGTH: u64 = 1024 * 1024;

/// Which broker, and what it must prove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) genesis: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_policy: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collateral: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heads: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trust_simulation: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) owners: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner_directory: Option<PathBuf>,
}

impl Context {
    /// Flags and what they are by default.
    pub(super) fn defaults(&self) -> Vec<(&'static str, Vec<OsString>)> {
        let path = |path: &Option<PathBuf>| path.iter().map(|path| path.clone().into_os_string()).collect();
        let text = |text: &Option<String>| text.iter().map(OsString::from).collect();
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.clone().into_os_string()).collect();
        let all: Vec<(&'static str, Vec<OsString>)> = vec![
            ("broker", text(&self.broker)),
            ("genesis", path(&self.genesis)),
            ("broker-policy", path(&self.broker_policy)),
            ("collateral", text(&self.collateral)),
            ("heads", path(&self.heads)),
            ("trust-simulation", paths(&self.trust_simulation)),
            ("owner", paths(&self.owners)),
            ("owner-directory", path(&self.owner_directory)),
        ];
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// The file's text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default, rename = "context", skip_serializing_if = "BTreeMap::is_empty")]
    contexts: BTreeMap<String, Context>,
}

/// The contexts of this user.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    document: Document,
}

/// A name is a word: it is a key of the file and an argument.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        bail_input!("{name:?} is no name of a context: give at most 64 letters, digits, '_', '-' and '.'");
    }
    Ok(())
}

impl Contexts {
    /// Those in adytum/contexts.toml in $XDG_CONFIG_HOME or ~/.config; none if it is missing.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("XDG_CONFIG_HOME")
            .or_else(|| Some(variable("HOME")?.join(".config")))
            .unwrap_or_default();
        Self::from_file(directory.join("adytum").join("contexts.toml"))
    }

    fn from_file(path: PathBuf) -> anyhow::Result<Self> {
        if fs::symlink_metadata(&path).is_err() {
            return Ok(Self { path, document: Document::default() });
        }
        let text = key_file::read_text(&path, MAXIMUM_LENGTH)?;
        let document = toml::from_str(&text)
            .with_context(|| format!("{} is no file of contexts; correct it or remove it", path.display()))?;
        Ok(Self { path, document })
    }

    pub(super) fn save(&self) -> anyhow::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("the directory {} can't be made", directory.display()))?;
        }
        replace(&self.path, toml::to_string(&self.document)?.as_bytes(), 0o600)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// The name of the one in use.
    pub(super) fn current(&self) -> Option<&str> {
        self.document.current.as_deref()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.document.contexts.iter().map(|(name, context)| (name.as_str(), context))
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<&Context> {
        self.document.contexts.get(name).ok_or_else(|| input_error!("{}", self.unknown(name)))
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.all().map(|(name, _)| name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!(
            "there is no context {name:?}; there is {known}. Add one with `adytum context add`, or name another with \
             --context or ADYTUM_CONTEXT"
        )
    }

    pub(super) fn add(&mut self, name: String, context: Context) {
        self.document.current.get_or_insert_with(|| name.clone());
        self.document.contexts.insert(name, context);
    }

    pub(super) fn set_current(&mut self, name: &str) -> anyhow::Result<()> {
        self.get(name)?;
        self.document.current = Some(name.to_owned());
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.get(name)?;
        self.document.contexts.remove(name);
        if self.current() == Some(name) {
            self.document.current = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/contexts.toml");
        let mut contexts = Contexts::from_file(path.clone()).unwrap();
        let context = Context { broker: Some("a:1".to_owned()), ..Context::default() };
        contexts.add("one".to_owned(), context.clone());
        contexts.add("two".to_owned(), Context { genesis: Some("/g".into()), ..Context::default() });
        contexts.save().unwrap();
        let mut read = Contexts::from_file(path.clone()).unwrap();
        assert_eq!((read.current(), read.get("one").unwrap()), (Some("one"), &context));
        read.set_current("two").unwrap();
        read.remove("two").unwrap();
        assert_eq!(read.current(), None);
        let error = read.get("two").unwrap_err().to_string();
        assert!(error.contains("there is one."), "{error}");
        fs::write(&path, "nonsense = 1").unwrap();
        assert!(Contexts::from_file(path).unwrap_err().to_string().contains("correct it or remove it"));
    }

    #[test]
    fn a_name_is_a_word() {
        for good in ["prod", "a.b_c-1"] {
            check_name(good).unwrap();
        }
        for bad in ["", "a b", "../x", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
