//! `adytum context`: a broker and what it must prove, by one name.
//!
//! A context gives defaults to flags that a command line and the environment leave out. It
//! is no secret, but its file belongs to the user alone: another writer would choose the broker.

mod file;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use adytum_api::address::parse_address;
use clap::Subcommand;
use serde_json::json;

pub(crate) use self::file::{Context, Contexts};
use crate::output;

/// Names for brokers and for what they must prove.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Add a context, or replace the one of that name. The first one is used from now on.
    #[command(after_help = "Example:
  adytum context add prod --broker kms.example.com:5000 --genesis genesis.toml --broker-policy policy.toml")]
    Add(AddArgs),
    /// List the contexts; the one in use has a star.
    List,
    /// Use a context where neither --context nor ADYTUM_CONTEXT names another.
    #[command(after_help = "Example:\n  adytum context use prod")]
    Use { name: String },
    /// Print what a context says; by default the one in use.
    Show { name: Option<String> },
    /// Remove a context. Files that it names stay.
    Remove { name: String },
}

/// What a context says.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    name: String,
    /// The broker's address.
    #[arg(long = "broker", value_name = "HOST:PORT", value_parser = parse_address)]
    broker: Option<String>,
    /// The genesis document of the expected broker.
    #[arg(long = "genesis", value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Which code it may be: a policy in TOML.
    #[arg(long = "broker-policy", value_name = "FILE")]
    broker_policy: Option<PathBuf>,
    /// A PCCS (URL) or a directory.
    #[arg(long = "collateral", value_name = "URL|DIRECTORY")]
    collateral: Option<String>,
    /// Where the highest state seen of the broker is remembered.
    #[arg(long = "heads", value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Trust this simulated platform, which protects nothing; may be given several times.
    #[cfg(feature = "simulation")]
    #[arg(long = "trust-simulation", value_name = "ROOT.pem")]
    trust_simulation: Vec<PathBuf>,
    /// The owner's key; may be given several times.
    #[arg(long = "owner", value_name = "FILE")]
    owners: Vec<PathBuf>,
    /// The owner's directory.
    #[arg(long = "owner-directory", value_name = "DIRECTORY")]
    owner_directory: Option<PathBuf>,
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    match action {
        Action::Add(args) => {
            let name = args.name.clone();
            file::check_name(&name)?;
            contexts.add(name.clone(), args.context()?);
            contexts.save()?;
            output::result(
                &json!({ "added": name, "file": contexts.path() }),
                format_args!("{name}: {}", contexts.path().display()),
            )
        }
        Action::List => {
            if output::is_json() {
                return output::line(serde_json::to_string_pretty(contexts.document())?);
            }
            for (name, context) in contexts.all() {
                let star = if contexts.current() == Some(name) { "*" } else { " " };
                let broker = context.broker.as_deref().unwrap_or("no broker");
                output::line(format_args!("{star} {name}  {broker}"))?;
            }
            Ok(())
        }
        Action::Use { name } => {
            contexts.set_current(&name)?;
            contexts.save()?;
            output::result(&json!({ "current": name }), format_args!("{name} is used from now on"))
        }
        Action::Show { name } => {
            let Some(name) = name.as_deref().or(contexts.current()) else {
                bail_input!("no context is in use; name one, or choose one with `adytum context use NAME`");
            };
            let context = contexts.get(name)?;
            match output::is_json() {
                true => output::line(serde_json::to_string_pretty(context)?),
                false => output::text(&toml::to_string(context)?),
            }
        }
        Action::Remove { name } => {
            contexts.remove(&name)?;
            contexts.save()?;
            output::result(&json!({ "removed": name }), format_args!("{name} is removed"))
        }
    }
}

impl AddArgs {
    /// With absolute paths: a context is used in any directory.
    fn context(self) -> anyhow::Result<Context> {
        let absolute = |path: PathBuf| -> anyhow::Result<PathBuf> {
            if !path.exists() {
                bail_input!("{} is not there; give the path of a file that is", path.display());
            }
            Ok(std::path::absolute(path)?)
        };
        let all = |paths: Vec<PathBuf>| paths.into_iter().map(absolute).collect::<anyhow::Result<Vec<_>>>();
        let collateral = match self.collateral {
            Some(place) if !place.contains("://") => Some(absolute(place.into())?.display().to_string()),
            other => other,
        };
        Ok(Context {
            broker: self.broker,
            genesis: self.genesis.map(absolute).transpose()?,
            broker_policy: self.broker_policy.map(absolute).transpose()?,
            collateral,
            // It is made when the first head is remembered.
            heads: self.heads.map(std::path::absolute).transpose()?,
            #[cfg(feature = "simulation")]
            trust_simulation: all(self.trust_simulation)?,
            #[cfg(not(feature = "simulation"))]
            trust_simulation: Vec::new(),
            owners: all(self.owners)?,
            owner_directory: self.owner_directory.map(absolute).transpose()?,
        })
    }
}

/// The context that a command line or the environment names, or that is in use.
pub(crate) fn chosen(words: &[OsString]) -> anyhow::Result<Option<Context>> {
    // Before the command line is parsed: it is parsed with what the context says. Words after
    // `--` are another program's.
    let mut flags = words.iter().take_while(|word| *word != "--").map(|word| word.to_string_lossy());
    let mut named = None;
    while let Some(word) = flags.next() {
        match word.strip_prefix("--context") {
            Some("") => named = flags.next().map(std::borrow::Cow::into_owned),
            Some(rest) if rest.starts_with('=') => named = rest.strip_prefix('=').map(str::to_owned),
            _ => {}
        }
    }
    let from_environment = || std::env::var("ADYTUM_CONTEXT").ok().filter(|name| !name.is_empty());
    let named = named.or_else(from_environment);
    // A file that is damaged must not stop the command that mends it.
    let contexts = match Contexts::load() {
        Err(_) if named.is_none() && words.get(1).is_some_and(|word| word == "context") => return Ok(None),
        contexts => contexts?,
    };
    match named.as_deref().or(contexts.current()) {
        Some(name) => Ok(Some(contexts.get(name)?.clone())),
        None => Ok(None),
    }
}

/// Gives the flags of all commands the defaults that a context has.
pub(crate) fn apply(command: clap::Command, context: &Context) -> clap::Command {
    // They live as long as the process, like the words of its source.
    let leak = |value: OsString| -> &'static OsStr { Box::leak(value.into_boxed_os_str()) };
    let defaults = context.defaults().into_iter();
    let defaults: Vec<_> =
        defaults.map(|(long, values)| (long, values.into_iter().map(leak).collect())).collect();
    with_defaults(command, &defaults)
}

/// Commands in which the flags of these names are something else.
const OTHERS: [&str; 4] = ["measure", "genesis", "context", "tied"];

fn with_defaults(mut command: clap::Command, defaults: &[(&str, Vec<&'static OsStr>)]) -> clap::Command {
    if OTHERS.contains(&command.get_name()) {
        return command;
    }
    for (long, values) in defaults {
        let ids: Vec<clap::Id> = command
            .get_arguments()
            .filter(|argument| argument.get_long() == Some(*long) || is_address(argument, long))
            .map(|argument| argument.get_id().clone())
            .collect();
        for id in ids {
            let values = values.clone();
            command = command.mut_arg(id, |argument| argument.required(false).default_values(values));
        }
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| with_defaults(sub, defaults));
    }
    command
}

/// The broker's address where it is no flag.
fn is_address(argument: &clap::Arg, long: &str) -> bool {
    long == "broker" && argument.is_positional() && argument.get_id() == "broker"
}
