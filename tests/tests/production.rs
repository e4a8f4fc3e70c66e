//! A production build contains no simulation.

use std::process::Command;

use anyhow::{Result, ensure};

fn tree(package: &str, arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--edges", "normal,build", "--format", "{p} {f}", "--prefix", "none"])
        .args(["--package", package])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn no_crate_of_a_production_build_knows_simulation() -> Result<()> {
    for package in ["adytum", "adytum-broker", "adytum-init", "adytum-serving"] {
        let production = tree(package, &["--no-default-features"])?;
        ensure!(
            production.contains("adytum-evidence"),
            "{package}: the tree is not what it should be:\n{production}"
        );
        ensure!(!production.contains("adytum-sim"), "{package} depends on the simulated platform");
        for line in production.lines().filter(|line| line.starts_with("adytum")) {
            ensure!(!line.contains("simulation"), "{package} is built with: {line}");
        }
        // The same look at a development build finds it, so the look is not blind.
        let development = tree(package, &[])?;
        ensure!(development.contains("adytum-sim"), "{package}: the development build has no simulation");
    }
    Ok(())
}
