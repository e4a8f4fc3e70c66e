//! The flags.

use std::{path::PathBuf, str::FromStr};

use adytum_api::{address::parse_address, names::WorkloadName};
use adytum_evidence::attester::{TeeInterface, UnknownTee};
use clap::{Parser, ValueEnum};

use crate::limits::LimitArguments;

/// The key broker: it gives secrets to programs that have proved what they are,
/// as its owners have laid down.
#[derive(Debug, Parser)]
#[command(
    name = "adytum-broker",
    version,
    after_help = "For the state of a broker that does not run: `adytum-broker backup --help`, `adytum-broker restore --help`."
)]
pub(crate) struct Arguments {
    /// The genesis document, which creates this broker and names its owners.
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: PathBuf,
    /// Address and port to listen on; port 0 is any free one.
    #[arg(value_name = "LISTEN", default_value = "localhost:50051", value_parser = parse_address)]
    pub(crate) listen: String,
    /// The TEE it runs in: auto, occlum, gramine, tsm, or, where it is built in,
    /// simulation=DIRECTORY or simulation=URL, which protects nothing.
    #[arg(long, value_name = "TEE", default_value = "auto", env = "ADYTUM_TEE")]
    pub(crate) tee: TeeChoice,
    /// How long a simulated quote takes, such as 20ms.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = adytum_sim::parse_quote_latency)]
    pub(crate) quote_latency: std::time::Duration,
    /// Where collateral for workloads' evidence comes from: the URL of a PCCS, or
    /// a directory.
    #[arg(long, value_name = "URL|DIRECTORY", env = "PCCS_URL")]
    pub(crate) collateral: Option<String>,
    /// SEV-SNP: where AMD's certificates come from, the URL of a KDS or a directory; by
    /// default a directory that --collateral names, else AMD's own KDS.
    #[arg(long, value_name = "URL|DIRECTORY", env = "AMD_KDS_URL")]
    pub(crate) amd_kds: Option<String>,
    /// Where the encrypted state is kept. Without it, nothing outlives the process.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) state_directory: Option<PathBuf>,
    /// Take the root key over from the broker at this address, unless the state
    /// directory opens here already. From then on that one releases nothing.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address, requires_all = ["upgrade_authorisation", "state_directory"])]
    pub(crate) take_over_from: Option<String>,
    /// The owners' leave for that: what `adytum broker authorise-upgrade` wrote.
    #[arg(long, value_name = "FILE", requires = "take_over_from")]
    pub(crate) upgrade_authorisation: Option<PathBuf>,
    /// How many records the audit log may have. Beyond them no secret is given out;
    /// half of them are kept for grants.
    #[arg(long, value_name = "RECORDS", default_value_t = 16_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) audit_limit: u64,
    /// Load an Occlum deployment's RA configuration (verify_*, sgx_mrs).
    #[arg(long, value_name = "ra_config.json", requires = "occlum_secrets")]
    pub(crate) occlum_config: Option<PathBuf>,
    /// An Occlum deployment's secrets ({"name": "base64"}).
    #[arg(long, value_name = "secrets.json", requires = "occlum_config")]
    pub(crate) occlum_secrets: Option<PathBuf>,
    /// Trust this simulated platform for the workloads of --occlum-config.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "root.pem", requires = "occlum_config")]
    pub(crate) occlum_simulation_root: Option<PathBuf>,
    /// Accept an entry of --occlum-config that checks the signer and not the
    /// code, by its name (occlum-1, occlum-2...). May be repeated.
    #[arg(long, value_name = "NAME", requires = "occlum_config")]
    pub(crate) accept_signer_only: Vec<WorkloadName>,
    /// Accept an entry of --occlum-config that lets debug enclaves pass, by
    /// its name. May be repeated.
    #[arg(long, value_name = "NAME", requires = "occlum_config")]
    pub(crate) accept_debug: Vec<WorkloadName>,
    /// Address and port for probes and metrics (/healthz, /readyz, /metrics), plain
    /// HTTP; port 0 is any free one. Without it there is none.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) health_listen: Option<String>,
    /// Address and port for clients of the KBS protocol of Confidential Containers, plain HTTP;
    /// port 0 is any free one. Without it there is none.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) kbs_listen: Option<String>,
    /// Address and port for clients with Occlum's own init (gRPC with RA-TLS certificates); port 0
    /// is any free one. Without it there is none.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) occlum_listen: Option<String>,
    /// A file with the log filter, read at the start instead of RUST_LOG and again
    /// with each SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(crate) log_filter_file: Option<PathBuf>,
    /// What peers may cost.
    #[command(flatten)]
    pub(crate) limits: LimitArguments,
    /// The form of log lines; RUST_LOG says how much is logged.
    #[arg(long, value_enum, default_value_t, env = "ADYTUM_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which TEE attests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TeeChoice {
    /// Hardware, by its interface.
    Hardware(TeeInterface),
    /// A software platform, by its directory or URL.
    #[cfg(feature = "simulation")]
    Simulation(String),
}

impl FromStr for TeeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("simulation=").filter(|location| !location.is_empty()) {
            #[cfg(feature = "simulation")]
            Some(location) => Ok(Self::Simulation(location.to_owned())),
            #[cfg(not(feature = "simulation"))]
            Some(_) => Err("this is a production build: it has no simulation".to_owned()),
            None => text.parse().map(Self::Hardware).map_err(|error: UnknownTee| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_hold_together() {
        Arguments::command().debug_assert();
        let arguments = Arguments::parse_from(["adytum-broker", "--genesis", "g.toml"]);
        assert_eq!(arguments.listen, "localhost:50051");
        assert_eq!(arguments.tee, TeeChoice::Hardware(TeeInterface::Auto));
    }

    #[test]
    fn the_occlum_flags_come_together() {
        let parse = |flags: &[&str]| {
            Arguments::try_parse_from([&["adytum-broker", "--genesis", "g"], flags].concat()).is_ok()
        };
        assert!(parse(&["--occlum-config", "a", "--occlum-secrets", "b"]));
        assert!(!parse(&["--occlum-config", "a"]));
        assert!(!parse(&["--occlum-secrets", "b"]));
        assert!(!parse(&["--accept-debug", "occlum-1"]));
    }

    #[test]
    fn a_take_over_needs_the_owners_leave_and_a_place_for_the_state() {
        let parse = |flags: &[&str]| {
            Arguments::try_parse_from([&["adytum-broker", "--genesis", "g"], flags].concat()).is_ok()
        };
        let all = ["--take-over-from", "a:1", "--upgrade-authorisation", "b", "--state-directory", "c"];
        assert!(parse(&all));
        for missing in [0, 2, 4] {
            let rest: Vec<&str> = [&all[..missing], &all[missing + 2..]].concat();
            assert!(!parse(&rest), "{rest:?}");
        }
    }

    #[test]
    fn simulation_is_asked_for_by_name_and_place() {
        for text in ["simulation", "simulation=", "Simulation=/tmp", "sim=/tmp", ""] {
            assert!(text.parse::<TeeChoice>().is_err(), "{text}");
        }
        #[cfg(feature = "simulation")]
        assert_eq!("simulation=/tmp".parse(), Ok(TeeChoice::Simulation("/tmp".into())));
        #[cfg(not(feature = "simulation"))]
        assert!("simulation=/tmp".parse::<TeeChoice>().unwrap_err().contains("production build"));
    }
}
