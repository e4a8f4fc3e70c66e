//! `adytum init-data`: what a confidential guest of Kata Containers may run.
//!
//! The host passes a document to the guest (Confidential Containers, "initdata"
//! 0.1.0), and the TEE carries its digest: TDX in MRCONFIGID, SEV-SNP in
//! HOST_DATA. The guest's agent enforces the policy in it. So a genuine guest
//! that runs another image, command or environment has another digest, and that
//! digest is the workload identity that the broker checks, together with the
//! measurement of the guest itself, without which the agent could be any.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;
use flate2::{Compression, GzBuilder};
use serde_json::json;

use crate::{key_file, output};

/// The annotation by which a pod hands the document to the guest.
const ANNOTATION: &str = "io.katacontainers.config.hypervisor.cc_init_data";

/// What the container runtime mounts into every container.
const RUNTIME_MOUNTS: [&str; 12] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/sys",
    "/sys/fs/cgroup",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/dev/termination-log",
    "/run/secrets/kubernetes.io/serviceaccount",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Write the document for one container. Prints its digest, which is the
    /// workload identity for the manifest.
    New(NewArgs),
    /// Print the digest of a document.
    Digest {
        /// The document.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The container's image, by digest: NAME@sha256:..
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// A word of the command line, the program first; may be given several times.
    #[arg(long = "word", value_name = "WORD", required = true, allow_hyphen_values = true)]
    words: Vec<String>,
    /// A variable that the container may have with this value only.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// A variable that the host may set as it likes, such as PCCS_URL.
    #[arg(long = "any-env", value_name = "NAME")]
    free_variables: Vec<String>,
    /// A place where a volume may be mounted, beside what every container has.
    #[arg(long = "mount", value_name = "PATH")]
    mounts: Vec<String>,
    /// Where the document goes; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write a patch for Kustomize that annotates pods with the document.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New(args) => new(args),
        Action::Digest { file } => {
            let document = key_file::read_bytes(&file, 1024 * 1024)?;
            output::line(identity(&document))
        }
    }
}

fn new(args: NewArgs) -> anyhow::Result<()> {
    let patch = args.patch.clone();
    let out = args.out.clone();
    let document = Container::try_from(args)?.document()?;
    key_file::write_new(&out, document.as_bytes(), 0o644)?;
    if let Some(path) = patch {
        write_patch(&path, &document)?;
    }
    output::line(identity(document.as_bytes()))
}

/// The identity that TEEs carry for a document: its SHA-256, which the document
/// itself asks for.
fn identity(document: &[u8]) -> WorkloadIdentity {
    WorkloadIdentity(Sha256Digest::of_bytes(document).0)
}

/// The annotation's value.
fn annotation(document: &str) -> anyhow::Result<String> {
    // Without a date, so that equal documents give equal values.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(document.as_bytes())?;
    Ok(STANDARD.encode(encoder.finish()?))
}

fn write_patch(path: &Path, document: &str) -> anyhow::Result<()> {
    let key = ANNOTATION.replace('/', "~1");
    let value = annotation(document)?;
    let patch = format!(
        "- op: add\n  path: /spec/template/metadata/annotations\n  value: {{}}\n- op: add\n  path: \
         /spec/template/metadata/annotations/{key}\n  value: {value}\n"
    );
    std::fs::write(path, patch).with_context(|| format!("{} can't be written", path.display()))
}

/// What may run in the guest.
#[derive(Clone, Debug)]
struct Container {
    image: String,
    words: Vec<String>,
    variables: BTreeSet<String>,
    free_variables: BTreeSet<String>,
    mounts: BTreeSet<String>,
}

impl TryFrom<NewArgs> for Container {
    type Error = anyhow::Error;

    fn try_from(args: NewArgs) -> anyhow::Result<Self> {
        let digest = args.image.rsplit_once("@sha256:").map(|(_, digest)| digest);
        if !digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())) {
            bail!(
                "--image {}: expected NAME@sha256:.., since a tag can be moved to another image",
                args.image
            );
        }
        for variable in &args.variables {
            ensure!(
                variable.split_once('=').is_some_and(|(name, _)| !name.is_empty()),
                "--env {variable}: expected NAME=VALUE"
            );
        }
        for name in &args.free_variables {
            ensure!(!name.is_empty() && !name.contains('='), "--any-env {name}: expected a name");
        }
        for mount in &args.mounts {
            ensure!(
                mount.starts_with('/') && !mount.contains(".."),
                "--mount {mount}: expected an absolute path"
            );
        }
        Ok(Self {
            image: args.image,
            words: args.words,
            variables: args.variables.into_iter().collect(),
            free_variables: args.free_variables.into_iter().collect(),
            mounts: args.mounts.into_iter().collect(),
        })
    }
}

impl Container {
    /// The document, as the guest gets it.
    fn document(&self) -> anyhow::Result<String> {
        let policy = self.policy()?;
        // A literal string of TOML has no escapes and may not hold its own end.
        ensure!(!policy.contains("'''"), "no word, variable or path may hold '''");
        Ok(format!(
            "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"policy.rego\" = '''\n{policy}'''\n"
        ))
    }

    /// The policy of the guest's agent, in Rego: what it doesn't allow is refused.
    fn policy(&self) -> anyhow::Result<String> {
        let mounts: BTreeSet<&str> =
            RUNTIME_MOUNTS.into_iter().chain(self.mounts.iter().map(String::as_str)).collect();
        let allowed = json!({
            "image": self.image,
            "words": self.words,
            "variables": self.variables,
            "free_variables": self.free_variables,
            "mounts": mounts,
        });
        let mut policy = String::from(POLICY);
        writeln!(policy, "\nallowed := {}", serde_json::to_string_pretty(&allowed)?)?;
        Ok(policy)
    }
}

/// Everything but the values. Standard output may be read, nothing be typed in or
/// executed beside, and the policy not be replaced.
const POLICY: &str = r#"package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AllowRequestsFailingPolicy := false
default CloseStdinRequest := true
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := true
default DestroySandboxRequest := true
default ExecProcessRequest := false
default GetMetricsRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default ListInterfacesRequest := true
default ListRoutesRequest := true
default OnlineCPUMemRequest := true
default ReadStreamRequest := true
default RemoveContainerRequest := true
default SetPolicyRequest := false
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default TtyWinResizeRequest := true
default UpdateContainerRequest := false
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true
default WriteStreamRequest := false

# Names, hosts and the termination log of the pod.
CopyFileRequest if {
    startswith(input.path, "/run/kata-containers/shared/containers/")
    not contains(input.path, "..")
}

# The pause container of the guest's own image.
CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "sandbox"
    every storage in input.storages {
        storage.driver == "image_guest_pull"
        storage.source == "pause"
    }
    count(input.OCI.Process.Args) == 1
    input.OCI.Process.Args[0] == "/pause"
}

CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "container"
    input.OCI.Process.Args == allowed.words
    every variable in input.OCI.Process.Env { is_allowed(variable) }
    every mount in input.OCI.Mounts { mount.destination in allowed.mounts }
    images := [storage | some storage in input.storages; storage.driver == "image_guest_pull"]
    count(images) == 1
    images[0].source == allowed.image
    not input.OCI.Hooks
}

is_allowed(variable) if variable in allowed.variables

is_allowed(variable) if {
    some name in allowed.free_variables
    startswith(variable, concat("", [name, "="]))
}
"#;

#[cfg(test)]
mod tests {
    use adytum_evidence::{
        claims::{Claims, Measured, Platform, TcbStatus, TeeKind},
        measurement::{HostData, ReportData, SnpMeasurement, TdxMeasurement},
        policy::Policy,
        trust::{TrustRoot, Vendor},
    };

    use super::*;

    fn container() -> Container {
        Container {
            image: format!("demo/tf_demo@sha256:{}", "1f".repeat(32)),
            words: ["/usr/bin/adytum-serving", "--model_name=resnet"].map(str::to_owned).into(),
            variables: BTreeSet::from(["PATH=/usr/bin".to_owned()]),
            free_variables: BTreeSet::from(["PCCS_URL".to_owned()]),
            mounts: BTreeSet::new(),
        }
    }

    fn identity_of(container: &Container) -> WorkloadIdentity {
        identity(container.document().unwrap().as_bytes())
    }

    const GUEST: [u8; 48] = [0xa1; 48];

    /// What verified evidence of a genuine guest with this document would say.
    fn claims(tee: TeeKind, guest: [u8; 48], document: WorkloadIdentity) -> Claims {
        let mut mr_config_id = [0; 48];
        mr_config_id[..32].copy_from_slice(&document.0);
        let measured = match tee {
            TeeKind::Tdx => Measured::Tdx {
                mr_td: TdxMeasurement(guest),
                mr_config_id: TdxMeasurement(mr_config_id),
                rtmr: [TdxMeasurement([0; 48]); 4],
            },
            _ => {
                Measured::Snp { measurement: SnpMeasurement(guest), host_data: HostData(document.0), vmpl: 0 }
            }
        };
        Claims {
            vendor: Vendor::Intel,
            root_key_id: TrustRoot::intel().root_key_id(),
            debug: false,
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: BTreeSet::new(),
            platform: Platform { id: "00".to_owned(), fmspc: None },
            report_data: ReportData([0; 64]),
            measured,
        }
    }

    /// The manifest's policy for the genuine container in the genuine guest.
    fn policy(tee: TeeKind) -> Policy {
        let mut policy = Policy::for_identity(Vendor::Intel, tee, identity_of(&container()));
        policy.mr_td.insert(TdxMeasurement(GUEST));
        policy.snp_measurement.insert(SnpMeasurement(GUEST));
        policy.validated().unwrap()
    }

    #[test]
    fn another_image_command_or_environment_in_a_genuine_guest_is_refused() {
        let changes: [fn(&mut Container); 6] = [
            |container| container.image = format!("demo/tf_demo@sha256:{}", "2f".repeat(32)),
            |container| container.words.push("--allow_plain_models".to_owned()),
            |container| container.words[0] = "/bin/sh".to_owned(),
            |container| container.variables = BTreeSet::from(["LD_PRELOAD=/evil.so".to_owned()]),
            |container| container.free_variables.insert("LD_PRELOAD".to_owned()).then_some(()).unwrap(),
            |container| container.mounts.insert("/usr/bin".to_owned()).then_some(()).unwrap(),
        ];
        for tee in [TeeKind::Tdx, TeeKind::Snp] {
            let policy = policy(tee);
            assert_eq!(policy.judge(&claims(tee, GUEST, identity_of(&container()))), Ok(()));
            for change in changes {
                let mut other = container();
                change(&mut other);
                let refusal = policy.judge(&claims(tee, GUEST, identity_of(&other))).unwrap_err();
                assert_eq!(refusal.failures.len(), 1, "{refusal}");
                assert_eq!(refusal.failures[0].rule, "identity");
            }
            // The right document in a guest whose agent may ignore it.
            let refusal = policy.judge(&claims(tee, [0xee; 48], identity_of(&container()))).unwrap_err();
            assert!(refusal.failures.iter().any(|failure| failure.rule != "identity"), "{refusal}");
        }
    }

    #[test]
    fn the_document_is_toml_that_holds_the_policy() {
        let document: toml::Table = container().document().unwrap().parse().unwrap();
        assert_eq!(document["algorithm"].as_str(), Some("sha256"));
        let policy = document["data"]["policy.rego"].as_str().unwrap();
        assert!(policy.starts_with("package agent_policy\n"), "{policy}");
        for value in ["\"--model_name=resnet\"", "\"PATH=/usr/bin\"", "\"/etc/resolv.conf\""] {
            assert!(policy.contains(value), "{value} is missing");
        }
        let mut hostile = container();
        hostile.words.push("'''\n\"aa.toml\" = '''".to_owned());
        assert!(hostile.document().is_err());
    }

    #[test]
    fn the_annotation_unpacks_to_the_document() {
        use std::io::Read as _;

        let document = container().document().unwrap();
        let packed = STANDARD.decode(annotation(&document).unwrap()).unwrap();
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, document);
    }
}
