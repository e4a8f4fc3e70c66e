//! `adytum model pull`: versions of a model, from an object store into a model server's
//! directory.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use adytum_fetch::{Environment, Event, Limits, Pauses, PullError, Puller, Round, Selection, Source, watch};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{interrupt, output, predict::target::duration, progress};

/// Fetch a model's versions from an object store into the directory of a model server.
///
/// A version appears in the directory at once and whole. Credentials come from the environment, as
/// object stores' own tools read them: AWS_*, AZURE_*, GOOGLE_*. Sealed models need no trusted
/// fetcher: the server verifies them, so this command needs no TEE.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory above the versions: s3://BUCKET/PATH, az://CONTAINER/PATH, gs://BUCKET/PATH,
    /// file:///PATH, https://HOST/PATH/ (WebDAV); or one version, https://HOST/PATH/VERSION.
    source: String,
    /// The base path of the model; made if it is not there.
    directory: PathBuf,
    /// Which versions: latest, latest:COUNT, all, or numbers with commas between them.
    #[arg(long, value_name = "VERSIONS", default_value = "latest")]
    versions: Selection,
    /// Look again and again, and fetch new versions.
    #[arg(long)]
    watch: bool,
    /// The time between looks, as 30s or 5m. After failures it doubles, up to 5m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, requires = "watch")]
    interval: Duration,
    /// Remove versions that the source no longer has, but never the last model.
    #[arg(long)]
    delete: bool,
    /// The most files of a version.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    max_files: usize,
    /// The most bytes of a version.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    max_bytes: u64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let puller = Puller {
        source: Source::open(&args.source, &Environment::of_process())?,
        directory: args.directory,
        selection: args.versions,
        limits: Limits { files: args.max_files, bytes: args.max_bytes },
        delete: args.delete,
        retry_pause: Duration::from_secs(1),
    };
    if args.watch {
        keep_watching(&puller, args.interval).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(&puller.source);
    let mut show = |event| report.show(event);
    let round = tokio::select! {
        round = puller.round(&mut show) => round?,
        interrupted = interrupt::arrives() => {
            interrupted?;
            anyhow::bail!("interrupted; nothing that is half fetched was left behind");
        }
    };
    report.written?;
    once(round, &puller.selection)
}

/// What one look came to. With `latest`, an older version may take the place of one that
/// can't be fetched.
fn once(mut round: Round, selection: &Selection) -> anyhow::Result<ExitCode> {
    let replaced = matches!(selection, Selection::Latest(count) if round.present.len() >= count.get());
    let fatal = if replaced { None } else { round.failed.pop_last() };
    for (_, error) in round.failed {
        warn(&error);
    }
    match fatal {
        None => Ok(ExitCode::SUCCESS),
        Some((_, error)) => Err(error.into()),
    }
}

/// Looks at the source until a signal ends this process. That is its normal end.
async fn keep_watching(puller: &Puller, interval: Duration) -> anyhow::Result<()> {
    let mut report = Report::new(&puller.source);
    let mut said = Vec::new();
    let mut looked = |outcome: Result<Round, PullError>| {
        let errors: Vec<PullError> = match outcome {
            Ok(round) => round.failed.into_values().collect(),
            Err(error) => vec![error],
        };
        let now: Vec<String> = errors.iter().map(ToString::to_string).collect();
        if now != said {
            errors.iter().for_each(warn);
            if now.is_empty() {
                output::note(format_args!("adytum: {} can be fetched again", puller.source));
            }
            said = now;
        }
    };
    let mut show = |event| report.show(event);
    tokio::select! {
        never = watch(puller, Pauses::new(interval), &mut show, &mut looked) => match never {},
        interrupted = interrupt::arrives() => interrupted?,
    }
    report.written
}

/// Prints an error that does not end the command, and the next step.
fn warn(error: &PullError) {
    let next_step = adytum_codes::next_step(error.code());
    // Silence was asked for notes, not for errors.
    if output::is_json() {
        eprintln!("{}", json!({ "code": error.code(), "message": error.to_string(), "do": next_step }));
        return;
    }
    eprintln!("adytum: {error}");
    if !next_step.is_empty() {
        eprintln!("what to do: {} (adytum explain {})", next_step.trim_end_matches('.'), error.code());
    }
}

/// Shows what goes on: results on standard output, progress on a terminal.
struct Report {
    source: String,
    authenticated: bool,
    bar: Option<ProgressBar>,
    /// Versions of which was said that the source has other ones.
    differing: Vec<u64>,
    written: anyhow::Result<()>,
}

impl Report {
    fn new(source: &Source) -> Self {
        Self {
            source: source.to_string(),
            authenticated: source.is_authenticated(),
            bar: None,
            differing: Vec::new(),
            written: Ok(()),
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Begins { bytes, .. } => self.bar = Some(progress::bytes(bytes, "fetching")),
            Event::Bytes(count) => {
                if let Some(bar) = &self.bar {
                    bar.inc(count);
                }
            }
            Event::Added { version, files, bytes, sealed } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                let kind = if sealed { "sealed" } else { "NOT SEALED" };
                self.line(&format!("version {version}: {files} files, {bytes} bytes, {kind}"));
                if !sealed {
                    let way = if self.authenticated { "" } else { ", and on the way from it" };
                    output::note(format_args!(
                        "adytum: version {version} is not sealed: the model can be read and changed at {}{way}, and \
                         by everybody who can write to the directory; `adytum seal` seals it",
                        self.source
                    ));
                }
            }
            Event::Removed { version } => self.line(&format!("version {version}: removed")),
            Event::Kept { version } if !self.differing.contains(&version) => {
                self.differing.push(version);
                output::note(format_args!(
                    "adytum: version {version} is kept though the source no longer has it: it is the last model"
                ));
            }
            Event::Differs { version } if !self.differing.contains(&version) => {
                self.differing.push(version);
                output::note(format_args!(
                    "adytum: version {version} is another one at {} than here; versions are not replaced, so give the \
                     new one a new number",
                    self.source
                ));
            }
            Event::Kept { .. } | Event::Differs { .. } => {}
        }
    }

    fn line(&mut self, text: &str) {
        if self.written.is_ok() {
            self.written = output::step(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, num::NonZeroUsize};

    use super::*;

    fn round(present: &[u64], failed: &[u64]) -> Round {
        let missing = |version| (version, PullError::VersionMissing { version });
        Round {
            present: present.iter().copied().collect(),
            failed: failed.iter().copied().map(missing).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn an_older_version_takes_the_place_of_the_latest_only() {
        let latest = Selection::Latest(NonZeroUsize::MIN);
        assert!(once(round(&[2], &[3]), &latest).is_ok());
        assert!(once(round(&[], &[2, 3]), &latest).unwrap_err().to_string().contains("version 3"));
        assert!(once(round(&[1, 2], &[3]), &Selection::All).is_err());
        assert!(once(round(&[1, 2], &[]), &Selection::All).is_ok());
    }
}
