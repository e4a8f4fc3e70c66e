//! Servers that are asked for the versions that they have.

use std::{path::PathBuf, time::Duration};

use adytum_client::{Client, ClientError, ClientOptions, ServerAddress, VersionState, VersionStatus};
use tokio::time::{Instant, sleep};

use crate::{output, predict::target::duration};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// Replicas to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Servers {
    /// A replica to ask for the versions that it has, as HOST:PORT; may be given several times.
    #[arg(long = "server", value_name = "ADDRESS")]
    servers: Vec<ServerAddress>,
    /// The replicas' certificate in PEM: TLS that trusts exactly it.
    #[arg(long, value_name = "FILE", requires = "servers")]
    crt: Option<PathBuf>,
}

/// A replica, and what it says.
pub(crate) struct Answer {
    pub(crate) server: ServerAddress,
    pub(crate) versions: Result<Vec<VersionStatus>, ClientError>,
}

impl Servers {
    /// What each says of a model. The certificate is `crt` where no flag names another.
    pub(crate) async fn ask(&self, model: &str, crt: Option<PathBuf>) -> Vec<Answer> {
        let options = ClientOptions { certificate: self.crt.clone().or(crt), ..ClientOptions::default() };
        let mut answers = Vec::new();
        for server in &self.servers {
            let versions = async { Client::connect(server, &options).await?.versions(model).await };
            answers.push(Answer { server: server.clone(), versions: versions.await });
        }
        answers
    }
}

/// How long a roll-out may take.
#[derive(Debug, clap::Args)]
pub(crate) struct Patience {
    /// How long all of them may take to have the version.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    patience: Duration,
}

/// Waits until each replica answers with this version, and says so of each.
pub(crate) async fn follow(
    servers: &Servers,
    patience: &Patience,
    model: &str,
    version: u64,
    crt: Option<PathBuf>,
) -> anyhow::Result<()> {
    let until = Instant::now() + patience.patience;
    let mut reported = Vec::new();
    loop {
        let mut missing = Vec::new();
        for Answer { server, versions } in servers.ask(model, crt.clone()).await {
            let server = server.to_string();
            let of_version = |versions: &Vec<VersionStatus>| {
                versions.iter().find(|status| status.version == version).cloned()
            };
            match versions.as_ref().map(of_version) {
                Ok(Some(VersionStatus { state: VersionState::Available, .. })) => {
                    if !reported.contains(&server) {
                        output::step(format_args!("{server}: version {version} answers"))?;
                        reported.push(server);
                    }
                }
                Ok(Some(VersionStatus { state: VersionState::Ended, reason, .. })) => bail_refused!(
                    "{server} goes on with the version before {version}, which it can't serve: {}; correct the model and \
                     release it again",
                    reason.unwrap_or_else(|| "it does not say why".to_owned())
                ),
                Ok(Some(status)) => missing.push(format!("{server} ({})", status.state)),
                Ok(None) => missing.push(format!("{server} (not found yet)")),
                Err(error) => missing.push(error.to_string()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail_later!(
                "not all replicas answer with version {version}; read the logs of these, or give more --patience: {}",
                missing.join(", ")
            );
        }
        sleep(PAUSE).await;
    }
}
