//! How the logs of init look.

use std::io;

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags about logs.
#[derive(Clone, Debug, Args)]
pub struct LogArguments {
    /// The form of log lines; RUST_LOG says how much is logged
    #[arg(long, value_enum, default_value_t, env = "ADYTUM_LOG_FORMAT")]
    pub log_format: LogFormat,
}

impl LogArguments {
    /// Sends logs to standard error, from level info unless `RUST_LOG` says
    /// otherwise. Later calls do nothing.
    pub fn start(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            // On a terminal only, and not where NO_COLOR is set.
            .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
            .with_writer(io::stderr);
        // An error means that a subscriber is there already.
        let _ = match self.log_format {
            LogFormat::Text => logs.with_target(false).try_init(),
            LogFormat::Json => logs.json().try_init(),
        };
    }
}
