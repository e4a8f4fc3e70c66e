//! `adytum bench`: measures a served model, as Occlum's
//! benchmark does.

use std::{io::Write, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use adytum_client::{
    bench::{self, Amount, Observer, Plan},
    image,
};
use anyhow::{Result, bail};

use crate::{
    attest::Verified,
    output,
    predict::target::{Target, duration},
    progress,
};

/// Arguments of `adytum bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The JPEG or PNG image to send.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Tasks at the same time, each with a connection of its own.
    #[arg(long, default_value = "8", value_name = "COUNT")]
    cnum: NonZeroUsize,
    /// Requests of each task.
    #[arg(long = "loop", default_value = "100", value_name = "COUNT", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    loops: u64,
    /// Measure for this time instead, as 10s or 2m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Requests of each task before the measurement.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    warmup: u64,
}

/// Runs it. Failed requests are counted, and make the command fail in the end.
pub(crate) async fn run(args: Args) -> Result<()> {
    let picture = image::read(&args.image)?;
    let options = args.target.served.options()?;
    let (client, input) = args.target.connect(&options).await?;
    let request = args.target.served.model().request(&input, input.tensor(&picture)?);
    drop(client);

    let observer: Observer = if output::is_quiet() || output::is_json() {
        Arc::new(|_| {})
    } else {
        Arc::new(|query| {
            // When nobody reads on, the summary's line will say so.
            let _ = writeln!(std::io::stdout().lock(), "{query}");
        })
    };
    let plan = Plan {
        tasks: args.cnum,
        amount: args.duration.map_or(Amount::Requests(args.loops), Amount::Duration),
        warm_up: args.warmup,
    };
    // Without a line for each request it would look like a standstill.
    let working = (output::is_quiet() || output::is_json()).then(|| progress::working("measuring"));
    let report = bench::run(&args.target.served.server, &options, &request, &plan, observer).await?;
    drop(working);
    if let Some(replica) = options.attestation.as_ref().and_then(|attestation| attestation.last())
        && !output::is_json()
    {
        Verified::all(&replica).iter().for_each(output::note);
    }
    if output::is_json() {
        output::line(serde_json::to_string(&report)?)?;
    } else {
        output::line(&report)?;
    }
    if report.failed > 0 {
        bail!(
            "{} of {} requests failed; see the errors above",
            report.failed,
            report.failed + report.answered
        );
    }
    Ok(())
}
