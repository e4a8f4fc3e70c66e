//! Evidence of a replica that runs, from the port that `--evidence-listen` opens.

use std::{sync::Arc, time::Duration};

use adytum_api::address::parse_address;
use adytum_evidence::{claims::Claims, verifier::Verifier};
use adytum_governance::announcement::WorkloadAnnouncement;
use adytum_init::arguments::parse_duration;
use adytum_ratls::{
    configuration::ConnectorConfiguration, connector::AttestedConnector, error::SessionError,
    judge::AnyEvidence, limits::Limits, session::Peer,
};
use tokio::time::{Instant, sleep};

/// Between two attempts to reach a replica that is not there yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Which replica.
#[derive(Debug, clap::Args)]
pub(crate) struct Replica {
    /// A replica that runs, where it listens with `--evidence-listen`: its evidence is
    /// taken from an attested session.
    #[arg(long = "replica", value_name = "HOST:PORT", value_parser = parse_address)]
    pub(crate) address: Option<String>,
    /// How long to try again while nobody listens there, as in 5m: a replica that the
    /// broker refuses shows its evidence only between two starts.
    #[arg(long, value_name = "DURATION", requires = "address", default_value = "0", hide_default_value = true,
          value_parser = parse_duration)]
    wait: Duration,
    /// It is a broker, which announces other things than a workload.
    #[arg(skip)]
    is_broker: bool,
}

impl Replica {
    /// A broker at an address.
    pub(crate) fn broker_at(address: String) -> Self {
        Self { address: Some(address), wait: Duration::ZERO, is_broker: true }
    }

    /// What the replica's evidence says, if one was named.
    pub(crate) async fn claims(&self, verifier: Verifier) -> Option<Result<Claims, SessionError>> {
        let address = self.address.as_deref()?;
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(verifier),
            // Who it is, is what is asked.
            judge: Arc::new(AnyEvidence),
            local: None,
            limits: Limits::default(),
        });
        let began = Instant::now();
        loop {
            match connector.connect(address).await {
                Ok(stream) => {
                    let Peer::Attested { claims, announcement } = stream.info().peer.clone() else {
                        return Some(Err(SessionError::Local {
                            peer: address.to_owned(),
                            reason: "the session opened without evidence".to_owned(),
                        }));
                    };
                    if self.is_broker {
                        return Some(Ok(claims.announcing(None)));
                    }
                    let announced = match WorkloadAnnouncement::decode(&announcement) {
                        Ok(announced) => announced.map(|announced| announced.identity),
                        Err(error) => {
                            return Some(Err(SessionError::Local {
                                peer: address.to_owned(),
                                reason: error.to_string(),
                            }));
                        }
                    };
                    return Some(Ok(claims.announcing(announced)));
                }
                Err(SessionError::Io { .. } | SessionError::Timeout { .. })
                    if began.elapsed() < self.wait =>
                {
                    sleep(PAUSE).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
