//! Logs: their form, and what is in them, which can change while the broker runs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, ensure};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::arguments::LogFormat;

/// The longest filter, in bytes.
const MAXIMUM_LENGTH: usize = 4096;

/// The filter in force.
pub(crate) struct Logs {
    handle: reload::Handle<EnvFilter, Registry>,
    file: Option<PathBuf>,
}

impl Logs {
    /// Starts to log what the file says, or else `RUST_LOG`.
    pub(crate) fn start(format: LogFormat, file: Option<&Path>) -> anyhow::Result<Self> {
        let filter = match file {
            Some(file) => read(file)?,
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        };
        let (filter, handle) = reload::Layer::new(filter);
        // On a terminal only, and not where NO_COLOR is set.
        let colours = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(colours);
        let lines = match format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self { handle, file: file.map(Path::to_owned) })
    }

    /// Reads the file again; `false` without one. After an error the previous
    /// filter stays in force.
    pub(crate) fn reload(&self) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let filter = read(file)?;
        self.handle.reload(filter).context("the log filter can't be replaced")?;
        Ok(true)
    }
}

fn read(path: &Path) -> anyhow::Result<EnvFilter> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAXIMUM_LENGTH as u64 + 1).read_to_string(&mut text))
        .with_context(|| format!("{} can't be read", path.display()))?;
    ensure!(
        text.len() <= MAXIMUM_LENGTH,
        "{} has more than {MAXIMUM_LENGTH} bytes; write one filter, such as info",
        path.display()
    );
    let text = text.trim();
    ensure!(!text.is_empty(), "{} is empty; write a filter, such as info", path.display());
    EnvFilter::try_new(text)
        .with_context(|| format!("{} holds no log filter, such as info,adytum_broker=debug", path.display()))
}
