//! The data owner verifies a replica, and refuses service files that do not count.

use std::{fs, time::Duration};

use adytum_evidence::measurement::Sha256Digest;
use adytum_testkit::half_plus_two;
use adytum_tests::process::{run, run_refused};
use anyhow::{Result, ensure};

use crate::{
    attackers,
    fixture::{Fixture, SOON, image},
    several::{Model, Several, port},
};

#[tokio::test]
async fn the_data_owner_verifies_a_replica_and_gets_her_answer() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (process, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    // Nothing says yet that this genesis is the right one.
    let said = run_refused(fixture.predict(&server, &fixture.service, &[])?).await?;
    ensure!(said.contains("never confirmed here"), "{said}");
    ensure!(said.contains(fixture.broker.genesis_digest()), "{said}");
    let other = [format!("--genesis={}", "11".repeat(32))];
    let said = run_refused(fixture.predict(&server, &fixture.service, &other)?).await?;
    ensure!(said.contains("expected 1111"), "{said}");
    // Confirmed once, remembered then.
    for more in [vec![fixture.confirmed()], Vec::new()] {
        let printed = run(fixture.predict(&server, &fixture.service, &more)?).await?;
        let answer: serde_json::Value = serde_json::from_str(printed.trim())?;
        let verified = &answer["verified"];
        ensure!(verified["version"] == 3 && verified["model"] == "digits", "{printed}");
        ensure!(verified["identity"] == fixture.configuration.identity, "{printed}");
        ensure!(verified["signer"] == fixture.broker.owner(), "{printed}");
        ensure!(verified["genesis"] == fixture.broker.genesis_digest(), "{printed}");
        ensure!(verified["manifest_version"] == 1, "{printed}");
        let in_force = Sha256Digest::of_bytes(&fs::read(fixture.manifest())?).to_string();
        ensure!(verified["manifest_sha256"] == in_force, "{printed}");
    }
    // A plain client of the same port, as before.
    let crt = format!("--crt={}", fixture.provisioned.server_crt.display());
    let words =
        ["predict", "--model=digits", "--json", &crt, &format!("--server={server}")].map(str::to_owned);
    let picture = format!("--image={}", image()?.display());
    let plain = fixture.deployment.run_adytum(words.into_iter().chain([picture])).await?;
    ensure!(!plain.contains("verified"), "{plain}");
    // Simulation where nobody asked for it.
    let command = fixture.deployment.adytum([
        "predict".to_owned(),
        format!("--image={}", image()?.display()),
        format!("--server={server}"),
        format!("--attest={}", fixture.service.display()),
        fixture.confirmed(),
        format!("--services={}", fixture.directory.path().join("other.json").display()),
    ]);
    let said = run_refused(command).await?;
    ensure!(said.contains("is of a simulated platform"), "{said}");
    fixture.stop([process]).await;
    Ok(())
}

#[tokio::test]
async fn an_older_service_file_and_an_altered_one_are_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (process, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    let newer = fixture.directory.path().join("newer.toml");
    fixture.export(&newer, &["--revision=2"]).await?;
    run(fixture.predict(&server, &newer, &[fixture.confirmed()])?).await?;
    fixture.refused(&server, &fixture.service, "was seen before").await?;
    let altered = fixture.directory.path().join("altered.toml");
    let text = fs::read_to_string(&newer)?;
    fs::write(&altered, text.replace("minimum_version = 1", "minimum_version = 0"))?;
    ensure!(fs::read_to_string(&altered)? != text, "nothing was altered");
    fixture.refused(&server, &altered, "is not over this document").await?;
    let expired = run_refused(fixture.deployment.adytum([
        "service",
        "export",
        "broker/manifest.toml",
        "--genesis=broker/genesis.toml",
        "--expires=2020-01-01",
        "--out=expired.toml",
    ]))
    .await?;
    ensure!(expired.contains("that day is over"), "{expired}");
    fixture.stop([process]).await;
    Ok(())
}

#[tokio::test]
async fn plain_clients_are_served_while_strangers_ask_for_quotes() -> Result<()> {
    let mut fixture = Fixture::prepare().await?;
    fixture.deployment.set_quote_latency(Duration::from_millis(20));
    let (replica, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    let started = std::time::Instant::now();
    let flood = tokio::spawn(attackers::flood(port, 400));
    let crt = format!("--crt={}", fixture.provisioned.server_crt.display());
    let mut answered = 0;
    while answered < 10 {
        let words = ["predict", "--model=digits", &crt, &format!("--server={server}")].map(str::to_owned);
        let picture = format!("--image={}", image()?.display());
        fixture.deployment.run_adytum(words.into_iter().chain([picture])).await?;
        answered += 1;
    }
    let took = started.elapsed();
    let (attested, refused) = flood.await??;
    // The bucket of an address holds 20 sessions, and 10 more come each second.
    let most = 20 + 10 * (1 + started.elapsed().as_secs());
    ensure!(attested <= most, "{attested} quotes for one address, at most {most}");
    ensure!(attested + refused == 400, "{attested} + {refused}");
    ensure!(took < SOON, "{took:?}");
    fixture.stop([replica]).await;
    Ok(())
}

/// More versions than an announcement has room for, and as many as anybody may rely on.
const TOO_MANY: u64 = 400;
const ROOM: u64 = 200;

#[tokio::test]
async fn a_replica_announces_hundreds_of_versions_or_does_not_start() -> Result<()> {
    let mut fixture = Fixture::prepare().await?;
    let models = [Model { name: "default", versions: 1..=TOO_MANY, onnx: half_plus_two::model() }];
    let several = Several::prepare(&fixture, &models).await?;
    let mut full = several.spawn(&fixture, "full", &[]).await?;
    let (status, lines) = full.wait_for_end(4 * SOON).await?;
    ensure!(!status.success(), "{status}");
    let said = lines.join("\n") + &fs::read_to_string(full.log())?;
    ensure!(said.contains("announcement-full") && said.contains("--attested_sessions=false"), "{said}");
    for version in ROOM + 1..=TOO_MANY {
        fs::remove_dir_all(fixture.directory.path().join(format!("default/{version}")))?;
    }
    let mut replica = several.spawn(&fixture, "room", &[]).await?;
    let port = port(&mut replica).await?;
    fixture.service = fixture.directory.path().join("several.toml");
    fixture.export(&fixture.service, &[]).await?;
    for version in [1, ROOM] {
        let mut words = vec!["call".to_owned(), "--model=default".into(), "--json".into()];
        words.extend([format!("--model-version={version}"), "--input=x=[[4]]".into(), fixture.confirmed()]);
        words.extend(fixture.flags(&format!("localhost:{port}"), &fixture.service));
        let answer: serde_json::Value =
            serde_json::from_str(fixture.deployment.run_adytum(words).await?.trim())?;
        ensure!(answer["verified"]["version"] == version && answer["outputs"]["y"][0][0] == 4.0, "{answer}");
    }
    fixture.stop([replica]).await;
    Ok(())
}
