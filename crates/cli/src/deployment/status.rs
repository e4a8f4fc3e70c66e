//! `adytum deployment status`: what an owner's directory has, and what is missing.

use std::{fs, path::PathBuf};

use adytum_api::names::ModelName;
use adytum_governance::manifest::Manifest;
use serde_json::{Value, json};

use super::plan::{Plan, PlannedModel};
use crate::{
    attested::read_genesis, model::next_version::versions, output, output::error_line,
    owner_directory::OwnerDirectory, ssl_config,
};

/// Say what an owner's directory has, which models have changed, and what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum deployment status --owner-directory owner
  adytum deployment status --owner-directory owner --json")]
pub(crate) struct Args {
    /// The owner's directory.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// Print the files of the models alone, which are not encrypted: one on each line.
    #[arg(long, conflicts_with = "json")]
    sources: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A model of the plan, as it is.
struct Model {
    name: ModelName,
    newest: Option<u64>,
    floor: u64,
    source: PathBuf,
    /// Why its file tells nothing, or whether it is another than the newest version.
    changed: Result<bool, String>,
}

/// The whole directory.
struct Status {
    plan: Plan,
    genesis: Option<String>,
    hosts: Vec<String>,
    models: Vec<Model>,
    broker_policy: bool,
    configuration: bool,
    manifest: Option<u64>,
    signed: bool,
    /// The sealed models that the plan does not have.
    further: Vec<String>,
    /// Each with what to do.
    missing: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let directory = OwnerDirectory::at(&args.owner_directory);
    let plan = Plan::require(&directory)?;
    if args.sources {
        return plan.models.iter().try_for_each(|model| output::line(model.source.display()));
    }
    let status = Status::of(&directory, plan)?;
    if args.json {
        return output::line(serde_json::to_string_pretty(&status.json())?);
    }
    status.print()
}

impl Status {
    fn of(directory: &OwnerDirectory, plan: Plan) -> anyhow::Result<Self> {
        let floors = directory.floors()?;
        let models = plan
            .models
            .iter()
            .map(|model| Model::of(directory, model, floors.get(&model.name).copied().unwrap_or(1)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let genesis = directory.public("genesis.toml");
        let crt = directory.public("server.crt");
        let manifest = directory.document()?;
        let mut status = Self {
            genesis: genesis
                .is_file()
                .then(|| read_genesis(&genesis))
                .transpose()?
                .map(|genesis| genesis.digest().to_string()),
            hosts: if crt.is_file() { ssl_config::names(&crt)? } else { Vec::new() },
            models,
            broker_policy: directory.public("broker-policy.toml").is_file(),
            configuration: directory.public("workload.toml").is_file(),
            signed: directory.has_signed_manifest(),
            manifest: manifest.as_ref().map(|document| document.version),
            further: further(directory, &plan),
            missing: Vec::new(),
            plan,
        };
        if let Some(document) = manifest {
            Manifest::parse(&document.to_toml()?)?;
            let named: Vec<&ModelName> = document.models.iter().map(|rule| &rule.name).collect();
            for model in &status.models {
                if !named.contains(&&model.name) {
                    status.missing.push(format!("the manifest does not name {}: build", model.name));
                }
            }
        }
        status.find_missing();
        Ok(status)
    }

    fn find_missing(&mut self) {
        let mut missing = Vec::new();
        if self.genesis.is_none() || self.hosts.is_empty() {
            missing.push("keys: build".to_owned());
        }
        for host in &self.plan.hosts {
            if !self.hosts.is_empty() && !self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host)) {
                missing.push(format!(
                    "the certificate is not for {host}: remove public/server.crt and private/secrets/ssl_config, then build"
                ));
            }
        }
        for model in &self.models {
            match &model.changed {
                Err(reason) => missing.push(format!("the model {}: {reason}", model.name)),
                Ok(true) if model.newest.is_some() => {
                    missing.push(format!("{} has changed and is not sealed yet: build", model.name));
                }
                Ok(true) => missing.push(format!("{} is not sealed yet: build", model.name)),
                Ok(false) => {}
            }
            if model.newest.is_some_and(|newest| newest < model.floor) {
                missing.push(format!(
                    "all versions of {} are retired: release a new one (adytum model release)",
                    model.name
                ));
            }
        }
        if !self.broker_policy || !self.configuration {
            missing
                .push("the broker is not identified: build with --broker-policy, or --simulate".to_owned());
        } else if !self.signed {
            missing
                .push("the manifest is not signed: build with --workload-policy, or --simulate".to_owned());
        }
        self.missing.extend(missing);
    }

    fn print(&self) -> anyhow::Result<()> {
        let none = || "none".to_owned();
        output::line(format_args!("workload     {}", self.plan.workload))?;
        output::line(format_args!("genesis      {}", self.genesis.clone().unwrap_or_else(none)))?;
        output::line(format_args!("certificate  for {}", self.hosts.join(", ")))?;
        for model in &self.models {
            let newest =
                model.newest.map_or_else(|| "not sealed".to_owned(), |newest| format!("version {newest}"));
            let changed = match model.changed {
                Ok(true) if model.newest.is_some() => ", its file has changed",
                Err(_) => ", its file can't be read",
                _ => "",
            };
            let name = &model.name;
            output::line(format_args!(
                "model        {name} {newest}, served from version {} on{changed}",
                model.floor
            ))?;
        }
        for name in &self.further {
            output::line(format_args!(
                "model        {name} is sealed, but not in deployment.toml: it is not allowed"
            ))?;
        }
        let manifest = self.manifest.map_or_else(none, |version| format!("version {version}"));
        let signed = if self.manifest.is_some() && !self.signed { ", not signed" } else { "" };
        output::line(format_args!("manifest     {manifest}{signed}"))?;
        for line in &self.missing {
            output::line(format_args!("missing      {line}"))?;
        }
        if self.missing.is_empty() {
            output::line("complete     give it to the broker: adytum provision, or deploy/provision.sh")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let model = |model: &Model| {
            json!({
                "name": model.name, "source": model.source.display().to_string(), "version": model.newest,
                "minimum_version": model.floor, "changed": model.changed.as_ref().ok(),
                "error": model.changed.as_ref().err(),
            })
        };
        json!({
            "workload": self.plan.workload, "genesis": self.genesis, "hosts": self.hosts,
            "models": self.models.iter().map(model).collect::<Vec<_>>(), "sealed_but_not_planned": self.further,
            "manifest": self.manifest, "signed": self.signed, "missing": self.missing,
            "complete": self.missing.is_empty(),
        })
    }
}

impl Model {
    fn of(directory: &OwnerDirectory, model: &PlannedModel, floor: u64) -> anyhow::Result<Self> {
        let newest = versions(&directory.model(model.name.as_str()))?.pop().map(|version| version.number);
        let changed = directory.unchanged(&model.name, &model.source).map(|version| version.is_none());
        let changed = match (changed, newest) {
            (Ok(_), None) if !model.source.exists() => {
                Err(format!("{} is not there", model.source.display()))
            }
            (changed, _) => changed.map_err(|error| error_line(&error)),
        };
        Ok(Self { name: model.name.clone(), newest, floor, source: model.source.clone(), changed })
    }
}

/// The models that have a directory and are not in the plan.
fn further(directory: &OwnerDirectory, plan: &Plan) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory.models()) else { return Vec::new() };
    let names = entries.flatten().filter(|entry| entry.path().is_dir());
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| !plan.models.iter().any(|model| model.name.as_str() == name)).collect();
    names.sort();
    names
}
