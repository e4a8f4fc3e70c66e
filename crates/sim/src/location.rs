//! Simulation asked for by name, as flags say it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use adytum_evidence::{attester::Attester, measurement::WorkloadIdentity};
use tokio::time::{Instant, sleep};

use crate::{
    attester::SimAttester,
    error::SimError,
    platform::Platform,
    remote::{RemoteSimAttester, service_url},
};

/// The location in the value of a `--tee` flag that asks for simulation
/// (`simulation=LOCATION`), or `None` where it asks for something else.
pub fn parse_tee(text: &str) -> Option<&str> {
    text.strip_prefix("simulation=")
}

/// An attester on the simulated platform at `location`: the directory of a
/// platform that exists, or `http://HOST:PORT` of a running `adytum-sim`. Each
/// quote takes `quote_latency`.
pub async fn open_attester(
    location: &str,
    identity: WorkloadIdentity,
    quote_latency: Duration,
) -> Result<Arc<dyn Attester>, SimError> {
    let location = location.parse()?;
    tracing::warn!(
        ?location,
        %identity,
        "SIMULATION. Evidence comes from a simulated platform, which protects nothing"
    );
    Ok(match location {
        Location::Service(url) => {
            Arc::new(RemoteSimAttester::connect(&url, identity).await?.quote_latency(quote_latency))
        }
        Location::Directory(directory) => {
            let platform = Platform::open(directory)?;
            Arc::new(SimAttester::new(platform, identity).quote_latency(quote_latency))
        }
    })
}

/// Between two attempts to reach a platform's service.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two log lines about that: at first this, then twice as long each time.
const FIRST_SILENCE: Duration = Duration::from_secs(1);
/// No silence is longer.
const LONGEST_SILENCE: Duration = Duration::from_secs(5 * 60);

/// Attempts something that needs a platform's service until one answers, for as long
/// as `patience` says or for ever: in a cluster the service is a pod like others and
/// may come later. Every other error is final. Time is tokio's.
pub async fn when_there<T, F>(
    patience: Option<Duration>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, SimError>
where
    F: Future<Output = Result<T, SimError>>,
{
    let began = Instant::now();
    let (mut silence, mut silent_until) = (FIRST_SILENCE, began);
    loop {
        match attempt().await {
            Err(error @ SimError::Unreachable { .. })
                if patience.is_none_or(|patience| began.elapsed() < patience) =>
            {
                let now = Instant::now();
                if now >= silent_until {
                    tracing::warn!(code = error.code(), "waiting for the simulated platform: {error}");
                    silent_until = now + silence;
                    silence = (silence * 2).min(LONGEST_SILENCE);
                }
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Where a simulated platform is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a directory that this process can read.
    Directory(PathBuf),
    /// Behind an `adytum-sim` at this URL.
    Service(String),
}

impl std::str::FromStr for Location {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        if text.contains("://") {
            service_url(text).map(Self::Service)
        } else if text.is_empty() || text.contains('\0') {
            Err(SimError::Location { text: text.to_owned() })
        } else {
            Ok(Self::Directory(text.into()))
        }
    }
}

/// Reads a quote latency: a whole number with the unit `us`, `ms` or `s`, such as
/// `20ms`; at most ten seconds, for no hardware takes longer.
/// For clap's `value_parser`.
pub fn parse_quote_latency(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let latency = digits.parse::<u64>().ok().and_then(|number| match &text[digits.len()..] {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    });
    latency
        .filter(|latency| *latency <= Duration::from_secs(10))
        .ok_or_else(|| format!("expected a time of at most 10s, such as 20ms, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<Location>();
            let _ = crate::dates::parse_rfc3339(&text);
            let _ = crate::Faults::default().with(&text);
            if let Ok(latency) = parse_quote_latency(&text) {
                prop_assert!(latency <= Duration::from_secs(10));
            }
        }

        #[test]
        fn digits_and_units_are_read(number in any::<u64>(), unit in "us|ms|s|m|") {
            let _ = parse_quote_latency(&format!("{number}{unit}"));
        }
    }

    /// Log lines, counted.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_stays_away_does_not_fill_the_log() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let attempts = AtomicU64::new(0);
        let attempt = async || {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(SimError::Unreachable {
                url: "http://away".to_owned(),
                operation: "quoting",
                reason: "refused".to_owned(),
            })
        };
        let day = Duration::from_secs(24 * 60 * 60);
        when_there(Some(day), attempt).await.unwrap_err();
        drop(guard);
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count =
            written.lines().filter(|line| line.contains("waiting for the simulated platform")).count();
        assert!((100..400).contains(&count), "{count} lines");
        assert!(attempts.load(Ordering::Relaxed) > 100_000, "it looks as often as before");
    }

    #[test]
    fn only_simulation_by_name_is_simulation() {
        assert_eq!(parse_tee("simulation=/tmp/platform"), Some("/tmp/platform"));
        for other in ["", "auto", "simulation", "sgx", "Simulation=/tmp", "occlum=simulation=/tmp"] {
            assert_eq!(parse_tee(other), None, "{other}");
        }
    }

    #[test]
    fn locations_are_directories_or_http_urls() {
        let parse = |text: &str| text.parse::<Location>();
        assert_eq!(parse("a/b").unwrap(), Location::Directory("a/b".into()));
        for url in ["http://127.0.0.1:1", "http://127.0.0.1:1/"] {
            assert_eq!(parse(url).unwrap(), Location::Service("http://127.0.0.1:1".into()));
        }
        for bad in ["", "https://host", "http://", "http://host/path", "http://host/?q", "ftp://host", "a\0"]
        {
            assert_eq!(parse(bad).unwrap_err().code(), "simulation-location", "{bad}");
        }
    }

    #[test]
    fn latencies_have_units() {
        assert_eq!(parse_quote_latency("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse_quote_latency("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_quote_latency("150us"), Ok(Duration::from_micros(150)));
        assert_eq!(parse_quote_latency("0"), Ok(Duration::ZERO));
        for bad in ["", "20", "ms", "-1ms", "1.5ms", "11s", "20 ms", "20é", "99999999999999999999s"] {
            assert!(parse_quote_latency(bad).is_err(), "{bad}");
        }
    }
}
