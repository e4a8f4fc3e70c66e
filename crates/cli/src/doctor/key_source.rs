//! Where a workload's keys come from, by its measured configuration.

use std::{fs, path::Path};

use adytum_init::configuration::{MeasuredConfiguration, PinnedAecsServer, PinnedSource};

use super::Finding;

const PART: &str = "key source";
const MODELS: &str = "rules for models";

/// The asset tag of each of Azure's virtual machines.
const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";

/// What the configuration says of the source, and what is missing for it here.
pub(super) fn findings(path: &Path) -> Vec<Finding> {
    match MeasuredConfiguration::load(path) {
        Ok(configuration) => {
            let tag = fs::read_to_string("/sys/class/dmi/id/chassis_asset_tag").unwrap_or_default();
            of(&configuration, tag.trim() == AZURE)
        }
        Err(error) => {
            let remedy = "correct the file as the message says, and measure it again";
            vec![Finding::wrong(PART, error.to_string(), remedy)]
        }
    }
}

fn of(configuration: &MeasuredConfiguration, in_azure: bool) -> Vec<Finding> {
    let elsewhere =
        "Azure Attestation takes SGX quotes with Azure's own collateral only: run the workload in Azure";
    let mut findings = vec![match configuration.source() {
        PinnedSource::Broker(broker) => match &broker.azure_attestation {
            None => Finding::good(PART, format!("the broker of genesis {}", broker.genesis)),
            Some(pinned) => {
                let found = format!(
                    "the broker of genesis {}, which is shown tokens of {}",
                    broker.genesis, pinned.service
                );
                match in_azure {
                    true => Finding::good(PART, found),
                    false => Finding::warning(PART, found + ", and this machine is not in Azure", elsewhere),
                }
            }
        },
        PinnedSource::Aecs(aecs) => match aecs.server {
            PinnedAecsServer::Verified(_) => Finding::good(PART, "an AECS server that is verified"),
            PinnedAecsServer::Anyone => Finding::warning(
                PART,
                "any AECS server is believed (allow_unverified_aecs), so an attacker on the way can give keys of his own",
                "give the server's MRENCLAVE as ua_policy_hex_ta_measurement, or [aecs.policy]",
            ),
        },
        PinnedSource::KeyVault(vault) if in_azure => {
            Finding::good(PART, format!("Key Vault {}", vault.vault))
        }
        PinnedSource::KeyVault(vault) => Finding::warning(
            PART,
            format!("Key Vault {}, and this machine is not in Azure", vault.vault),
            elsewhere,
        ),
        PinnedSource::Kbs(kbs) => Finding::good(PART, format!("the KBS {}", kbs.url)),
        PinnedSource::Nothing(_) if in_azure => {
            Finding::good(PART, "none; a token of Azure Attestation is written")
        }
        PinnedSource::Nothing(_) => Finding::warning(
            PART,
            "none; a token of Azure Attestation is wanted, and this machine is not in Azure",
            elsewhere,
        ),
    }];
    if let Err(error) = configuration.require_model_rules() {
        let remedy = "a model server needs a [[model]] for each model; any other program needs none";
        findings.push(Finding::absent(MODELS, error.to_string(), remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn states(tables: &str, in_azure: bool) -> Vec<State> {
        let text = format!("format = \"adytum workload v1\"\n{tables}");
        let configuration = MeasuredConfiguration::parse(&text).unwrap();
        of(&configuration, in_azure).into_iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_weak_or_misplaced_source_is_named() {
        let policy = adytum_testkit::manifest::enclave_policy(1);
        let broker = format!("[broker]\ngenesis = \"{}\"\n[broker.policy]\n{policy}", "1".repeat(64));
        assert_eq!(states(&broker, false), [State::Good]);
        let tokens = "[broker.azure_attestation]\nservice = \"https://b.attest.azure.net\"\n";
        let tokens = format!("{broker}{tokens}");
        assert_eq!(
            (states(&tokens, true), states(&tokens, false)),
            (vec![State::Good], vec![State::Warning])
        );
        let model = format!("[[model]]\nname = \"m\"\ndigests = [\"{}\"]\n", "1".repeat(64));
        assert_eq!(states(&format!("[aecs.policy]\n{policy}{model}"), false), [State::Good]);
        let anyone = "[aecs]\nallow_unverified_aecs = true\n";
        assert_eq!(states(anyone, false), [State::Warning, State::Absent]);
        let vault =
            "[key_vault]\nvault = \"a.vault.azure.net\"\nattestation = \"https://b.attest.azure.net\"\n";
        let vault = format!("{vault}{model}");
        assert_eq!((states(&vault, true), states(&vault, false)), (vec![State::Good], vec![State::Warning]));
        assert_eq!(states("[azure_attestation]\n", false), [State::Warning, State::Absent]);
        assert!(matches!(findings(Path::new("/no/such/file"))[..], [Finding { state: State::Wrong, .. }]));
    }
}
