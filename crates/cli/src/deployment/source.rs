//! A model on the command line: `NAME=FILE`, `NAME@VERSION=FILE`, or the file alone.

use std::{path::PathBuf, str::FromStr};

use adytum_api::names::ModelName;
use anyhow::Context as _;

use super::plan::PlannedModel;
use crate::model::name::name_of;

/// A model, and where it is read from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelArgument {
    name: Option<ModelName>,
    first_version: u64,
    path: PathBuf,
}

impl FromStr for ModelArgument {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // A path may have the sign too, after a slash.
        let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
        let Some((head, path)) = named else {
            return Ok(Self { name: None, first_version: 1, path: text.into() });
        };
        if path.is_empty() {
            bail_input!("no file follows {head}=; give NAME=FILE");
        }
        let (name, version) = match head.split_once('@') {
            Some((name, version)) => (name, version.parse().context("the version after @")?),
            None => (head, 1),
        };
        if version == 0 {
            bail_input!("versions begin with 1; give NAME@1=FILE or more");
        }
        Ok(Self { name: Some(name.parse()?), first_version: version, path: path.into() })
    }
}

impl ModelArgument {
    /// The model, if its file is there.
    pub(super) fn planned(&self) -> anyhow::Result<PlannedModel> {
        let source = self.path.canonicalize();
        let source = source.with_context(|| format!("{} can't be read", self.path.display()))?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&source)
                .with_context(|| format!("no name can be made of {}; give NAME=FILE", self.path.display()))?,
        };
        Ok(PlannedModel { name, source, first_version: self.first_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_file_with_a_name_and_a_first_version() {
        let argument = |name: Option<&str>, first_version, path: &str| ModelArgument {
            name: name.map(|name| name.parse().unwrap()),
            first_version,
            path: path.into(),
        };
        for (text, expected) in [
            ("iris.onnx", argument(None, 1, "iris.onnx")),
            ("iris=a/b.onnx", argument(Some("iris"), 1, "a/b.onnx")),
            ("iris@12=b=c.onnx", argument(Some("iris"), 12, "b=c.onnx")),
            ("./a=b.onnx", argument(None, 1, "./a=b.onnx")),
        ] {
            assert_eq!(text.parse::<ModelArgument>().unwrap(), expected);
        }
        for wrong in ["iris=", "=a.onnx", "iris@0=a.onnx", "iris@x=a.onnx", "a b=a.onnx"] {
            assert!(wrong.parse::<ModelArgument>().is_err(), "{wrong}");
        }
    }
}
