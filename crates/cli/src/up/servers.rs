//! The broker and the replicas: started in order, ended in the other one.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::{
    Plan,
    child::Child,
    metrics::Page,
    ports::{Ports, choose},
    view,
};
use crate::{
    attested::{Access, PinFiles, Target},
    output,
    owner_directory::replace,
    provision, recovery,
};

/// How often a broker is started again while one that ends still has the state, and a replica
/// whose port was taken meanwhile.
const ATTEMPTS: u32 = 5;
/// Between two such attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The path of the metrics of a replica.
const METRICS: &str = "/monitoring/prometheus/metrics";

/// The broker, and where it says how it is.
struct Broker {
    child: Child,
    health: Option<SocketAddr>,
}

/// All that runs. Whatever the end of this process is, the kernel ends them too.
#[derive(Default)]
pub(super) struct Servers {
    broker: Option<Broker>,
    broker_address: String,
    replicas: Vec<(Child, Ports)>,
    /// The address that was asked for, once it was.
    listen: Option<IpAddr>,
}

impl Servers {
    /// Starts the broker, gives it what it needs, then starts the replicas and waits until all
    /// answer. The version of the manifest in force.
    pub(super) async fn start(
        &mut self,
        plan: &Plan,
        listen: IpAddr,
        port: Option<u16>,
        replicas: u16,
    ) -> anyhow::Result<u64> {
        self.listen = Some(listen);
        let directory = &plan.directory;
        let logs = directory.path().join("logs");
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        // A port that is taken is known before a broker runs.
        let file = directory.public("ports");
        choose(listen, port, replicas, &file)?;
        let address = self.start_broker(plan, &logs).await?;
        self.broker_address.clone_from(&address);
        let manifest_version = provide(plan, &address).await?;
        let monitoring = "prometheus_config { enable: true }\n";
        replace(&directory.public("monitoring.txt"), monitoring.as_bytes(), 0o644)?;
        for attempt in 1.. {
            for (index, ports) in choose(listen, port, replicas, &file)?.into_iter().enumerate() {
                let name = format!("replica-{}", index + 1);
                let arguments = serving_arguments(plan, listen, ports, &address);
                let child = Child::start(&plan.programs, &name, &plan.programs.serving, arguments, &logs)?;
                self.replicas.push((child, ports));
            }
            match self.all_answer().await {
                Ok(()) => break,
                // Somebody was faster.
                Err(_) if attempt < ATTEMPTS && port.is_none() && self.lost_a_port() => {
                    self.stop_replicas().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(manifest_version)
    }

    async fn start_broker(&mut self, plan: &Plan, logs: &std::path::Path) -> anyhow::Result<String> {
        for attempt in 1.. {
            let arguments = broker_arguments(plan);
            let child = Child::start(&plan.programs, "broker", &plan.programs.broker, arguments, logs)?;
            // Known at once: an interrupted start ends it, too.
            let broker = &mut self.broker.insert(Broker { child, health: None }).child;
            // One after the other: the first line comes first.
            let addresses = async {
                let health = broker.wait_for("Health listening on ").await?;
                let address = broker.wait_for("Server listening on ").await?;
                anyhow::Ok((health.parse().context("the address of the broker's health")?, address))
            };
            match addresses.await {
                Ok((health, address)) => {
                    if let Some(broker) = &mut self.broker {
                        broker.health = Some(health);
                    }
                    return Ok(address);
                }
                // That of a run that was killed ends within moments.
                Err(_) if attempt < ATTEMPTS && broker.said("store-in-use") => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        bail!("the broker does not start; read its log")
    }

    async fn all_answer(&mut self) -> anyhow::Result<()> {
        for (replica, _) in &mut self.replicas {
            replica.wait_for("Running gRPC ModelServer at ").await?;
        }
        Ok(())
    }

    fn lost_a_port(&self) -> bool {
        self.replicas.iter().any(|(replica, _)| replica.said("ddress already in use"))
    }

    /// Where the replicas answer.
    pub(super) fn addresses(&self) -> Vec<String> {
        let host = match self.host() {
            host if host.is_loopback() => "localhost".to_owned(),
            IpAddr::V4(host) => host.to_string(),
            IpAddr::V6(host) => format!("[{host}]"),
        };
        self.replicas.iter().map(|(_, ports)| format!("{host}:{}", ports.service)).collect()
    }

    /// Where this machine reaches the replicas.
    fn host(&self) -> IpAddr {
        let listen = self.listen.filter(|listen| !listen.is_unspecified());
        listen.unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// Where the broker answers.
    pub(super) fn broker_address(&self) -> &str {
        &self.broker_address
    }

    /// What the replicas say of themselves, in their order.
    pub(super) async fn pages(&self) -> Vec<Option<Page>> {
        let mut pages = Vec::new();
        for (_, ports) in &self.replicas {
            pages.push(Page::read(SocketAddr::new(self.host(), ports.health), METRICS).await);
        }
        pages
    }

    /// What the broker says of itself.
    pub(super) async fn broker_figures(&self) -> Option<view::Broker> {
        let health = self.broker.as_ref()?.health?;
        Some(view::Broker::of(&Page::read(health, "/metrics").await?))
    }

    /// The first that has ended, in words.
    pub(super) fn ended(&mut self) -> Option<String> {
        let broker = self.broker.iter_mut().map(|broker| &mut broker.child);
        broker.chain(self.replicas.iter_mut().map(|(child, _)| child)).find_map(Child::ended)
    }

    async fn stop_replicas(&mut self) {
        // All at once, then each is waited for.
        self.replicas.iter().for_each(|(replica, _)| replica.terminate());
        for (replica, _) in &mut self.replicas {
            replica.stop().await;
        }
        self.replicas.clear();
    }

    /// Ends everything.
    pub(super) async fn stop(&mut self) {
        self.stop_replicas().await;
        if let Some(broker) = &mut self.broker {
            broker.child.stop().await;
        }
    }
}

/// Verifies the broker and gives it manifest and secrets. A broker whose program is another than
/// before gets its root key back first. The version of the manifest in force.
async fn provide(plan: &Plan, address: &str) -> anyhow::Result<u64> {
    let directory = &plan.directory;
    let pin = || PinFiles {
        genesis: directory.public("genesis.toml"),
        broker_policy: directory.public("broker-policy.toml"),
        trusted: plan.ground.trusted(directory),
        heads: Some(directory.private("heads.json")),
    };
    // The policy of the broker that made the shares.
    let arranged_by = directory.public("arranged-by.toml");
    let target = Target::from_files(address.to_owned(), pin());
    if target.open_any_state().await?.require_state().is_err() {
        output::step("the broker's program is another than before: its root key is recovered")?;
        let before = arranged_by.is_file().then(|| arranged_by.clone());
        let recover = recovery::Recover::with_files(directory.private("recovery.key"), before, target);
        recovery::run(recover).await?;
    }
    let access = Access::from_files(vec![directory.private("owner.pem")], address.to_owned(), pin());
    let options = provision::Options { replace: false, confirm: true };
    let manifest_version = provision::bring(directory, &access, &options).await?;
    let policy = fs::read(directory.public("broker-policy.toml"))?;
    replace(&arranged_by, &policy, 0o644)?;
    Ok(manifest_version)
}

/// A flag and its value, which may be any path.
fn flag(name: &str, value: impl Into<OsString>) -> OsString {
    let mut flag = OsString::from(name);
    flag.push("=");
    flag.push(value.into());
    flag
}

fn broker_arguments(plan: &Plan) -> Vec<OsString> {
    let directory = &plan.directory;
    let mut arguments = vec![
        flag("--genesis", directory.public("genesis.toml")),
        flag("--state-directory", directory.path().join("state")),
        "--health-listen=127.0.0.1:0".into(),
    ];
    arguments.extend(plan.ground.server_flags(directory));
    arguments.push("127.0.0.1:0".into());
    arguments
}

fn serving_arguments(plan: &Plan, listen: IpAddr, ports: Ports, broker: &str) -> Vec<OsString> {
    let directory = &plan.directory;
    let models: PathBuf = directory.model(plan.name.as_str());
    let mut arguments = vec![
        flag("--listen_address", listen.to_string()),
        flag("--port", ports.service.to_string()),
        flag("--rest_api_port", ports.service.to_string()),
        flag("--health_port", ports.health.to_string()),
        flag("--model_name", plan.name.as_str()),
        flag("--model_base_path", models),
        "--ssl_config_file=/etc/tf_ssl.cfg".into(),
        flag("--monitoring_config_file", directory.public("monitoring.txt")),
        flag("--configuration", directory.public("workload.toml")),
        flag("--broker", broker),
    ];
    arguments.extend(plan.ground.server_flags(directory));
    arguments
}
