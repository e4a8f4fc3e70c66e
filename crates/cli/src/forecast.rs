//! `adytum broker forecast`: what a broker will refuse.

use adytum_api::broker::{Forecast, ForecastSource, ForeseenRefusal, GetForecast, command};
use adytum_evidence::clock::{Day, UnixSeconds};
use anyhow::Context as _;
use serde_json::json;

use crate::{attested::Access, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let answer = args.access.execute(command::Command::GetForecast(GetForecast {})).await?;
    let forecast = answer.forecast.context("the broker answered without a forecast")?;
    if output::is_json() {
        return output::line(as_json(&forecast));
    }
    for line in lines(&forecast) {
        output::line(line)?;
    }
    Ok(())
}

fn day(seconds: u64) -> Day {
    Day::of(UnixSeconds(seconds))
}

/// What it says, in words. Nothing known is not nothing to come: both are said.
fn lines(forecast: &Forecast) -> Vec<String> {
    let mut lines = vec![format!("made         {}", UnixSeconds(forecast.made))];
    for refusal in &forecast.refusals {
        let ForeseenRefusal { workload, platforms, from, expected, code, reason, next_step } = refusal;
        let about = if *expected { "about " } else { "" };
        lines.push(format!("REFUSED      workload {workload} from {about}{} on ({code})", day(*from)));
        lines.push(format!("  platforms  {}", platforms.join(", ")));
        lines.push(format!("  why        {reason}"));
        lines.push(format!("  do         {next_step}"));
    }
    for source in &forecast.sources {
        let ForecastSource { collateral, number, next_number, disclosed, no_forecast } = source;
        lines.push(match no_forecast.as_str() {
            "" => format!(
                "collateral   {collateral}: evaluation {number} counts, {next_number} is next (disclosed {})",
                day(*disclosed)
            ),
            reason => format!("NO FORECAST  {collateral}: {reason}"),
        });
    }
    for workload in &forecast.unseen {
        lines.push(format!(
            "NO FORECAST  workload {workload}: no replica of it got anything since the broker was started"
        ));
    }
    if forecast.refusals.is_empty() {
        lines.push("refused      nothing that is known of".to_owned());
    }
    // Control characters would reach the terminal.
    lines.iter().map(|line| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()).collect()
}

fn as_json(forecast: &Forecast) -> serde_json::Value {
    let time = |seconds: u64| (seconds > 0).then(|| UnixSeconds(seconds).to_string());
    let refusal = |refusal: &ForeseenRefusal| {
        json!({
            "workload": refusal.workload,
            "platforms": refusal.platforms,
            "from": time(refusal.from),
            "expected": refusal.expected,
            "code": refusal.code,
            "reason": refusal.reason,
            "next_step": refusal.next_step,
        })
    };
    let source = |source: &ForecastSource| {
        let known = source.no_forecast.is_empty();
        json!({
            "collateral": source.collateral,
            "number": (source.number > 0).then_some(source.number),
            "next_number": known.then_some(source.next_number),
            "disclosed": time(source.disclosed),
            "no_forecast": (!known).then_some(&source.no_forecast),
        })
    };
    json!({
        "made": time(forecast.made),
        "refusals": forecast.refusals.iter().map(refusal).collect::<Vec<_>>(),
        "sources": forecast.sources.iter().map(source).collect::<Vec<_>>(),
        "unseen": forecast.unseen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_not_said_to_be_nothing_to_come() {
        let source = |no_forecast: &str| ForecastSource {
            collateral: "sgx-00a067110000-processor".to_owned(),
            number: 20,
            next_number: 21,
            disclosed: 1_794_268_800,
            no_forecast: no_forecast.to_owned(),
        };
        let forecast = Forecast {
            made: 1_795_000_000,
            sources: vec![source("no early collateral")],
            unseen: vec!["serving".to_owned()],
            ..Forecast::default()
        };
        let text = lines(&forecast).join("\n");
        assert_eq!(text.matches("NO FORECAST").count(), 2, "{text}");
        assert!(text.contains("nothing that is known of"), "{text}");
        let known = Forecast { sources: vec![source("")], ..Forecast::default() };
        let text = lines(&known).join("\n");
        assert!(text.contains("evaluation 20 counts, 21 is next (disclosed 2026-11-10)"), "{text}");
        assert_eq!(as_json(&known)["sources"][0]["no_forecast"], serde_json::Value::Null);
        assert_eq!(as_json(&forecast)["sources"][0]["next_number"], serde_json::Value::Null);
    }
}
