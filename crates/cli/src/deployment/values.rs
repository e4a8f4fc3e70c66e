//! The values of the Helm chart for a deployment.

use std::{fmt::Write as _, path::Path};

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::{claims::TeeKind, policy::Policy, trust::Vendor};
use anyhow::Context as _;

use crate::request::quoted;

/// The longest name of a release (Helm's limit).
const LONGEST: usize = 53;
/// Before a digit: a Service's name begins with a letter (RFC 1035).
const LETTER: char = 'm';

/// What protects the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tee {
    Simulation,
    /// Some TEE that is not known yet.
    Hardware,
    Sgx,
    Tdx,
    Snp,
}

impl Tee {
    /// The one that a policy is about; `None` if that may be several.
    pub(crate) fn of(policy: &Policy) -> Option<Self> {
        if policy.vendors.contains(&Vendor::Simulation) {
            return None;
        }
        let mut kinds = policy.tee.iter();
        match (kinds.next(), kinds.next()) {
            (Some(TeeKind::Sgx), None) => Some(Self::Sgx),
            (Some(TeeKind::Tdx), None) => Some(Self::Tdx),
            (Some(TeeKind::Snp), None) => Some(Self::Snp),
            _ => None,
        }
    }

    /// As the chart calls it. SGX is the chart's default.
    fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Hardware | Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
        }
    }
}

/// The values that are others than the chart's own.
pub(crate) struct Values<'a> {
    pub(crate) tee: Tee,
    pub(crate) workload: &'a WorkloadName,
    pub(crate) models: &'a [ModelName],
    pub(crate) replicas: u16,
    /// The text of the genesis document.
    pub(crate) genesis: &'a str,
}

impl Values<'_> {
    /// The values, and in comments the commands that use them. `directory` is the owner's, as a
    /// person would name it, and `file` is where the values go.
    pub(crate) fn to_yaml(&self, directory: &Path, file: &Path) -> anyhow::Result<String> {
        let release = release_name(self.workload);
        let (tee, owner) = (self.tee.name(), quoted(&directory.display().to_string()));
        let (simulated, file) = (self.tee == Tee::Simulation, quoted(&file.display().to_string()));
        let mut text = String::new();
        if simulated {
            text.push_str(
                "# SIMULATION: nothing here is protected from the administrators of the cluster.\n",
            );
        }
        let flag = if simulated { " -s" } else { "" };
        let tag = env!("CARGO_PKG_VERSION");
        writeln!(text, "# In a checkout of Adytum, with this in {file}:")?;
        writeln!(
            text,
            "#   deploy/build.sh -r REGISTRY -g {tag}{flag} -d {owner}   # images with the sealed models"
        )?;
        if simulated {
            writeln!(
                text,
                "#   kubectl apply -f {}",
                quoted(&shown(directory, "private/simulation-platform.yaml"))
            )?;
        }
        writeln!(
            text,
            "#   helm install {release} deploy/helm/adytum --values {file} --set images.registry=REGISTRY"
        )?;
        writeln!(text, "#   deploy/provision.sh -d {owner} -b {release}-broker{flag}")?;
        writeln!(text, "tee: {tee}")?;
        writeln!(text, "images:")?;
        writeln!(text, "  tag: {}", string(tag)?)?;
        writeln!(text, "broker:")?;
        writeln!(text, "  genesis: {}", string(self.genesis)?)?;
        writeln!(text, "serving:")?;
        writeln!(text, "  replicas: {}", self.replicas)?;
        writeln!(text, "  models:")?;
        for name in self.models {
            writeln!(text, "    - name: {}", string(name.as_str())?)?;
            writeln!(text, "      basePath: {}", string(&format!("/models/{name}"))?)?;
        }
        Ok(text)
    }
}

/// A string of YAML: JSON's form is one.
fn string(text: &str) -> anyhow::Result<String> {
    serde_json::to_string(text).context("a value for Helm")
}

fn shown(directory: &Path, file: &str) -> String {
    directory.join(file).display().to_string()
}

/// The name of a Helm release for a workload: lower-case letters, digits and hyphens, the first a
/// letter.
pub(crate) fn release_name(workload: &WorkloadName) -> String {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let begins_with_digit = workload.as_str().starts_with(|c: char| c.is_ascii_digit());
    let first = begins_with_digit.then_some(LETTER);
    let name: String = first.into_iter().chain(workload.as_str().chars().map(letter)).take(LONGEST).collect();
    name.trim_end_matches('-').to_owned()
}

/// The name of the model servers' Service in a release of the workload's name.
pub(crate) fn service_name(workload: &WorkloadName) -> String {
    format!("{}-serving", release_name(workload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_name_that_helm_takes() {
        let long = "7".repeat(60);
        for (workload, expected) in [
            ("tf-demo", "tf-demo"),
            ("My_Model.2", "my-model-2"),
            ("a_", "a"),
            ("7-segments", "m7-segments"),
            (&long, &format!("m{}", "7".repeat(LONGEST - 1))),
            (&format!("{}_b", "a".repeat(LONGEST - 1)), &"a".repeat(LONGEST - 1)),
        ] {
            let workload: WorkloadName = workload.parse().unwrap();
            assert_eq!(release_name(&workload), expected);
        }
    }

    #[test]
    fn values_name_each_model_and_say_what_they_are_for() {
        let (workload, models) =
            ("tables".parse().unwrap(), ["iris", "wine"].map(|name| name.parse().unwrap()));
        let values =
            |tee| Values { tee, workload: &workload, models: &models, replicas: 3, genesis: "a = 1\n" };
        let file = Path::new("my owner/public/values.yaml");
        let text = values(Tee::Simulation).to_yaml(Path::new("my owner"), file).unwrap();
        for line in [
            "tee: simulation",
            "  genesis: \"a = 1\\n\"",
            "  replicas: 3",
            "    - name: \"wine\"",
            "      basePath: \"/models/wine\"",
            "# In a checkout of Adytum, with this in 'my owner/public/values.yaml':",
            "#   helm install tables deploy/helm/adytum --values 'my owner/public/values.yaml' --set images.registry=REGISTRY",
            "#   deploy/provision.sh -d 'my owner' -b tables-broker -s",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.starts_with("# SIMULATION"), "{text}");
        let text = values(Tee::Snp).to_yaml(Path::new("owner"), file).unwrap();
        assert!(text.contains("tee: snp\n") && !text.to_lowercase().contains("simulation"), "{text}");
    }
}
