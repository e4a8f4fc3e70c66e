//! The owner's directory: things that are kept, versions of models, mistakes that are refused.

use std::fs;

use adytum_tests::{
    deployment::built_binaries,
    process::{run, run_refused},
};
use anyhow::{Context, Result, ensure};

use crate::fixture::{Fixture, root};

#[tokio::test]
async fn an_owners_directory_keeps_what_it_has() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let names = [
        "private/owner.pem",
        "private/secrets/model_key",
        "private/secrets/ssl_config",
        "public/genesis.toml",
        "public/manifest.toml",
        "public/manifest.toml.sig",
        "models/resnet/123/model.onnx.age",
        "models/digits/1/model.onnx.age",
    ];
    let read = || names.map(|name| fs::read(fixture.owner(name)));
    let before = read();
    fixture.build(&["--simulate"]).await?;
    for ((name, before), after) in names.iter().zip(before).zip(read()) {
        ensure!(before? == after?, "{name} has changed");
    }
    // More in the manifest is a manifest of a higher version.
    fs::write(fixture.owner("manifest-more.toml"), "[restart]\nunplanned = \"serve\"\n")?;
    fixture.build(&["--simulate"]).await?;
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("\nversion = 2\n") && manifest.contains("unplanned = \"serve\""), "{manifest}");
    Ok(())
}

/// On hardware a program is identified by its TEE's measurement, which is known only once
/// its image is there. Files that depend on it are left out until it is given. It is never
/// guessed, and not taken from a simulation.
#[tokio::test]
async fn a_build_for_hardware_goes_by_what_the_owner_gives_and_guesses_nothing() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let policy = fixture.directory.path().join("policy.toml");
    fs::write(
        &policy,
        format!(
            "vendors = [\"amd\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{}\"]\n\
             minimum_snp_tcb = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}\n",
            "a1".repeat(48)
        ),
    )?;
    let there = |file: &str| fixture.owner("public").join(file).exists();

    let said = fixture.build(&[]).await?;
    ensure!(said.contains("not identified yet: --broker-policy FILE"), "{said}");
    ensure!(!there("workload.toml") && !there("broker-policy.toml"));
    ensure!(!there("manifest.toml.sig"), "the simulation's manifest could be applied");
    for file in ["helm-values.yaml", "simulation-root.pem"] {
        ensure!(!there(file), "{file} is of the simulation");
    }

    let missing = fixture.status().await?["missing"].to_string();
    ensure!(missing.contains("the broker is not identified"), "{missing}");

    let given = policy.display().to_string();
    let said = fixture.build(&["--broker-policy", &given]).await?;
    ensure!(
        said.contains("not made yet: --workload-policy FILE") && said.contains(&"a1".repeat(48)),
        "{said}"
    );
    let workload = fs::read_to_string(fixture.owner("public/workload.toml"))?;
    ensure!(workload.contains("vendors = [\"amd\"]") && !workload.contains("simulation"), "{workload}");
    ensure!(!there("manifest.toml.sig") && !there("helm-values.yaml"));
    ensure!(fixture.status().await?["signed"] == false);

    let said = fixture.build(&["--broker-policy", &given, "--workload-policy", &given]).await?;
    ensure!(said.contains("version 2"), "it follows the simulation's: {said}");
    ensure!(!there("manifest-withdrawn.toml") && fixture.status().await?["signed"] == true);
    let values = fs::read_to_string(fixture.owner("public/helm-values.yaml"))?;
    ensure!(values.contains("tee: snp\n") && !values.to_lowercase().contains("simulation"), "{values}");
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("[trust]\nvendors = [\"amd\"]\n") && there("manifest.toml.sig"), "{manifest}");
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(fixture.owner("public/manifest.toml"));
    run(check).await?;

    // A policy that is none is refused when it is used.
    fs::write(&policy, "tee = [\"snp\"]\n")?;
    let refusal = fixture.refused("build", &["--broker-policy", &given]).await?;
    ensure!(refusal.contains("missing field `vendors`"), "{refusal}");
    Ok(())
}

/// A broker on hardware is never given the manifest of a simulation, whose platform everybody has:
/// nothing signs it again.
#[tokio::test]
async fn a_manifest_that_was_withdrawn_is_not_applied() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let policy = fixture.directory.path().join("policy.toml");
    let measurement = "a1".repeat(48);
    fs::write(
        &policy,
        format!(
            "vendors = [\"amd\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{measurement}\"]\n\
             minimum_snp_tcb = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}\n"
        ),
    )?;
    let given = policy.display().to_string();
    fixture.build(&["--broker-policy", &given]).await?;
    ensure!(fixture.owner("public/broker-policy.toml").exists());
    let words = "the manifest is withdrawn or not made yet";
    // Before a broker is asked: nobody listens there.
    let mut provision = fixture.command("adytum");
    provision.arg("provision").arg("--owner-directory").arg(fixture.owner(""));
    provision.args(["--broker", "127.0.0.1:1"]);
    let refused = run_refused(provision).await?;
    ensure!(refused.contains(words) && refused.contains("adytum deployment build"), "{refused}");
    let mut retire = fixture.command("adytum");
    retire.args(["model", "retire", "--model", "digits", "--below", "2", "--owner-directory"]);
    let refused = run_refused({
        retire.arg(fixture.owner(""));
        retire
    })
    .await?;
    ensure!(refused.contains(words), "{refused}");
    for file in ["public/manifest.toml", "public/manifest.toml.sig"] {
        ensure!(!fixture.owner(file).exists(), "{file}");
    }
    // Once more: the version that the next one follows is not lost.
    fixture.build(&["--broker-policy", &given]).await?;
    let said = fixture.build(&["--broker-policy", &given, "--workload-policy", &given]).await?;
    ensure!(said.contains("manifest           version 2"), "{said}");
    Ok(())
}

/// A certificate that is there already is taken over with its names.
#[tokio::test]
async fn a_certificate_of_other_names_is_taken_over() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    let digits = root().join("examples/digits/model.onnx").display().to_string();
    fs::create_dir_all(fixture.owner("public"))?;
    fs::create_dir_all(fixture.owner("private/secrets"))?;
    let mut make = fixture.command("adytum");
    make.args(["ssl-config", "new", "--host", "digits.example", "--host", "www.digits.example", "--crt"]);
    make.arg(fixture.owner("public/server.crt"));
    make.arg("--out").arg(fixture.owner("private/secrets/ssl_config"));
    run(make).await?;
    let before = fs::read(fixture.owner("public/server.crt"))?;
    let given = format!("digits={digits}");
    let refused = fixture.refused("new", &["--model", &given, "--host", "other.example"]).await?;
    ensure!(refused.contains("not for other.example: leave that name out"), "{refused}");
    ensure!(!fixture.owner("deployment.toml").exists());
    // As the message says.
    let mut new = fixture.deployment("new");
    new.args(["--model", &given, "--host", "www.digits.example"]);
    run(new).await?;
    let plan = fs::read_to_string(fixture.owner("deployment.toml"))?;
    ensure!(
        plan.contains("digits.example") && !plan.contains("localhost") && !plan.contains("digits-serving"),
        "{plan}"
    );
    fixture.build(&["--simulate"]).await?;
    ensure!(fs::read(fixture.owner("public/server.crt"))? == before, "the certificate has changed");
    ensure!(fixture.status().await?["complete"] == true);
    Ok(())
}

/// A model's file that is gone is looked for at the same place by the next run, too.
#[tokio::test]
async fn a_missing_source_does_not_change_the_plan() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    let source = fixture.owner("plain/digits.onnx");
    fs::create_dir_all(fixture.owner("plain"))?;
    fs::copy(root().join("examples/digits/model.onnx"), &source)?;
    // A relative path of the directory, as people write it.
    let deployment = |verb: &str| {
        let mut command = fixture.command("adytum");
        command.args(["deployment", verb, "--owner-directory", "owner"]);
        command
    };
    let mut new = deployment("new");
    new.args(["--model", "owner/plain/digits.onnx"]);
    run(new).await?;
    let plan = fs::read_to_string(fixture.owner("deployment.toml"))?;
    ensure!(plan.contains("source = \"plain/digits.onnx\""), "{plan}");
    let aside = fixture.directory.path().join("aside");
    fs::rename(&source, &aside)?;
    for _ in 0..2 {
        let mut build = deployment("build");
        build.arg("--simulate");
        let refused = run_refused(build).await?;
        ensure!(refused.contains("owner/plain/digits.onnx"), "{refused}");
        ensure!(!refused.contains("owner/owner"), "{refused}");
        ensure!(fs::read_to_string(fixture.owner("deployment.toml"))? == plan, "deployment.toml has changed");
    }
    fs::rename(&aside, &source)?;
    let mut build = deployment("build");
    build.arg("--simulate");
    run(build).await?;
    let mut sources = deployment("status");
    sources.arg("--sources");
    let said = run(sources).await?;
    ensure!(said == format!("{}\n", source.canonicalize()?.display()), "{said}");
    Ok(())
}

/// A model that changed is its next version. A floor that was raised stays, also of a model that
/// was left out for a while.
#[tokio::test]
async fn a_changed_model_is_a_version_and_a_floor_stays() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let path = |name: &str| fixture.directory.path().join(name);
    let digits = fs::read(root().join("examples/digits/model.onnx"))?;
    // The same computation with another name in it.
    let name = b"digits";
    let at = digits.windows(name.len()).position(|window| window == name).context("a name in the model")?;
    let mut other = digits.clone();
    other[at] = b'D';
    fs::write(path("digits.onnx"), &digits)?;
    let given = format!("digits={}", path("digits.onnx").display());
    let said = fixture.build(&["--simulate", "--model", &given]).await?;
    ensure!(
        said.contains("digits version 1, as before") && said.contains("manifest           version 1"),
        "{said}"
    );

    fs::write(path("digits.onnx"), &other)?;
    let status = fixture.status().await?;
    ensure!(status["models"][0]["changed"] == true && status["complete"] == false, "{status}");
    let said = fixture.build(&["--simulate"]).await?;
    ensure!(said.contains("digits version 2, checked and sealed"), "{said}");
    ensure!(said.contains("resnet version 123, as before"), "{said}");
    let status = fixture.status().await?;
    ensure!(status["complete"] == true && status["models"][0]["version"] == 2, "{status}");

    let mut retire = fixture.command("adytum");
    retire
        .args(["model", "retire", "--model", "digits", "--below", "2", "--owner-directory"])
        .arg(fixture.owner(""));
    run(retire).await?;
    let retired = fixture.manifest()?;
    ensure!(retired.contains("minimum_version = 2") && retired.contains("version = 2\n"), "{retired}");
    fixture.build(&["--simulate"]).await?;
    ensure!(fixture.manifest()? == retired, "a build has changed the manifest");
    fs::write(fixture.owner("manifest-more.toml"), "[restart]\nunplanned = \"serve\"\n")?;
    fixture.build(&["--simulate"]).await?;
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("minimum_version = 2") && manifest.contains("\nversion = 3\n"), "{manifest}");

    // Left out, and added again.
    let plan = fixture.owner("deployment.toml");
    let text = fs::read_to_string(&plan)?;
    let (head, tables) = text.split_once("[[model]]").context("a model")?;
    let without = tables.split_once("[[model]]").context("another model")?.1;
    fs::write(&plan, format!("{head}[[model]]{without}"))?;
    fixture.build(&["--simulate"]).await?;
    ensure!(!fixture.manifest()?.contains("minimum_version = 2"));
    ensure!(fixture.status().await?["sealed_but_not_planned"][0] == "digits");
    fixture.build(&["--simulate", "--model", &given]).await?;
    ensure!(fixture.manifest()?.contains("minimum_version = 2"));
    Ok(())
}

/// Names of one's own, and what is refused.
#[tokio::test]
async fn an_owner_has_names_of_her_own_and_mistakes_are_named() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    let digits = root().join("examples/digits/model.onnx").display().to_string();
    let refused = fixture.refused("build", &[]).await?;
    ensure!(refused.contains("adytum deployment new"), "{refused}");
    for (model, words) in [("nothing.onnx", "nothing.onnx can't be read"), ("a b=x.onnx", "a b")] {
        let refused = fixture.refused("new", &["--model", model]).await?;
        ensure!(refused.contains(words) && !fixture.owner("").exists(), "{refused}");
    }
    let (one, two) = (format!("Zahlen={digits}"), format!("more={digits}"));
    let mut new = fixture.deployment("new");
    new.args(["--model", &one, "--model", &two, "--host", "zahlen.example"]);
    let said = run(new).await?;
    ensure!(
        said.contains("zahlen-serving, zahlen.example") && said.contains("the workload Zahlen"),
        "{said}"
    );
    let refused = fixture.refused("new", &["--model", &one]).await?;
    ensure!(refused.contains("is there already"), "{refused}");

    // A certificate is not replaced, and the name is not noted.
    let refused = fixture.refused("build", &["--simulate", "--host", "other.example"]).await?;
    ensure!(refused.contains("not for other.example") && refused.contains("zahlen.example"), "{refused}");
    let said = fixture.build(&["--simulate"]).await?;
    ensure!(said.contains("model              Zahlen version 1"), "{said}");
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(fixture.owner("public/manifest.toml"));
    ensure!(run(check).await?.contains("workload  Zahlen: models Zahlen, more"));

    // Half a pair is no certificate.
    fs::remove_file(fixture.owner("private/secrets/ssl_config"))?;
    let refused = fixture.refused("build", &["--simulate"]).await?;
    ensure!(refused.contains("is there without"), "{refused}");
    fs::remove_file(fixture.owner("public/server.crt"))?;
    fixture.build(&["--simulate"]).await?;
    fs::write(fixture.owner("manifest-more.toml"), "[trust]\nvendors = []\n")?;
    let refused = fixture.refused("build", &["--simulate"]).await?;
    ensure!(refused.contains("manifest-more.toml") && refused.contains("unknown field `trust`"), "{refused}");
    Ok(())
}
