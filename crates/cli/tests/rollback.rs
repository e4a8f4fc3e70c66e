//! The real binary against a broker whose state is backed up, restored, and put
//! back behind its owner's back.

#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use adytum_broker::{
    Broker, BrokerConfiguration, ServerLimits,
    audit::sink::LoggedEvents,
    serve,
    start::opening::{self, Opening},
    store::{self, FILE, LockedStore},
};
use adytum_evidence::{attester::Attester, clock::SystemClock, measurement::WorkloadIdentity};
use adytum_governance::genesis::Genesis;
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use tokio::{net::TcpListener, sync::oneshot};

const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xb0; 32]);

struct Stage {
    home: tempfile::TempDir,
    platform: Arc<Platform>,
    genesis: Genesis,
}

/// A broker in this process.
struct Running {
    broker: Arc<Broker>,
    address: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn happens(&self, what: &str) {
        self.broker.store().append_audit(vec![what.as_bytes().to_vec()]).await.unwrap();
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.broker.store().close().await.unwrap();
    }
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let platform = Platform::create(home.path().join("platform")).unwrap();
        let key = OwnerSigningKey::generate().unwrap();
        fs::write(home.path().join("owner.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
        let genesis = Genesis::found([key.public_key()], 1).unwrap();
        fs::write(home.path().join("genesis.toml"), genesis.to_toml()).unwrap();
        Self { home, platform, genesis }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    async fn start(&self, state: &str) -> Running {
        let state = self.path(state);
        self.free(&state).await;
        let attester = SimAttester::new(Arc::clone(&self.platform), IDENTITY);
        let locked = LockedStore::open(&state, self.genesis.digest()).unwrap();
        let Ok(Opening::Open(store)) = opening::open(locked, attester.sealing_key().unwrap()) else {
            panic!()
        };
        let broker = Broker::start(BrokerConfiguration {
            genesis: self.genesis.clone(),
            attester: Arc::new(attester),
            collateral: Arc::new(self.platform.collateral_source()),
            clock: Arc::new(SystemClock),
            store: *store,
            events: Arc::new(LoggedEvents::default()),
            occlum: None,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&broker);
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, served, ServerLimits::default(), stopped).await.unwrap();
        });
        Running { broker, address, stop, serving }
    }

    /// Connections of a server that has ended may hold its store a moment longer.
    async fn free(&self, state: &Path) {
        for _ in 0..2000 {
            if LockedStore::open(state, self.genesis.digest()).is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{} is still in use", state.display());
    }

    /// `adytum broker ...` with what the owner knows of the broker.
    async fn broker(&self, words: &[&str], running: &Running) -> Output {
        self.remembering("heads.json", words, running).await
    }

    /// The same with this memory of heads.
    async fn remembering(&self, heads: &str, words: &[&str], running: &Running) -> Output {
        let mut arguments: Vec<String> = ["broker"].iter().chain(words).map(ToString::to_string).collect();
        match words[0] {
            "confirm" => arguments.extend(["--broker".into(), running.address.clone()]),
            _ => arguments.push(running.address.clone()),
        }
        arguments.extend(["--genesis".into(), self.text("genesis.toml")]);
        arguments.extend(["--broker-measurement".into(), IDENTITY.to_string()]);
        arguments.extend(["--trust-simulation".into(), self.text("platform/root.pem")]);
        arguments.extend(["--heads".into(), self.text(heads)]);
        adytum(arguments).await
    }
}

async fn adytum(arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_adytum"))
            .args(arguments)
            .env_remove("PCCS_URL")
            .env_remove("ADYTUM_BROKER")
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    })
    .await
    .unwrap()
}

fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_refused_until_the_owner_accepts_it() {
    let stage = Stage::new();
    let backup = |name: &str, out: &str| store::backup(&stage.path(name), &stage.path(out));
    let restore = |name: &str, from: &str| store::restore(&stage.path(from), &stage.path(name));

    let running = stage.start("state").await;
    running.happens("yesterday").await;
    assert_eq!(backup("state", "backup.redb").unwrap_err().code(), "store-in-use");
    running.stop().await;
    stage.free(&stage.path("state")).await;
    assert_eq!(backup("state", "backup.redb").unwrap(), stage.genesis.digest());
    assert_eq!(backup("state", "backup.redb").unwrap_err().code(), "store-exists");
    assert_eq!(backup("nowhere", "other.redb").unwrap_err().code(), "store-no-state");

    let running = stage.start("state").await;
    running.happens("today").await;
    said(&stage.broker(&["status"], &running).await);
    running.happens("later").await;
    said(&stage.broker(&["verify"], &running).await);
    running.stop().await;
    stage.free(&stage.path("state")).await;
    assert_eq!(restore("state", "backup.redb").unwrap_err().code(), "store-exists");

    restore("restored", "backup.redb").unwrap();
    let running = stage.start("restored").await;
    for words in [&["status"][..], &["verify"], &["confirm", "--owner", &stage.text("owner.pem")]] {
        let text = refused(&stage.broker(words, &running).await);
        assert!(text.contains("rolled back"), "{text}");
        assert!(text.contains("Seen: epoch 2,") && text.contains("Found: epoch 2,"), "{text}");
    }
    // A command that is refused forgets nothing.
    let stranger = ["owner", "new", "--out", &stage.text("stranger.pem")].map(str::to_owned);
    said(&adytum(stranger.to_vec()).await);
    let remembered = fs::read(stage.path("heads.json")).unwrap();
    let strange = ["confirm", "--accept-rollback", "--owner", &stage.text("stranger.pem")];
    let text = refused(&stage.broker(&strange, &running).await);
    assert!(text.contains("not an owner of this broker"), "{text}");
    assert_eq!(fs::read(stage.path("heads.json")).unwrap(), remembered);
    let text = refused(&stage.broker(&["status"], &running).await);
    assert!(text.contains("forked") || text.contains("rolled back"), "{text}");
    let accept = ["confirm", "--accept-rollback", "--owner", &stage.text("owner.pem")];
    let text = said(&stage.broker(&accept, &running).await);
    assert!(text.contains("given up  epoch 2,") && text.contains("restored  epoch 2,"), "{text}");
    said(&stage.broker(&["status"], &running).await);
    // Once more, there is nothing to give up.
    let text = refused(&stage.broker(&accept, &running).await);
    assert!(text.contains("nothing would be given up"), "{text}");
    running.stop().await;

    // The broker with today's file is the other one now.
    let running = stage.start("state").await;
    let text = refused(&stage.broker(&["status"], &running).await);
    assert!(text.contains("forked") || text.contains("rolled back"), "{text}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_went_on_by_itself_is_refused() {
    let stage = Stage::new();
    let running = stage.start("one").await;
    running.happens("common").await;
    running.stop().await;
    stage.free(&stage.path("one")).await;
    fs::create_dir(stage.path("two")).unwrap();
    fs::copy(stage.path("one").join(FILE), stage.path("two").join(FILE)).unwrap();
    let (one, two) = (stage.start("one").await, stage.start("two").await);
    one.happens("in the one").await;
    said(&stage.broker(&["status"], &one).await);
    for what in ["in the other", "and more", "and more"] {
        two.happens(what).await;
        let text = refused(&stage.broker(&["status"], &two).await);
        assert!(text.contains("forked"), "{text}");
    }
    said(&stage.broker(&["status"], &one).await);
    one.stop().await;
    two.stop().await;
}

/// Two owners, each with their own memory of heads.
#[tokio::test(flavor = "multi_thread")]
async fn owners_confirm_one_after_another_each_with_their_own_tool() {
    let mut stage = Stage::new();
    let key = OwnerSigningKey::generate().unwrap();
    fs::write(stage.path("second.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    let first = OwnerSigningKey::from_pem(&fs::read_to_string(stage.path("owner.pem")).unwrap()).unwrap();
    stage.genesis = Genesis::found([first.public_key(), key.public_key()], 2).unwrap();
    fs::write(stage.path("genesis.toml"), stage.genesis.to_toml()).unwrap();

    let running = stage.start("state").await;
    running.happens("yesterday").await;
    running.stop().await;
    stage.free(&stage.path("state")).await;
    store::backup(&stage.path("state"), &stage.path("backup.redb")).unwrap();
    let running = stage.start("state").await;
    running.happens("today").await;
    // The first has seen today's state, the second nothing yet.
    said(&stage.broker(&["status"], &running).await);
    running.stop().await;
    store::restore(&stage.path("backup.redb"), &stage.path("restored")).unwrap();
    let running = stage.start("restored").await;

    let (first, second) = (stage.text("owner.pem"), stage.text("second.pem"));
    let (mine, both) = (stage.text("mine.toml"), stage.text("both.toml"));
    let begin = ["confirm", "--accept-rollback", "--owner", &first, "--out", &mine];
    said(&stage.broker(&begin, &running).await);
    // Neither alone, nor without the word for giving a state up.
    let alone = ["confirm", "--accept-rollback", "--owner", &first];
    let text = refused(&stage.broker(&alone, &running).await);
    assert!(text.contains("1 owner(s) signed it; 2 must"), "{text}");
    let text = refused(&stage.broker(&["status"], &running).await);
    assert!(text.contains("rolled back") || text.contains("forked"), "{text}");
    let plain = ["confirm", "--owner", &second, "--signatures", &mine];
    let text = refused(&stage.remembering("other.json", &plain, &running).await);
    assert!(text.contains("sign with --accept-rollback"), "{text}");
    let add = ["confirm", "--accept-rollback", "--owner", &second, "--signatures", &mine, "--out", &both];
    said(&stage.remembering("other.json", &add, &running).await);
    let send = ["confirm", "--accept-rollback", "--owner", &second, "--signatures", &both];
    said(&stage.remembering("other.json", &send, &running).await);
    said(&stage.remembering("other.json", &["status"], &running).await);
    // The first has still to forget.
    refused(&stage.broker(&["status"], &running).await);
    let forget = ["confirm", "--accept-rollback", "--forget-newer", "--owner", &first];
    said(&stage.broker(&forget, &running).await);
    said(&stage.broker(&["status"], &running).await);
    running.stop().await;

    // A confirmation for one start counts for no other.
    let running = stage.start("restored").await;
    let text = refused(&stage.remembering("other.json", &send, &running).await);
    assert!(text.contains("another start"), "{text}");
    running.stop().await;
}
