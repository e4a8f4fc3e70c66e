//! The time while it serves: figures are shown, a changed model is rolled out, the end of a
//! server is the end of all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_evidence::clock::SystemClock;
use anyhow::bail;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    Args, Plan,
    release::{Look, Release, look, release},
    servers::Servers,
    service_file,
    view::{Figures, Replica, View},
};
use crate::{
    output::error_line,
    owner_directory::{Keys, OwnerDirectory},
};

/// How often servers are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often figures are read, and the model's files looked at, in ticks.
const SLOW: u32 = 4;
/// How often the service file is looked at, in ticks: once a minute.
const SERVICE_FILE: u32 = 240;
/// How long replicas may take for a version before a line says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// A version that not all replicas have yet.
struct Awaited {
    version: u64,
    since: Instant,
    is_told: bool,
}

/// The model's file, and what became of it.
struct Source {
    /// As it was when it was last read.
    read: Look,
    /// As it was last seen, if that is another.
    changed: Option<Look>,
    /// It is being checked and sealed.
    sealing: Option<JoinHandle<anyhow::Result<Release>>>,
    version: u64,
    awaited: Option<Awaited>,
}

/// Serves until a server ends, which is an error.
pub(super) async fn watch(
    args: &Args,
    plan: &Plan,
    keys: Keys,
    servers: &mut Servers,
    version: u64,
    read: Look,
    mut view: View,
) -> anyhow::Result<()> {
    let keys = Arc::new(keys);
    let replicas = servers.addresses().into_iter().map(Replica::at).collect();
    let mut figures = Figures { replicas, ..Figures::default() };
    let mut source = Source { read, changed: None, sealing: None, version, awaited: None };
    let mut service_file = ServiceFile::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        if let Some(end) = servers.ended() {
            view.close();
            bail!("{end}");
        }
        source.sealed(args, &view).await?;
        if tick % SLOW == 0 {
            for (replica, page) in figures.replicas.iter_mut().zip(servers.pages().await) {
                if let Some(page) = page {
                    replica.note(page, Instant::now());
                }
            }
            if let Some(broker) = servers.broker_figures().await {
                figures.broker = broker;
            }
            source.loaded(&figures, &view)?;
            source.look(args, plan, &keys, &view)?;
            view.show(&figures)?;
        }
        if tick % SERVICE_FILE == 0
            && let Some(in_force) = figures.broker.manifest_version
        {
            service_file.renew(&plan.directory, in_force, &view)?;
        }
    }
    Ok(())
}

/// The service file, and what hindered its renewal the last time.
#[derive(Default)]
struct ServiceFile {
    hindrance: Option<String>,
}

impl ServiceFile {
    /// Renews it if that is due. The service goes on without: the file counts for weeks yet.
    fn renew(&mut self, directory: &OwnerDirectory, in_force: u64, view: &View) -> anyhow::Result<()> {
        let hindrance = match service_file::renew(directory, in_force, &SystemClock) {
            Ok(None) => None,
            Ok(Some(expires)) => {
                view.event(&format!("the service file is renewed: data owners can use it until {expires}"))?;
                None
            }
            Err(error) => Some(error_line(&error)),
        };
        // Said once, and not every minute.
        if let Some(reason) = &hindrance
            && hindrance != self.hindrance
        {
            view.event(&format!("the service file can't be renewed, and is tried again: {reason}"))?;
        }
        self.hindrance = hindrance;
        Ok(())
    }
}

impl Source {
    /// Begins to seal the model when its files have changed and are still.
    fn look(&mut self, args: &Args, plan: &Plan, keys: &Arc<Keys>, view: &View) -> anyhow::Result<()> {
        let now = look(&args.model);
        if now == self.read || now.is_empty() || self.sealing.is_some() {
            self.changed = None;
        } else if self.changed.as_ref() == Some(&now) {
            view.event(&format!("{} has changed: it is checked", args.model.display()))?;
            let (directory, name) = (plan.directory.clone(), plan.name.clone());
            let (keys, model) = (Arc::clone(keys), args.model.clone());
            self.sealing =
                Some(tokio::task::spawn_blocking(move || release(&directory, &keys, &name, &model)));
            self.read = now;
            self.changed = None;
        } else {
            // Somebody may still be writing.
            self.changed = Some(now);
        }
        Ok(())
    }

    /// Tells what became of a changed model.
    async fn sealed(&mut self, args: &Args, view: &View) -> anyhow::Result<()> {
        let Some(sealing) = self.sealing.take_if(|sealing| sealing.is_finished()) else { return Ok(()) };
        match sealing.await? {
            Ok(release) if release.is_new => {
                self.version = release.version;
                self.awaited =
                    Some(Awaited { version: release.version, since: Instant::now(), is_told: false });
                view.event(&format!("sealed as version {}: the replicas take it", release.version))
            }
            Ok(release) => view.event(&format!("it is still version {}", release.version)),
            Err(error) => view.event(&format!(
                "{} is refused, and version {} goes on: {}",
                args.model.display(),
                self.version,
                error_line(&error)
            )),
        }
    }

    /// Tells when all replicas have the newest version.
    fn loaded(&mut self, figures: &Figures, view: &View) -> anyhow::Result<()> {
        let Some(awaited) = &mut self.awaited else { return Ok(()) };
        let without = |replica: &&Replica| replica.version() < Some(awaited.version);
        let missing: Vec<&str> =
            figures.replicas.iter().filter(without).map(|replica| replica.address.as_str()).collect();
        if missing.is_empty() {
            let version = awaited.version;
            self.awaited = None;
            return view.event(&format!("version {version} answers on all replicas"));
        }
        if awaited.since.elapsed() > PATIENCE && !awaited.is_told {
            awaited.is_told = true;
            return view.event(&format!(
                "version {} is not loaded yet by {}; their logs say why",
                awaited.version,
                missing.join(", ")
            ));
        }
        Ok(())
    }
}
