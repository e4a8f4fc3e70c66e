//! Forks that verify evidence are not behind what they were forked from.

#![expect(clippy::unwrap_used, reason = "tests")]

use serde::Deserialize;

const LOCK: &str = include_str!("../../../../Cargo.lock");
const FORKS: &str = include_str!("forks.toml");

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forks {
    fork: Vec<Fork>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fork {
    name: String,
    original: String,
    minimum: String,
    read: String,
}

/// The three numbers of a version: a fork's are its base's, and what follows "+" is its
/// own.
fn numbers(version: &str) -> Result<[u64; 3], String> {
    let base = version.split('+').next().unwrap_or_default();
    let numbers: Vec<u64> = base.split('.').map_while(|number| number.parse().ok()).collect();
    numbers.try_into().map_err(|_| format!("{version}: expected three numbers"))
}

/// The faults of a Cargo.lock's forks.
fn faults(lock: &str, forks: &str) -> Vec<String> {
    let (lock, forks): (Lock, Forks) = (toml::from_str(lock).unwrap(), toml::from_str(forks).unwrap());
    let versions = |name: &str| {
        let named: Vec<&str> = lock
            .package
            .iter()
            .filter(|package| package.name == name)
            .map(|package| package.version.as_str())
            .collect();
        named
    };
    let mut faults = Vec::new();
    for Fork { name, original, minimum, read } in &forks.fork {
        let found = versions(name);
        if found.is_empty() {
            faults.push(format!(
                "{name} is not in Cargo.lock: name the fork that took its place in forks.toml"
            ));
        }
        for version in found {
            match (numbers(version), numbers(minimum)) {
                (Ok(base), Ok(least)) if base >= least => {}
                (Ok(_), Ok(_)) => faults.push(format!(
                    "{name} {version} is behind {original} {minimum}, which mends advisories: update it"
                )),
                (base, least) => faults.extend([base.err(), least.err()].into_iter().flatten()),
            }
        }
        for version in versions(original) {
            match (numbers(version), numbers(read)) {
                (Ok(locked), Ok(read)) if locked <= read => {}
                (Ok(_), Ok(_)) => faults.push(format!(
                    "{original} {version} is newer than what was read ({read}): read its changes and advisories, \
                     then set minimum and read in forks.toml"
                )),
                (locked, read) => faults.extend([locked.err(), read.err()].into_iter().flatten()),
            }
        }
    }
    faults
}

#[test]
fn no_fork_is_behind_its_original() {
    assert_eq!(faults(LOCK, FORKS), [""; 0]);
}

#[test]
fn the_fork_that_dcap_qvl_uses_is_among_them() {
    let forks: Forks = toml::from_str(FORKS).unwrap();
    let lock: Lock = toml::from_str(LOCK).unwrap();
    // A package whose name ends in webpki is the original or a fork of it.
    for package in lock.package.iter().filter(|package| package.name.ends_with("webpki")) {
        let known = forks.fork.iter().any(|fork| fork.name == package.name || fork.original == package.name);
        assert!(known, "{} is not in forks.toml", package.name);
    }
}

#[test]
fn a_fork_that_is_behind_renamed_or_not_looked_at_is_found() {
    let lock = |name: &str, fork: &str, original: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{fork}\"\n[[package]]\nname = \"rustls-webpki\"\n\
             version = \"{original}\"\n"
        )
    };
    let fork = "dcap-qvl-webpki";
    assert_eq!(faults(&lock(fork, "0.103.13+dcap.1", "0.103.17"), FORKS), [""; 0]);
    for (lock, expected) in [
        (lock(fork, "0.103.12+dcap.9", "0.103.17"), "is behind rustls-webpki"),
        (lock(fork, "0.103.9+dcap.1", "0.103.17"), "is behind rustls-webpki"),
        (lock(fork, "0.102.99", "0.103.17"), "is behind rustls-webpki"),
        (lock("other-webpki", "0.103.15+dcap.1", "0.103.17"), "is not in Cargo.lock"),
        (lock(fork, "0.103.15+dcap.1", "0.103.18"), "is newer than what was read"),
        (lock(fork, "0.103.15+dcap.1", "0.104.0"), "is newer than what was read"),
        (lock(fork, "0.103", "0.103.17"), "expected three numbers"),
    ] {
        let faults = faults(&lock, FORKS);
        assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:?}");
    }
}
