//! `measurements.toml`: what the programs of a release are known by.

use std::{collections::BTreeMap, fmt::Write as _};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::measured::MeasuredConfiguration;
use anyhow::Result;

use super::elf::Architecture;

/// The text of the file.
pub(super) fn of(
    version: &str,
    architecture: Architecture,
    programs: &BTreeMap<String, Vec<u8>>,
) -> Result<String> {
    let mut text = String::from(
        "# The programs of this release. `sha256` goes into the identity of a workload: `adytum measure\n\
         # --configuration FILE --program FILE` computes that for one's own configuration. A broker has no\n\
         # configuration, so its identity is the same for everybody. Where a TEE measures more than a program\n\
         # (MRENCLAVE, MRTD, the launch digest), the policy needs that too: see docs/kubernetes-hardware.md.\n",
    );
    writeln!(
        text,
        "format = \"adytum measurements v1\"\nversion = \"{version}\"\narchitecture = \"{}\"",
        architecture.name()
    )?;
    for (name, bytes) in programs {
        let digest = Sha256Digest::of_bytes(bytes);
        writeln!(text, "\n[program.{name}]\nsha256 = \"{digest}\"\nsize = {}", bytes.len())?;
        if name == "adytum-broker" {
            writeln!(text, "identity = \"{}\"", MeasuredConfiguration::default().identity(digest))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_its_digest_and_the_broker_its_identity() {
        let programs =
            ["adytum-broker", "adytum-init"].map(|name| (name.to_owned(), name.as_bytes().to_vec()));
        let text = of("1.2.3", Architecture::X86_64, &programs.into()).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let program = |name: &str, field: &str| table["program"][name].get(field).map(ToString::to_string);
        assert_eq!(
            program("adytum-init", "sha256").unwrap(),
            format!("\"{}\"", Sha256Digest::of_bytes(b"adytum-init"))
        );
        assert_eq!(program("adytum-init", "identity"), None);
        let identity = MeasuredConfiguration::default().identity(Sha256Digest::of_bytes(b"adytum-broker"));
        assert_eq!(program("adytum-broker", "identity").unwrap(), format!("\"{identity}\""));
    }
}
