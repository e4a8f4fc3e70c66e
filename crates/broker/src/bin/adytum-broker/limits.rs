//! The flags that say what peers may cost.

use std::time::Duration;

use adytum_broker::{RequestLimits, ServerLimits};
use adytum_crowd::{bucket::Rate, quotes::QuoteLimits};
use adytum_ratls::limits::Limits;
use clap::{Args, value_parser};

/// What peers may cost. The defaults suit a cluster of some thousand replicas,
/// all behind one address if need be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArguments {
    /// Handshakes in flight.
    #[arg(long, value_name = "NUMBER", default_value_t = 1024, value_parser = value_parser!(u32).range(1..))]
    max_handshakes: u32,
    /// The longest that a handshake may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=600))]
    handshake_timeout: u64,
    /// How long a handshake makes no progress before it is displaced by a new one when there
    /// are too many.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500, value_parser = value_parser!(u64).range(..=600_000))]
    handshake_grace: u64,
    /// Open sessions of peers with evidence.
    #[arg(long, value_name = "NUMBER", default_value_t = 4096, value_parser = value_parser!(u32).range(1..))]
    max_sessions: u32,
    /// How long a session lives before it takes no further request.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=86_400))]
    session_lifetime: u64,
    /// Open sessions of peers that have shown neither evidence nor an owner's signature.
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = value_parser!(u32).range(1..))]
    max_unattested_sessions: u32,
    /// Open sessions that have shown an owner's signature.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    max_owner_sessions: u32,
    /// How long a session without evidence lives.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(1..=86_400))]
    unattested_lifetime: u64,
    /// Requests for secrets in progress.
    #[arg(long, value_name = "NUMBER", default_value_t = 512, value_parser = value_parser!(u32).range(1..))]
    max_requests: u32,
    /// Requests of more than 64 KiB in progress, and as many for sessions that have shown
    /// an owner's signature; each may take 2 MiB of memory.
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = value_parser!(u32).range(1..))]
    max_owner_requests: u32,
    /// Requests in progress on one session.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = value_parser!(u32).range(1..))]
    max_streams: u32,
    /// The longest that one request may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=600))]
    request_timeout: u64,
    /// The longest that a request's body may take to come.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(1..=600))]
    body_timeout: u64,
    /// Quotes that the TEE is asked for at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    max_quotes: u32,
    /// Handshakes that wait for the TEE; one more is refused at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 320)]
    max_waiting_quotes: u32,
    /// Handshakes a second from one address (of IPv6: one /64) that end without accepted
    /// evidence, on average; 0 is no limit. Known peers are not concerned.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    peer_rate: u32,
    /// Such handshakes at once after a pause.
    #[arg(long, value_name = "NUMBER", default_value_t = 4000, value_parser = value_parser!(u32).range(1..))]
    peer_burst: u32,
    /// How long requests in progress may take to end after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(..=600))]
    drain_timeout: u64,
}

impl LimitArguments {
    pub(crate) fn limits(&self) -> ServerLimits {
        ServerLimits {
            handshakes: Limits {
                handshake_timeout: Duration::from_secs(self.handshake_timeout),
                maximum_handshakes: size(self.max_handshakes),
                ..Limits::default()
            },
            handshake_grace: Duration::from_millis(self.handshake_grace),
            maximum_sessions: size(self.max_sessions),
            session_lifetime: Duration::from_secs(self.session_lifetime),
            maximum_unattested_sessions: size(self.max_unattested_sessions),
            unattested_lifetime: Duration::from_secs(self.unattested_lifetime),
            maximum_owner_sessions: size(self.max_owner_sessions),
            strangers: Rate { per_second: self.peer_rate, burst: self.peer_burst },
            quotes: QuoteLimits { at_once: size(self.max_quotes), waiting: size(self.max_waiting_quotes) },
            requests: RequestLimits {
                release: size(self.max_requests),
                large: size(self.max_owner_requests),
            },
            maximum_streams: self.max_streams,
            request_timeout: Duration::from_secs(self.request_timeout),
            body_timeout: Duration::from_secs(self.body_timeout),
            drain: Duration::from_secs(self.drain_timeout),
            ..ServerLimits::default()
        }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        limits: LimitArguments,
    }

    #[test]
    fn without_flags_they_are_the_servers_own() {
        let limits = Alone::parse_from(["broker"]).limits.limits();
        assert_eq!(format!("{limits:?}"), format!("{:?}", ServerLimits::default()));
    }

    #[test]
    fn zero_is_refused_where_it_would_serve_nobody() {
        for flag in ["--max-handshakes", "--max-sessions", "--max-requests", "--max-quotes", "--peer-burst"] {
            assert!(Alone::try_parse_from(["broker", flag, "0"]).is_err(), "{flag}");
        }
        assert_eq!(Alone::parse_from(["broker", "--peer-rate", "0"]).limits.limits().strangers.per_second, 0);
    }
}
