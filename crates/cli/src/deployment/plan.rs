//! `deployment.toml`: what an owner's directory is for.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use adytum_api::names::{ModelName, WorkloadName};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::owner_directory::{OwnerDirectory, read_if_there, replace};

/// The file's name.
pub(super) const FILE: &str = "deployment.toml";
const FORMAT: &str = "adytum deployment v1";

/// The workload, the models that it serves, and the names that clients ask it by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    format: String,
    pub(crate) workload: WorkloadName,
    /// Names and addresses in the server's certificate.
    pub(crate) hosts: Vec<String>,
    #[serde(rename = "model")]
    pub(crate) models: Vec<PlannedModel>,
}

/// `[[model]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedModel {
    pub(crate) name: ModelName,
    /// An ONNX file, a SavedModel, or a directory that holds one. In the file, a path that is
    /// not absolute is below the owner's directory.
    pub(crate) source: PathBuf,
    /// The number of its first version.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) first_version: u64,
}

fn one() -> u64 {
    1
}

fn is_one(version: &u64) -> bool {
    *version == 1
}

impl Plan {
    /// A deployment of these models.
    pub(crate) fn new(workload: WorkloadName, hosts: Vec<String>, models: Vec<PlannedModel>) -> Self {
        let mut plan = Self { format: FORMAT.to_owned(), workload, hosts: Vec::new(), models: Vec::new() };
        plan.add(hosts, models);
        plan
    }

    /// Adds names and models. A model that is there already gets this source.
    pub(crate) fn add(&mut self, hosts: Vec<String>, models: Vec<PlannedModel>) {
        for host in hosts {
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        for model in models {
            match self.models.iter_mut().find(|known| known.name == model.name) {
                Some(known) => known.source = model.source,
                None => self.models.push(model),
            }
        }
        self.models.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// The models' names, in order.
    pub(crate) fn names(&self) -> Vec<ModelName> {
        self.models.iter().map(|model| model.name.clone()).collect()
    }

    /// From its file; `None` if there is none. The sources are absolute paths.
    pub(crate) fn load(directory: &OwnerDirectory) -> anyhow::Result<Option<Self>> {
        let file = directory.path().join(FILE);
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        let mut plan: Self = toml::from_str(&text).with_context(|| file.display().to_string())?;
        plan.check().with_context(|| file.display().to_string())?;
        let base = base(directory)?;
        for model in &mut plan.models {
            model.source = base.join(&model.source);
        }
        Ok(Some(plan))
    }

    /// From its file, which must be there.
    pub(crate) fn require(directory: &OwnerDirectory) -> anyhow::Result<Self> {
        Self::load(directory)?.ok_or_else(|| Self::missing(directory))
    }

    /// Is its file there? It can be read once the directory is locked.
    pub(crate) fn require_file(directory: &OwnerDirectory) -> anyhow::Result<()> {
        match directory.path().join(FILE).exists() {
            true => Ok(()),
            false => Err(Self::missing(directory)),
        }
    }

    fn missing(directory: &OwnerDirectory) -> anyhow::Error {
        let file = directory.path().join(FILE);
        input_error!("{} is not there; make it with `adytum deployment new`", file.display())
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.format != FORMAT {
            bail_input!("the format is {:?}; write {FORMAT:?}, which this program reads", self.format);
        }
        if self.models.is_empty() {
            bail_input!("there is no [[model]]; add one with `adytum deployment build --model NAME=FILE`");
        }
        let mut seen = BTreeSet::new();
        for model in &self.models {
            if !seen.insert(&model.name) {
                bail_input!("there are two [[model]] named {}; leave one out", model.name);
            }
            if model.first_version == 0 {
                bail_input!("first_version of {} is 0; give 1 or more", model.name);
            }
        }
        Ok(())
    }

    /// Writes the file.
    pub(crate) fn save(&self, directory: &OwnerDirectory) -> anyhow::Result<()> {
        let base = base(directory)?;
        let mut written = self.clone();
        for model in &mut written.models {
            if let Some(inside) = below(&base, &model.source) {
                model.source = inside;
            }
        }
        let text = toml::to_string_pretty(&written).context("deployment.toml")?;
        replace(&directory.path().join(FILE), text.as_bytes(), 0o644)
    }
}

/// The directory, from which its files are named.
fn base(directory: &OwnerDirectory) -> anyhow::Result<PathBuf> {
    directory.path().canonicalize().with_context(|| directory.path().display().to_string())
}

/// The path from a directory to a file in it, which may be missing.
fn below(base: &Path, source: &Path) -> Option<PathBuf> {
    let found = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    found.strip_prefix(base).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(&temporary.path().join("owner")).unwrap();
        fs::create_dir(directory.path().join("plain")).unwrap();
        let (inside, outside) = (directory.path().join("plain/a.onnx"), temporary.path().join("b.onnx"));
        for file in [&inside, &outside] {
            fs::write(file, "").unwrap();
        }
        let model = |name: &str, source: &Path, first_version| PlannedModel {
            name: name.parse().unwrap(),
            source: source.canonicalize().unwrap(),
            first_version,
        };
        assert_eq!(Plan::load(&directory).unwrap(), None);
        let models = vec![model("b", &outside, 123), model("a", &inside, 1)];
        let mut plan = Plan::new("serving".parse().unwrap(), vec!["localhost".to_owned()], models);
        plan.save(&directory).unwrap();
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(text.contains("source = \"plain/a.onnx\""), "{text}");
        let read = Plan::require(&directory).unwrap();
        assert_eq!((read.names(), &read.models[1]), (plan.names(), &plan.models[1]));
        // Another source of a model that is there.
        plan.add(vec!["localhost".to_owned()], vec![model("b", &inside, 1)]);
        assert_eq!((plan.hosts.len(), plan.models[1].first_version), (1, 123));
        assert!(plan.models[1].source.ends_with("plain/a.onnx"));
    }

    /// A source may be gone: the next run must still look for it where it was.
    #[test]
    fn a_missing_source_keeps_its_path() {
        let temporary = tempfile::tempdir().unwrap();
        let real = temporary.path().join("real");
        let link = temporary.path().join("owner");
        OwnerDirectory::create(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // As a person names it: by a link.
        let directory = OwnerDirectory::at(&link);
        let sources = ["plain/a.onnx", "../b.onnx", "/nowhere/c.onnx"];
        let mut text = format!("format = \"{FORMAT}\"\nworkload = \"w\"\nhosts = []\n");
        for (source, name) in sources.iter().zip(["a", "b", "c"]) {
            text.push_str(&format!("[[model]]\nname = \"{name}\"\nsource = \"{source}\"\n"));
        }
        fs::write(link.join(FILE), text).unwrap();
        let first = Plan::require(&directory).unwrap();
        assert_eq!(first.models[0].source, real.canonicalize().unwrap().join("plain/a.onnx"));
        for _ in 0..2 {
            let read = Plan::require(&directory).unwrap();
            read.save(&directory).unwrap();
            assert_eq!(Plan::require(&directory).unwrap(), first);
            let text = fs::read_to_string(link.join(FILE)).unwrap();
            for source in sources {
                assert!(text.contains(&format!("source = \"{source}\"")), "{text}");
            }
        }
    }

    #[test]
    fn a_wrong_plan_is_refused_with_the_reason() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(temporary.path()).unwrap();
        let model = "[[model]]\nname = \"a\"\nsource = \"a.onnx\"\n";
        let head = format!("format = \"{FORMAT}\"\nworkload = \"w\"\nhosts = []\n");
        for (text, expected) in [
            (format!("{head}model = []\n"), "no [[model]]"),
            (format!("{head}{model}{model}"), "two [[model]] named a"),
            (format!("{head}{model}first_version = 0\n"), "give 1 or more"),
            (format!("{head}{model}").replace("v1", "v2"), "write \"adytum deployment v1\""),
            (format!("{head}{model}more = 1\n"), "unknown field"),
            (format!("{head}{model}").replace("\"w\"", "\"a b\""), "workload"),
        ] {
            fs::write(directory.path().join(FILE), &text).unwrap();
            let error = format!("{:#}", Plan::load(&directory).unwrap_err());
            assert!(error.contains(expected) && error.contains(FILE), "{text}: {error}");
        }
        fs::remove_file(directory.path().join(FILE)).unwrap();
        assert!(Plan::require(&directory).unwrap_err().to_string().contains("adytum deployment new"));
    }
}
