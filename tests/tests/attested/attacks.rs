//! Attackers who would like the data owner's data, and what reached them: not one byte of a request.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_evidence::{collateral::Collateral, measurement::Sha256Digest};
use adytum_governance::manifest::ManifestInForce;
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Faults, Platform};
use adytum_testkit::manifest::Manifest;
use adytum_tests::owner;
use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::{
    attackers::{
        Attacker, Relay,
        http2::Reactions,
        impostor::{Impostor, Proof, Seen},
        switch::Switch,
    },
    fixture::{Fixture, SOON, instances, many_instances, post, proxy, proxy_by, statement},
};

#[tokio::test]
async fn an_attacker_gets_no_byte_of_a_request() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    // One who speaks TLS without attested sessions, and one in the middle with the genuine
    // replica behind.
    let stripping = Attacker::stripping().await?;
    fixture.refused(&stripping.address(), &fixture.service, "protocol-mismatch").await?;
    ensure!(stripping.plaintext().is_empty(), "{:?}", stripping.plaintext());
    let relay = Relay::to(port).await?;
    fixture.refused(&relay.address(), &fixture.service, "evidence-not-bound").await?;
    ensure!(relay.saw_evidence(), "the replica did not attest");
    ensure!(relay.plaintext_after_attestation().is_empty(), "the relay got more than a refusal");
    // The same evidence in a later session.
    let replay = relay.replaying().await?;
    fixture.refused(&replay.address(), &fixture.service, "evidence-not-bound").await?;
    ensure!(replay.plaintext_after_attestation().is_empty(), "the replay got more than a refusal");
    // Through the proxy it is no different, and said in the client's protocol.
    let mut processes = vec![replica];
    for attacker in [relay.address(), replay.address(), stripping.address()] {
        let (process, local) = proxy(&fixture, &attacker).await?;
        let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
        let expected =
            if attacker == stripping.address() { "protocol-mismatch" } else { "evidence-not-bound" };
        ensure!(answer.starts_with("HTTP/1.1 403") && answer.contains(expected), "{answer}");
        processes.push(process);
    }
    for (who, received) in [
        ("stripping", stripping.plaintext()),
        ("relay", relay.plaintext_after_attestation()),
        ("replay", replay.plaintext_after_attestation()),
    ] {
        ensure!(received.is_empty(), "{who} got {received:?}");
    }
    for refusals in [relay.refusals(), replay.refusals()] {
        ensure!(contains(&refusals, b"evidence-not-bound"), "{refusals:?}");
    }
    fixture.stop(processes).await;
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// An attack by somebody with a TEE, and the codes with which it may be refused.
struct Attack {
    what: &'static str,
    proof: Proof,
    codes: &'static [&'static str],
}

/// What a vendor's collateral becomes in an attacker's hands.
fn altered(collateral: &Collateral) -> Collateral {
    let Collateral::Dcap(genuine) = collateral else { return collateral.clone() };
    let mut changed = (**genuine).clone();
    changed.tcb_info = changed.tcb_info.replace("UpToDate", "OutOfDate");
    if changed.tcb_info == genuine.tcb_info {
        changed.tcb_info.push(' ');
    }
    Collateral::Dcap(Arc::new(changed))
}

fn attacks(fixture: &Fixture, genuine: &Proof) -> Result<Vec<Attack>> {
    let owner = fixture.owner()?;
    let announcing = |change: &dyn Fn(&mut Proof)| {
        let mut proof = genuine.clone();
        change(&mut proof);
        proof
    };
    let models = |models: Vec<_>| announcing(&|proof| proof.announced.models.clone_from(&models));
    let manifest = |manifest| announcing(&|proof| proof.announced.manifest = manifest);
    let stranger = OwnerSigningKey::generate()?;
    // A machine that the vendor certified, and whose collateral is from last month.
    let expired = genuine.platform.another_machine()?;
    expired.set_faults(Faults { collateral_expired: true, ..Faults::default() })?;
    let other_platform = Platform::ephemeral()?;
    let on = |platform: &Arc<Platform>| Proof {
        platform: Arc::clone(platform),
        collateral: Some(Collateral::Dcap(platform.collateral())),
        ..genuine.clone()
    };
    let attack = |what, proof, codes| Attack { what, proof, codes };
    Ok(vec![
        attack("another model", models(vec![statement(&owner, "weather", 3)?]), &["replica-model-unknown"]),
        attack(
            "another model next to the right one",
            models(vec![statement(&owner, "digits", 3)?, statement(&owner, "weather", 3)?]),
            &["replica-model-unknown"],
        ),
        attack(
            "a model of another signer",
            models(vec![statement(&stranger, "digits", 3)?]),
            &["replica-model-refused"],
        ),
        attack("no model", models(Vec::new()), &["replica-without-model"]),
        attack(
            "another owner",
            announcing(&|proof| proof.announced.genesis.0 = Sha256Digest([7; 32])),
            &["replica-of-other-owners"],
        ),
        attack("no manifest", manifest(None), &["replica-manifest-older"]),
        attack(
            "another manifest of the same version",
            manifest(Some(ManifestInForce { version: 1, digest: Sha256Digest([7; 32]) })),
            &["replica-manifest-other"],
        ),
        attack(
            "another program",
            announcing(&|proof| proof.program.mr_enclave.0 = [7; 32]),
            &["policy-refused"],
        ),
        attack(
            "a program with a debugger",
            announcing(&|proof| proof.program.debug = true),
            &["policy-refused"],
        ),
        attack(
            "altered collateral",
            announcing(&|proof| proof.collateral = genuine.collateral.as_ref().map(altered)),
            &["collateral-invalid", "evidence-invalid"],
        ),
        attack("expired collateral", on(&expired), &["collateral-expired"]),
        attack("no collateral", announcing(&|proof| proof.collateral = None), &["collateral-no-source"]),
        attack("a platform of another root", on(&other_platform), &["untrusted-root"]),
    ])
}

/// Attackers whose evidence is genuine and bound to the session. They hold its keys, so that what they
/// record is plaintext.
#[tokio::test]
async fn impostors_with_a_tee_get_no_byte_of_a_request() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let genuine = fixture.proof()?;
    // The record shows a request if there is one.
    let accepted = Impostor::start(genuine.clone(), Reactions::default()).await?;
    let (process, local) = proxy(&fixture, &accepted.address()).await?;
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = accepted.seen();
    ensure!(seen.received.bodies == [instances().into_bytes()], "{seen:?}");
    let mut processes = vec![process];
    for Attack { what, proof, codes } in attacks(&fixture, &genuine)? {
        let impostor = Impostor::start(proof, Reactions::default()).await?;
        processes.push(attack(&fixture, what, &impostor, &fixture.service, codes).await?);
    }
    // Simulation, where the service names hardware.
    let identity = &fixture.configuration.identity;
    let policy = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nidentity = [\"{identity}\"]\n");
    let manifest = Manifest::intel(fixture.broker.genesis_digest(), 1)
        .recoverable_by(fixture.broker.recovery())
        .workload("digits", &policy, &["digits"])
        .model("digits", fixture.broker.owner(), 1);
    let hardware = fixture.directory.path().join("hardware.toml");
    let in_force = fs::read(fixture.manifest())?;
    fs::write(fixture.manifest(), manifest.text())?;
    fixture.export(&hardware, &["--name=hardware"]).await?;
    let impostor = Impostor::start(genuine.clone(), Reactions::default()).await?;
    let codes = &["untrusted-root"];
    processes.push(attack(&fixture, "simulation", &impostor, &hardware, codes).await?);
    // An old model: the owners raised the floor.
    let floor = owner::manifest(&fixture.deployment, &fixture.broker, "digits", identity, 1, 4)?;
    fs::write(fixture.manifest(), floor)?;
    let newer = fixture.directory.path().join("newer.toml");
    fixture.export(&newer, &["--revision=2"]).await?;
    fs::write(fixture.manifest(), in_force)?;
    let impostor = Impostor::start(genuine, Reactions::default()).await?;
    processes.push(attack(&fixture, "an older model", &impostor, &newer, &["replica-model-refused"]).await?);
    fixture.stop(processes).await;
    Ok(())
}

/// A data owner and her proxy refuse this impostor, and it gets nothing.
async fn attack(
    fixture: &Fixture,
    what: &str,
    impostor: &Impostor,
    service: &std::path::Path,
    codes: &[&str],
) -> Result<adytum_tests::process::Process> {
    let is_refusal = |text: &str| codes.iter().any(|code| text.contains(code));
    let said = fixture.refusal(&impostor.address(), service).await.context(what.to_owned())?;
    ensure!(is_refusal(&said), "{what}: expected one of {codes:?}: {said}");
    let (process, local) = proxy_by(fixture, &impostor.address(), service).await?;
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    let is_status = answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 503");
    ensure!(is_status && is_refusal(&answer), "{what}: {answer}");
    let seen = refused_by_all(impostor).await?;
    // By the one and by the other; the proxy verifies when it starts, too.
    ensure!(seen.judged >= 2, "{what}: {seen:?}");
    ensure!(
        seen.refusals.len() >= 2 && seen.refusals.iter().all(|code| is_refusal(code)),
        "{what}: {seen:?}"
    );
    ensure!(seen.received.bytes.is_empty() && seen.received.bodies.is_empty(), "{what}: {seen:?}");
    Ok(process)
}

/// What an impostor has seen when all its clients have said how they judge it.
async fn refused_by_all(impostor: &Impostor) -> Result<Seen> {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let seen = impostor.seen();
        if seen.refusals.len() >= seen.judged {
            return Ok(seen);
        }
        ensure!(tokio::time::Instant::now() < deadline, "not all have judged it: {seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The real model server with the wrong model or the wrong owners. The session's keys are the
/// replica's, so what is captured at the socket is the number and the length of records.
#[tokio::test]
async fn a_replica_that_is_none_of_the_service_is_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    // Old models, after the owners raised the floor.
    let (replica, port) = fixture.start("replica", &[]).await?;
    let identity = &fixture.configuration.identity;
    let newer = fixture.directory.path().join("newer.toml");
    let floor = owner::manifest(&fixture.deployment, &fixture.broker, "digits", identity, 1, 4)?;
    fs::write(fixture.manifest(), floor)?;
    fixture.export(&newer, &[]).await?;
    let switch = Switch::to(port).await?;
    fixture.refused(&switch.address(), &newer, "replica-model-refused").await?;
    // Another owner's replica: the same program, with a broker of its own.
    let mut others = fixture.deployment.create_broker("others").await?;
    let (theirs, their_port) = fixture.replica_of(&others).await?;
    switch.turn(their_port);
    fixture.refused(&switch.address(), &newer, "policy-refused").await?;
    // One that does not offer attested sessions: nothing falls back to plain TLS.
    let (silent, silent_port) = fixture.start("silent", &["--attested_sessions=false"]).await?;
    switch.turn(silent_port);
    fixture.refused(&switch.address(), &newer, "attested-tls-failed").await?;
    for port in [port, their_port, silent_port] {
        let sent = switch.sent_to(port);
        ensure!(!sent.is_empty(), "nobody came to {port}");
        sent.iter().try_for_each(|sent| sent.require_only_a_handshake())?;
    }
    others.stop().await;
    fixture.stop([replica, theirs, silent]).await;
    Ok(())
}

/// How many clients ask at once.
const CLIENTS: usize = 8;
/// How the two that are none of the service are refused.
const REFUSALS: [&str; 2] = ["policy-refused", "replica-model-refused"];
/// How often the replica behind the name is exchanged.
const SWAPS: usize = 6;

/// Behind one name, while clients ask without a pause: a replica of the service, then one of other
/// owners, and an impostor with the right program on the right platform, again and again.
#[tokio::test]
async fn replicas_swapped_behind_the_proxy_under_load_get_nothing() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    let mut others = fixture.deployment.create_broker("others").await?;
    let (theirs, their_port) = fixture.replica_of(&others).await?;
    let mut proof = fixture.proof()?;
    proof.announced.models = vec![statement(&OwnerSigningKey::generate()?, "digits", 3)?];
    let impostor = Impostor::start(proof, Reactions::default()).await?;
    let switch = Switch::to(port).await?;
    let (process, local) = proxy(&fixture, &switch.address()).await?;

    let (answered, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ending = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
        let ending = Arc::clone(&ending);
        clients.spawn(async move {
            let body = many_instances();
            while !ending.load(Ordering::Relaxed) {
                // One that is under way when the connection is cut may break.
                let Ok(answer) = post(local, "/v1/models/digits:predict", &body).await else { continue };
                let is_refusal = REFUSALS.iter().any(|code| answer.contains(code));
                match answer.get(..12) {
                    Some("HTTP/1.1 200") => answered.fetch_add(1, Ordering::Relaxed),
                    Some("HTTP/1.1 403" | "HTTP/1.1 503") if is_refusal => {
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    Some("HTTP/1.1 502" | "HTTP/1.1 503") | None => 0,
                    _ => return Err(answer),
                };
            }
            Ok(())
        });
    }
    for swap in 0..SWAPS {
        let wrong = if swap % 2 == 0 { their_port } else { impostor.port() };
        for (behind, count) in [(port, &answered), (wrong, &refused)] {
            let before = count.load(Ordering::Relaxed);
            switch.turn(behind);
            let deadline = tokio::time::Instant::now() + SOON;
            while count.load(Ordering::Relaxed) < before + CLIENTS {
                ensure!(tokio::time::Instant::now() < deadline, "{behind}: nothing within {SOON:?}");
                ensure!(clients.try_join_next().is_none(), "a client ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    ending.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended?.map_err(anyhow::Error::msg)?;
    }
    ensure!(switch.sent_to(port).iter().any(|sent| sent.is_request()), "no request was captured");
    for wrong in [their_port, impostor.port()] {
        let sent = switch.sent_to(wrong);
        ensure!(!sent.is_empty(), "nobody came to {wrong}");
        sent.iter().try_for_each(|sent| sent.require_only_a_handshake())?;
    }
    let seen = impostor.seen();
    ensure!(seen.received.bytes.is_empty() && !seen.refusals.is_empty(), "{seen:?}");
    others.stop().await;
    fixture.stop([process, replica, theirs]).await;
    Ok(())
}
