//! The flags that say how to attest and whom to ask. They are the host's to
//! choose and are not trusted: none of them changes what is measured.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::PathBuf, str::FromStr, time::Duration};

use adytum_evidence::attester::{TeeInterface, UnknownTee};
use clap::{Args, Command};

/// The flags that say how to attest and whom to ask: flattened into every
/// program that fetches secrets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Attestation")]
pub struct AttestationArguments {
    /// The measured configuration [default: /etc/adytum/workload.toml, else
    /// /etc/init_ra_conf.json]. Gramine and Occlum measure these two only, and no
    /// other is read there
    #[arg(long, value_name = "FILE")]
    pub configuration: Option<PathBuf>,

    /// Address of the key broker, or of the other key source that the measured configuration
    /// names
    #[arg(long, value_name = "HOST:PORT", env = "ADYTUM_BROKER")]
    pub broker: Option<String>,

    /// Where collateral comes from: the URL of a PCCS, or a directory
    #[arg(long, value_name = "URL|DIRECTORY", env = "PCCS_URL")]
    pub collateral: Option<String>,

    /// SEV-SNP: where AMD's certificates come from, the URL of a KDS or a directory
    /// [default: a directory that --collateral names, else AMD's own KDS]
    #[arg(long, value_name = "URL|DIRECTORY", env = "AMD_KDS_URL")]
    pub amd_kds: Option<String>,

    /// The TEE: auto, occlum, gramine, tsm, or simulation=DIRECTORY where the
    /// build has it. Simulation is never chosen by itself
    #[arg(long, value_name = "TEE", default_value = "auto", env = "ADYTUM_TEE")]
    pub tee: TeeChoice,

    /// Write evidence of this workload here when it starts, for `adytum manifest
    /// new` and `explain`: a new file, none is overwritten. It is no secret
    #[arg(long, value_name = "FILE")]
    pub write_evidence: Option<PathBuf>,

    /// Show evidence of this workload here to every peer that asks, for `adytum manifest new
    /// --replica` and `explain --replica`; nothing else is given there
    #[arg(long, value_name = "HOST:PORT", env = "ADYTUM_EVIDENCE_LISTEN")]
    pub evidence_listen: Option<String>,

    /// Simulation only: how long a quote takes, as in 20ms, to imitate hardware
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    pub quote_latency: Duration,

    /// Give up when the broker was not reached for this long, as in 5m
    /// [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub fetch_timeout: Option<Duration>,
}

/// Which TEE attests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeeChoice {
    /// Hardware, by its interface.
    Hardware(TeeInterface),
    /// The software platform in this directory or at this address.
    Simulation(String),
}

impl FromStr for TeeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("simulation=").filter(|platform| !platform.is_empty()) {
            None => text.parse().map(Self::Hardware).map_err(|error: UnknownTee| error.to_string()),
            Some(_) if !cfg!(feature = "simulation") => {
                Err("this build has no simulation: it is a production build".to_owned())
            }
            Some(platform) => Ok(Self::Simulation(platform.to_owned())),
        }
    }
}

impl fmt::Display for TeeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hardware(interface) => interface.fmt(f),
            Self::Simulation(platform) => write!(f, "simulation={platform}"),
        }
    }
}

/// Reads a duration: a whole number and its unit, `us`, `ms`, `s`, `m` or `h`;
/// or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error =
        || format!("{text:?} is no duration: a whole number with us, ms, s, m or h, as in 20ms or 5m");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| error())?;
    let microseconds = match &text[digits..] {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "" if number == 0 => 0,
        _ => return Err(error()),
    };
    number.checked_mul(microseconds).map(Duration::from_micros).ok_or_else(error)
}

/// Reads a duration in whole seconds, or with a unit as [`parse_duration`] does.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).or_else(|_| parse_duration(text))
}

/// Takes the flags of [`AttestationArguments`], and those named in `others`, out
/// of a program's own arguments: the rest is what the measured
/// configuration has to allow. A flag's value is either in the same argument
/// (`--flag=value`) or the next one, which then must not look like a flag.
pub(crate) fn without_host_flags<'a>(arguments: &'a [impl AsRef<OsStr>], others: &[&str]) -> Vec<&'a OsStr> {
    let known = AttestationArguments::augment_args(Command::new("flags"));
    let is_host_flag = |name: &[u8]| {
        known.get_arguments().filter_map(clap::Arg::get_long).any(|long| long.as_bytes() == name)
            || others.iter().any(|other| other.as_bytes() == name)
    };
    let mut left = Vec::new();
    let mut arguments = arguments.iter().map(AsRef::as_ref).peekable();
    while let Some(argument) = arguments.next() {
        let flag = argument.as_bytes().strip_prefix(b"--").unwrap_or_default();
        let name = flag.split(|byte| *byte == b'=').next().unwrap_or_default();
        if !is_host_flag(name) {
            left.push(argument);
        } else if name.len() == flag.len() {
            arguments.next_if(|value| !value.as_bytes().starts_with(b"-"));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        attestation: AttestationArguments,
    }

    #[test]
    fn flags_parse() {
        let flags = Flags::try_parse_from([
            "x",
            "--broker=a:1",
            "--tee",
            "occlum",
            "--fetch-timeout",
            "5m",
            "--collateral=/c",
        ])
        .unwrap()
        .attestation;
        assert_eq!(flags.broker.as_deref(), Some("a:1"));
        assert_eq!(flags.tee, TeeChoice::Hardware(TeeInterface::Occlum));
        assert_eq!(flags.fetch_timeout, Some(Duration::from_secs(300)));
        assert_eq!(flags.quote_latency, Duration::ZERO);
    }

    #[test]
    fn a_tee_is_chosen_by_name() {
        for text in ["auto", "occlum", "gramine", "tsm"] {
            assert_eq!(text.parse::<TeeChoice>().unwrap().to_string(), text);
        }
        for text in ["", "sgx", "simulation", "simulation="] {
            assert!(text.parse::<TeeChoice>().is_err(), "{text:?}");
        }
        assert_eq!("simulation=/x".parse::<TeeChoice>().is_ok(), cfg!(feature = "simulation"));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_seconds("20"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_seconds("20ms"), Ok(Duration::from_millis(20)));
        assert!(parse_seconds("-1").is_err());
        for text in ["", "20", "ms", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_the_hosts_flags_are_taken_out() {
        let arguments = [
            "--broker",
            "a:1",
            "--port=1",
            "--tee=auto",
            "--log-format",
            "json",
            "--collateral",
            "--evil",
            "--brokers=x",
            "broker",
            "-broker",
        ];
        let left = without_host_flags(&arguments, &["log-format"]);
        assert_eq!(left, ["--port=1", "--evil", "--brokers=x", "broker", "-broker"]);
    }
}
