//! `adytum model list`: the sealed versions, and the replicas that have them.

use std::{fs, path::PathBuf};

use adytum_api::names::ModelName;
use serde_json::json;

use super::{
    next_version::versions,
    roll_out::{Answer, Servers},
};
use crate::{output, owner_directory::OwnerDirectory};

/// List the sealed versions of an owner's models, and with --server what replicas have.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum model list --owner-directory .adytum
  adytum model list --owner-directory .adytum --model iris --server localhost:8501 --json
  adytum model list --owner-directory .adytum --model iris --store s3://models/iris")]
pub(crate) struct Args {
    /// The owner's directory.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
    /// This model only.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// The versions of that model in an object store, by its address as for `model release --to`.
    #[arg(long, value_name = "ADDRESS", requires = "model")]
    store: Option<String>,
    #[command(flatten)]
    servers: Servers,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let directory = OwnerDirectory::at(&args.owner_directory);
    let floors = directory.floors()?;
    let models = match &args.model {
        Some(model) => vec![model.clone()],
        None => names(&directory)?,
    };
    let crt = Some(directory.public("server.crt")).filter(|crt| crt.is_file());
    let mut all = Vec::new();
    for model in models {
        let floor = floors.get(&model).copied();
        let answers = args.servers.ask(model.as_str(), crt.clone()).await;
        let sealed = match &args.store {
            Some(address) => in_store(address).await?,
            None => versions(&directory.model(model.as_str()))?,
        };
        if output::is_json() {
            let version = |version: &super::next_version::Version| {
                let statement = &version.statement;
                json!({ "version": version.number, "size": statement.size, "sha256": statement.sha256,
                        "signer": statement.signer, "retired": floor.is_some_and(|floor| version.number < floor) })
            };
            let server = |answer: &Answer| match &answer.versions {
                Ok(versions) => {
                    let version = |one: &adytum_client::VersionStatus| json!({ "version": one.version, "state": one.state.name(), "reason": one.reason });
                    json!({ "server": answer.server.to_string(), "versions": versions.iter().map(version).collect::<Vec<_>>() })
                }
                Err(error) => json!({ "server": answer.server.to_string(), "error": error.to_string() }),
            };
            all.push(json!({
                "model": model, "minimum_version": floor,
                "sealed": sealed.iter().map(version).collect::<Vec<_>>(),
                "servers": answers.iter().map(server).collect::<Vec<_>>(),
            }));
            continue;
        }
        for version in &sealed {
            let retired = if floor.is_some_and(|floor| version.number < floor) { "  retired" } else { "" };
            let statement = &version.statement;
            output::line(format_args!(
                "{model}  version {}  {} bytes  sha256 {}{retired}",
                version.number, statement.size, statement.sha256
            ))?;
        }
        if sealed.is_empty() {
            output::line(format_args!("{model}  no sealed version"))?;
        }
        for Answer { server, versions } in answers {
            match versions {
                Ok(versions) => {
                    let words = versions.iter().map(|one| match &one.reason {
                        Some(reason) => format!("version {} {}: {reason}", one.version, one.state),
                        None => format!("version {} {}", one.version, one.state),
                    });
                    let words = words.collect::<Vec<_>>().join(", ");
                    output::line(format_args!("{model}  {server}  {words}"))?;
                }
                Err(error) => output::line(format_args!("{model}  {error}"))?,
            }
        }
    }
    if output::is_json() {
        output::line(serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

#[cfg(feature = "object-stores")]
async fn in_store(address: &str) -> anyhow::Result<Vec<super::next_version::Version>> {
    use adytum_fetch::{Environment, Source, published};

    let there = published(&Source::open(address, &Environment::of_process())?).await?;
    let version = |(number, statement)| super::next_version::Version { number, statement };
    Ok(there.versions.into_iter().map(version).collect())
}

#[cfg(not(feature = "object-stores"))]
async fn in_store(_: &str) -> anyhow::Result<Vec<super::next_version::Version>> {
    bail_input!("this adytum was built without object stores")
}

/// The models that have a directory, in order.
fn names(directory: &OwnerDirectory) -> anyhow::Result<Vec<ModelName>> {
    use anyhow::Context as _;
    let models = directory.models();
    let entries = fs::read_dir(&models).with_context(|| format!("{} can't be read", models.display()))?;
    let mut names: Vec<ModelName> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    Ok(names)
}
