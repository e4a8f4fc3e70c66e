//! `adytum proxy`: unmodified clients of this machine ask verified replicas.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use adytum_client::ServerAddress;
use adytum_proxy::{Notice, Proxy, Replicas};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    attest::{Attest, Verified},
    output,
};

/// Arguments of `adytum proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where clients of this machine connect: gRPC and REST, without TLS.
    #[arg(long, default_value = "127.0.0.1:8500", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The model servers, as HOST:PORT; all addresses of the name are used.
    #[arg(long, value_name = "HOST:PORT")]
    server: ServerAddress,
    #[command(flatten)]
    attest: Attest,
    /// Listen at an address that other machines can reach: they are not authenticated,
    /// and nothing between them and the proxy is encrypted.
    #[arg(long)]
    allow_remote_clients: bool,
}

/// Runs until SIGINT or SIGTERM.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if !args.listen.ip().is_loopback() && !args.allow_remote_clients {
        bail_input!(
            "--listen {}: other machines can reach this address, and what they send would cross the network without \
             encryption; listen on 127.0.0.1, or give --allow-remote-clients",
            args.listen
        );
    }
    let attestation = args
        .attest
        .load()?
        .ok_or_else(|| input_error!("give --attest SERVICE.toml: what the servers must prove"))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let heard = Heard::default();
    let replicas = Replicas::observed_by(args.server, attestation, move |notice| heard.tell(notice));
    let proxy = Proxy::listen(args.listen, replicas.clone()).await?;
    let address = proxy.address();
    output::result(
        &json!({ "address": address.to_string() }),
        format_args!("Listening on {address} (gRPC and REST)"),
    )?;
    // A fault is named now, and again to each client. It may be gone later.
    tokio::spawn(async move { replicas.verify().await });
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    proxy.serve(stop).await;
    Ok(())
}

/// The last words about each replica: the same is not said twice.
#[derive(Default)]
struct Heard(Mutex<BTreeMap<SocketAddr, String>>);

/// More replicas than any service has; then all is said again.
const MOST: usize = 1024;

impl Heard {
    fn tell(&self, notice: &Notice<'_>) {
        let (address, text) = match notice {
            Notice::Verified { address, replica } => {
                let models: Vec<String> = Verified::all(replica).iter().map(ToString::to_string).collect();
                (*address, format!("{address}: verified\n{}", models.join("\n")))
            }
            Notice::LeftOut { address, error } => (*address, format!("{address}: left out: {error}")),
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= MOST {
            heard.clear();
        }
        if heard.get(&address) != Some(&text) {
            output::note(&text);
            heard.insert(address, text);
        }
    }
}
