//! The root key's life with the real binaries: a lost machine, an upgrade, and
//! kill -9 in the middle of one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_testkit::manifest::{Manifest, simulated_policy};
use adytum_tests::{
    deployment::{Broker, Deployment, built_binaries, copy_tree, hexadecimal_word, tampered_copy, word_with},
    owner::{apply_manifest, put_secret},
    process::{Process, run_refused},
};
use anyhow::{Context, Result, bail, ensure};

const START: Duration = Duration::from_secs(60);
const READY: &str = "Server listening on ";
/// What a broker logs when it has handed its root key over.
const HANDED: &str = "the root key was handed to the next broker";

/// A broker on a platform, with a secret that 2 of 3 can recover.
struct Fixture {
    directory: tempfile::TempDir,
    deployment: Deployment,
    broker: Broker,
    /// The root of the platform that the broker runs on.
    root: PathBuf,
    policy: PathBuf,
}

impl Fixture {
    /// With a second platform in addition to the first: another machine.
    async fn prepare() -> Result<(Self, Deployment)> {
        let directory = tempfile::tempdir()?;
        let binaries = built_binaries().await?;
        let (here, there) = (directory.path().join("here"), directory.path().join("there"));
        fs::create_dir(&here)?;
        fs::create_dir(&there)?;
        let deployment = Deployment::start(&here, &binaries).await?;
        let other = Deployment::start(&there, &binaries).await?;
        let broker = deployment.create_broker("broker").await?;
        let roots = [deployment.root_certificate(), other.root_certificate()];
        let policy = broker.policy();
        let fixture = Self { directory, root: deployment.root_certificate(), deployment, broker, policy };
        let mut recipients = Vec::new();
        for number in 0..3 {
            let file = fixture.file(&format!("recovery{number}.key"));
            let printed = fixture.deployment.run_adytum(["recovery-key", "new", "--out", &file]).await?;
            recipients.push(format!("\"{}\"", word_with(&printed, "age1")?));
        }
        let roots = roots.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        let manifest = Manifest::simulation(fixture.broker.genesis_digest(), 1, &roots)
            .table(format!("[recovery]\nthreshold = 2\nrecipients = [{}]\n", recipients.join(", ")))
            .workload("digits", &simulated_policy("1f".repeat(32)), &[])
            .secret("ssl_config", "opaque", &["digits"])
            .text();
        apply_manifest(&fixture.deployment, &fixture.broker, &manifest).await?;
        let value = PathBuf::from(fixture.file("value"));
        fs::write(&value, "open sesame")?;
        put_secret(&fixture.deployment, &fixture.broker, "ssl_config", &value).await?;
        Ok((fixture, other))
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn owner(&self) -> String {
        self.broker.owner_key().display().to_string()
    }

    /// `adytum ...` against the broker at this address.
    fn at(&self, address: &str, words: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match words {
            ["broker", "status", ..] => arguments.push(address.to_owned()),
            _ => arguments.extend(["--broker".to_owned(), address.to_owned()]),
        }
        let text = |path: &Path| path.display().to_string();
        arguments.extend(["--genesis".into(), text(&self.broker.genesis())]);
        arguments.extend(["--broker-policy".into(), text(&self.policy)]);
        arguments.extend(["--heads".into(), self.file("heads.json")]);
        arguments.extend(["--trust-simulation".into(), text(&self.root)]);
        arguments
    }

    async fn run(&self, address: &str, words: &[&str]) -> Result<String> {
        self.deployment.run_adytum(self.at(address, words)).await
    }

    async fn refused(&self, address: &str, words: &[&str]) -> Result<String> {
        run_refused(self.deployment.adytum(self.at(address, words))).await
    }

    async fn stop(mut self, other: Option<Deployment>) {
        self.broker.stop().await;
        self.deployment.stop().await;
        if let Some(mut other) = other {
            other.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_is_replaced_by_those_who_hold_shares() -> Result<()> {
    let (mut fixture, other) = Fixture::prepare().await?;
    let address = fixture.broker.address().to_owned();
    let keys = [0, 1, 2].map(|number| fixture.file(&format!("recovery{number}.key")));
    let made_on = fixture.root.display().to_string();
    let recover = |key| ["broker", "recover", "--arranged-on", made_on.as_str(), "--recovery-key", key];
    // Each holder sees that his key opens a share, while all is well.
    for key in &keys {
        let said = fixture.run(&address, &["broker", "recover", "--check", "--recovery-key", key]).await?;
        ensure!(said.contains("2 of 3"), "{said}");
    }
    let early = fixture.refused(&address, &["broker", "recover", "--recovery-key", &keys[0]]).await?;
    ensure!(early.contains("has its root key"), "{early}");
    fixture.broker.stop().await;

    // Its disk in another machine.
    other.start_broker(&mut fixture.broker).await?;
    fixture.root = other.root_certificate();
    let address = fixture.broker.address().to_owned();
    let status = fixture.run(&address, &["broker", "status"]).await?;
    ensure!(status.contains("WAITS") && status.contains("0 of 2"), "{status}");
    let list = ["secret", "list", "--owner", &fixture.owner()];
    let refused = fixture.refused(&address, &list).await?;
    ensure!(refused.contains("awaits recovery"), "{refused}");
    let thief = fixture.file("thief.key");
    fixture.deployment.run_adytum(["recovery-key", "new", "--out", &thief]).await?;
    let refused = fixture.refused(&address, &recover(&thief)).await?;
    ensure!(refused.contains("no share"), "{refused}");
    // Without trust in the platform that made the shares, none is sent.
    let refused = fixture.refused(&address, &["broker", "recover", "--recovery-key", &keys[0]]).await?;
    ensure!(refused.contains("made this arrangement for recovery is not valid"), "{refused}");

    let said = fixture.run(&address, &recover(&keys[0])).await?;
    ensure!(said.contains("1 of 2"), "{said}");
    let status = fixture.run(&address, &["broker", "status", "--json"]).await?;
    let status: serde_json::Value = serde_json::from_str(status.trim())?;
    ensure!(status["broker"]["awaiting_recovery"] == true && status["broker"]["threshold"] == 2, "{status}");
    let said = fixture.run(&address, &recover(&keys[2])).await?;
    ensure!(said.contains("is recovered"), "{said}");

    // The same process goes on, and waits for an owner's word.
    let status = eventually(async || fixture.run(&address, &["broker", "status"]).await).await?;
    ensure!(status.contains("manifest version  1") && status.contains("confirm"), "{status}");
    fixture.run(&address, &["broker", "confirm", "--owner", &fixture.owner()]).await?;
    let listed = fixture.run(&address, &list).await?;
    ensure!(listed.contains("ssl_config"), "{listed}");
    // The broker on this machine made new shares.
    let said = fixture.run(&address, &["broker", "recover", "--check", "--recovery-key", &keys[1]]).await?;
    ensure!(said.contains("2 of 3"), "{said}");

    // From now on it starts here by itself.
    fixture.broker.stop().await;
    other.start_broker(&mut fixture.broker).await?;
    let address = fixture.broker.address().to_owned();
    let listed = fixture.run(&address, &list).await?;
    ensure!(listed.contains("ssl_config"), "{listed}");
    fixture.stop(Some(other)).await;
    Ok(())
}

/// Asks until there is an answer, from a process that runs at the same time.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let began = std::time::Instant::now();
    loop {
        match ask().await {
            Err(_) if began.elapsed() < START => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer,
        }
    }
}

/// How a broker binary finds the state, when it is started on it without more.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It has the root key.
    Open,
    Awaiting,
    Fenced,
}

/// Two versions of the broker on one state directory.
struct Upgrade {
    fixture: Fixture,
    present: PathBuf,
    next: PathBuf,
    authorisation: String,
}

impl Upgrade {
    /// Authorised; nothing runs. The state is kept to begin with again.
    async fn prepare() -> Result<(Self, Deployment)> {
        let (mut fixture, other) = Fixture::prepare().await?;
        let present = fixture.deployment.binary("adytum-broker");
        let next = PathBuf::from(fixture.file("adytum-broker-next"));
        tampered_copy(&present, &next)?;
        let mut identities = Vec::new();
        for binary in [&present, &next] {
            let binary = binary.display().to_string();
            let measured = fixture.deployment.run_adytum(["measure", "--broker", &binary]).await?;
            identities.push(hexadecimal_word(&measured)?);
        }
        let policy = |identities: &[String]| {
            let identities = identities.join("\", \"");
            format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nidentity = [\"{identities}\"]\n")
        };
        fs::write(fixture.file("next.toml"), policy(&identities[1..]))?;
        fs::write(fixture.file("both.toml"), policy(&identities))?;
        let (next_policy, authorisation) = (fixture.file("next.toml"), fixture.file("upgrade.toml"));
        let address = fixture.broker.address().to_owned();
        let owner = fixture.owner();
        let words = [
            "broker",
            "authorise-upgrade",
            "--next-policy",
            &next_policy,
            "--out",
            &authorisation,
            "--owner",
            &owner,
        ];
        let said = fixture.run(&address, &words).await?;
        ensure!(said.contains("--take-over-from"), "{said}");
        fixture.policy = PathBuf::from(fixture.file("both.toml"));
        fixture.broker.stop().await;
        copy_tree(&fixture.broker.state(), Path::new(&fixture.file("template")))?;
        Ok((Self { fixture, present, next, authorisation }, other))
    }

    fn begin_again(&self) -> Result<()> {
        fs::remove_dir_all(self.fixture.broker.state())?;
        Ok(copy_tree(Path::new(&self.fixture.file("template")), &self.fixture.broker.state())?)
    }

    async fn start(&self, binary: &Path) -> Result<(Process, String)> {
        let mut process = self.fixture.deployment.spawn_broker(&self.fixture.broker, binary, &[]).await?;
        let address = process.wait_for(READY, START).await?;
        Ok((process, address))
    }

    /// Starts the next version, which takes over; not awaited.
    async fn take_over(&self, from: &str) -> Result<Process> {
        let flags = ["--take-over-from", from, "--upgrade-authorisation", &self.authorisation];
        self.fixture.deployment.spawn_broker(&self.fixture.broker, &self.next, &flags).await
    }

    async fn standing_at(&self, address: &str) -> Result<Standing> {
        let mut words = self.fixture.at(address, &["broker", "status", "--json"]);
        // Each round begins with an older state: that is the test's doing.
        let heads = words.iter().position(|word| word == "--heads").context("--heads")?;
        words[heads + 1] = self.fixture.file(&format!("heads-{}.json", address.replace(':', "-")));
        let status = self.fixture.deployment.run_adytum(words).await?;
        let status: serde_json::Value = serde_json::from_str(status.trim())?;
        let broker = &status["broker"];
        Ok(match (broker["awaiting_recovery"].as_bool(), broker["fenced"].as_bool()) {
            (Some(true), _) => Standing::Awaiting,
            (_, Some(true)) => Standing::Fenced,
            _ => Standing::Open,
        })
    }

    async fn standing(&self, binary: &Path) -> Result<Standing> {
        let (mut process, address) = self.start(binary).await?;
        let standing = self.standing_at(&address).await;
        process.stop().await;
        standing
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_hands_the_key_over_and_fences_the_former_broker() -> Result<()> {
    let (upgrade, other) = Upgrade::prepare().await?;
    let fixture = &upgrade.fixture;
    let (mut former, from) = upgrade.start(&upgrade.present).await?;
    let mut next = upgrade.take_over(&from).await?;
    let address = next.wait_for(READY, START).await?;
    ensure!(upgrade.standing_at(&from).await? == Standing::Fenced);
    ensure!(upgrade.standing_at(&address).await? == Standing::Open);
    let list = ["secret", "list", "--owner", &fixture.owner()];
    let listed = fixture.run(&address, &list).await?;
    ensure!(listed.contains("ssl_config"), "{listed}");
    // A client that has seen the next one's state takes no older one. Another one learns
    // of the handover.
    let refused = fixture.refused(&from, &list).await?;
    ensure!(refused.contains("rolled back"), "{refused}");
    let mut unknowing = fixture.at(&from, &list);
    let heads = unknowing.iter().position(|word| word == "--heads").context("--heads")?;
    unknowing[heads + 1] = fixture.file("other-heads.json");
    let refused = run_refused(fixture.deployment.adytum(unknowing)).await?;
    ensure!(refused.contains("handed its root key"), "{refused}");
    former.stop().await;
    next.stop().await;
    // Started again, with and without the flags.
    ensure!(upgrade.standing(&upgrade.present).await? == Standing::Awaiting);
    ensure!(upgrade.standing(&upgrade.next).await? == Standing::Open);
    let mut again = upgrade.take_over(&from).await?;
    let address = again.wait_for(READY, START).await?;
    ensure!(upgrade.standing_at(&address).await? == Standing::Open);
    again.stop().await;
    upgrade.fixture.stop(Some(other)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_an_upgrade_leaves_exactly_one_broker_with_the_key() -> Result<()> {
    let (upgrade, other) = Upgrade::prepare().await?;
    let rounds: u32 =
        std::env::var("ADYTUM_UPGRADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut seen = [0; 3];
    for round in 0..rounds {
        upgrade.begin_again()?;
        let (mut former, from) = upgrade.start(&upgrade.present).await?;
        let mut next = upgrade.take_over(&from).await?;
        // Through all of a handover, from before its beginning to after its end; and
        // right in the middle: the key has left and is not sealed yet.
        let moment = Duration::from_millis(u64::from(round) * 360 / u64::from(rounds));
        match round % 4 {
            0 => {
                tokio::time::sleep(moment).await;
                kill(&mut former).await;
            }
            1 => {
                tokio::time::sleep(moment).await;
                kill(&mut next).await;
            }
            2 => {
                former.wait_for(HANDED, START).await?;
                kill(&mut next).await;
            }
            _ => {
                former.wait_for(HANDED, START).await?;
                kill(&mut former).await;
            }
        }
        kill(&mut former).await;
        kill(&mut next).await;
        match (upgrade.standing(&upgrade.present).await?, upgrade.standing(&upgrade.next).await?) {
            (Standing::Open, Standing::Awaiting) => seen[0] += 1,
            (Standing::Awaiting, Standing::Open) => seen[1] += 1,
            (Standing::Fenced, Standing::Awaiting) => {
                // The key is on its way: the next one comes again and gets it.
                let (mut former, from) = upgrade.start(&upgrade.present).await?;
                let mut next = upgrade.take_over(&from).await?;
                let address = next.wait_for(READY, START).await?;
                ensure!(upgrade.standing_at(&address).await? == Standing::Open);
                former.stop().await;
                next.stop().await;
                ensure!(upgrade.standing(&upgrade.present).await? == Standing::Awaiting);
                seen[2] += 1;
            }
            both => bail!("round {round}: {both:?}"),
        }
    }
    println!("the former had it {} times, the next {}, neither yet {}", seen[0], seen[1], seen[2]);
    upgrade.fixture.stop(Some(other)).await;
    Ok(())
}

/// kill -9.
async fn kill(process: &mut Process) {
    if let Some(id) = process.id() {
        let _ = tokio::process::Command::new("kill").args(["-9", &id.to_string()]).status().await;
        let _ = process.wait_for_end(START).await;
    }
}
