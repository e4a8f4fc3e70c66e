//! The flags that every command has.

use std::ffi::OsString;

use tracing_subscriber::EnvFilter;

use crate::output;

/// The flags that every command has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Flags {
    /// The context with the broker and what it must prove: see `adytum context`.
    #[arg(long, global = true, value_name = "NAME", env = "ADYTUM_CONTEXT")]
    context: Option<String>,
    /// Print JSON only: results on standard output, an error as one object on standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more on standard error: -v what is done, -vv details. RUST_LOG is stronger.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Flags {
    /// From here on output is as the flags say.
    pub(crate) fn apply(&self) {
        output::set_style(self.json, self.quiet);
    }

    /// The lowest level that is logged.
    pub(crate) fn filter(&self) -> EnvFilter {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, _) => "debug",
        };
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level))
    }
}

/// Does a command line that may be wrong ask for JSON? Words after `--` are another program's.
pub(crate) fn asks_for_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}
