//! From a replica that runs to the manifest that lets it serve: an owner who has
//! measured nothing asks the replica itself, in an attested session.

use std::{fs, path::Path, time::Duration};

use adytum_tests::{
    deployment::{Deployment, Replica, built_binaries, word_with},
    owner,
};
use anyhow::{Result, ensure};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_waits_is_named_by_what_it_shows() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
    let mut broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let models = directory.path().join("models");
    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let flags = ["--evidence-listen=127.0.0.1:0"];
    let mut waiting = deployment.spawn_replica_with("replica", &replica, &flags).await?;
    let port = waiting.wait_for("showing evidence to every peer that asks", PATIENCE).await?;
    let address = word_with(&port.replace("address=", ""), "127.0.0.1:")?;
    // The broker trusts nobody yet, which is no reason to end.
    waiting.wait_for("nothing-trusted-yet", PATIENCE).await?;

    // Somebody who speaks something else changes nothing.
    TcpStream::connect(&address).await?.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;

    let path = |name: &str| directory.path().join(name).display().to_string();
    let (genesis, root) = (broker.genesis().display().to_string(), deployment.root_certificate());
    let key = broker.directory().join("model.key");
    let printed = deployment.run_adytum(["model-key", "new", "--out", &key.display().to_string()]).await?;
    let recipient = word_with(&printed, "age1")?;
    let draft = [
        "manifest",
        "new",
        "--genesis",
        &genesis,
        "--workload",
        "digits",
        "--configuration",
        &configuration.path.display().to_string(),
        "--model",
        "digits",
        "--signer",
        &broker.owner_key().display().to_string(),
        "--recovery-recipient",
        broker.recovery(),
        "--replica",
        &address,
        "--collateral",
        deployment.pccs_url(),
    ];
    // A simulated platform that nobody named shows nothing that counts.
    let refused = deployment.run_adytum(draft).await.unwrap_err().to_string();
    ensure!(refused.contains("untrusted"), "{refused}");
    let (root, out) = (root.display().to_string(), path("drafted.toml"));
    let draft = draft.iter().copied().chain(["--trust-simulation", &root, "--out", &out]);
    deployment.run_adytum(draft).await?;
    let text = fs::read_to_string(&out)?;
    ensure!(text.contains(&configuration.identity), "{text}");

    let explain = ["manifest", "explain", &out, "--replica", &address, "--collateral", deployment.pccs_url()];
    let said = deployment.run_adytum(explain).await?;
    ensure!(said.contains("is        workload digits") && said.contains("granted   model_key"), "{said}");
    let trusted = ["--trust-simulation", &root, "--collateral", deployment.pccs_url()];
    let said =
        deployment.run_adytum(["evidence", "show", "--replica", &address].into_iter().chain(trusted)).await?;
    ensure!(said.contains(&configuration.identity), "{said}");

    // The workload's tables alone, and the broker's policy from the broker itself.
    let new = ["workload", "new", "--workload", "digits", "--model", "digits", "--replica", &address];
    let (signer, given) =
        (broker.owner_key().display().to_string(), configuration.path.display().to_string());
    let further = ["--signer", &signer, "--configuration", &given];
    let tables = deployment.run_adytum(new.into_iter().chain(further).chain(trusted)).await?;
    for words in
        ["[[workload]]", "[[secret]]", "[[model]]", &configuration.identity, "kind = \"age-identity\""]
    {
        ensure!(tables.contains(words), "{words}: {tables}");
    }
    ensure!(!tables.contains("genesis") && !tables.contains("[trust]"), "{tables}");
    let policy = ["workload", "policy", "--broker", broker.address()];
    let untrusted = policy.into_iter().chain(["--collateral", deployment.pccs_url()]);
    let refused = deployment.run_adytum(untrusted).await.unwrap_err().to_string();
    ensure!(refused.contains("untrusted"), "{refused}");
    let drafted = deployment.run_adytum(policy.into_iter().chain(trusted)).await?;
    let program = deployment.binary("adytum-broker").display().to_string();
    let measured = ["workload", "policy", "--broker-program", &program];
    let measured = deployment.run_adytum(measured.into_iter().chain(trusted)).await?;
    let identity = |text: &str| {
        text.lines().find(|line| line.contains("identity") || line.contains("mr_enclave")).map(str::to_owned)
    };
    ensure!(identity(&drafted).is_some() && measured.contains("identity = "), "{drafted}");
    let both = path("broker-drafted.toml");
    fs::write(&both, &drafted)?;
    let verify = ["broker", "verify", broker.address(), "--genesis", &genesis, "--broker-policy", &both];
    let heads = path("drafting-heads.json");
    deployment.run_adytum(verify.into_iter().chain(trusted).chain(["--heads", &heads])).await?;

    // With that manifest and its secrets the replica that waits serves.
    owner::apply_manifest(&deployment, &broker, &text).await?;
    let (ssl, crt) = (path("ssl.cfg"), path("server.crt"));
    deployment.run_adytum(["ssl-config", "new", "--host", "localhost", "--crt", &crt, "--out", &ssl]).await?;
    owner::put_secret(&deployment, &broker, "ssl_config", Path::new(&ssl)).await?;
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/model.onnx");
    owner::seal(&deployment, &broker, &digits, "digits", 1, &recipient, &models).await?;
    owner::put_secret(&deployment, &broker, "model_key", &key).await?;
    waiting.wait_for("Running gRPC ModelServer at 0.0.0.0:", PATIENCE).await?;
    // It shows the same as long as it serves.
    deployment.run_adytum(explain).await?;
    waiting.stop().await;
    // And then nobody does.
    let gone = deployment.run_adytum(explain).await.unwrap_err().to_string();
    ensure!(gone.contains(&address), "{gone}");
    broker.stop().await;
    Ok(())
}
