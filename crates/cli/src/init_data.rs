//! `adytum init-data`: what a confidential guest of Kata Containers may run.
//!
//! The host passes a document to the guest (Confidential Containers, "initdata"
//! 0.1.0), and the TEE carries its digest: TDX in MRCONFIGID, SEV-SNP in
//! HOST_DATA. The guest's agent enforces the policy in it. So a genuine guest
//! that runs another image, command or environment has another digest, and that
//! digest is the workload identity that the broker checks, together with the
//! measurement of the guest itself, without which the agent could be any.
//!
//! The policy was written from the agent's public interface. No agent has ever
//! enforced it. Whoever relies on it should first compare it with what `genpolicy`,
//! which comes with Kata Containers, makes for the same pod.

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

/// What the guest's kernel makes for every container: where, and of which type.
const KERNEL_MOUNTS: [(&str, &str); 7] = [
    ("/proc", "proc"),
    ("/dev", "tmpfs"),
    ("/dev/pts", "devpts"),
    ("/dev/shm", "tmpfs"),
    ("/dev/mqueue", "mqueue"),
    ("/sys", "sysfs"),
    ("/sys/fs/cgroup", "cgroup"),
];

/// Files that the runtime copies into the guest for every container. Not the token of
/// a service account, which Adytum's pods do without.
const RUNTIME_FILES: [&str; 4] = ["/dev/termination-log", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Variables that the kubelet and containerd add by themselves, with values that are
/// not known in advance. They say where the cluster's API is and what the pod is
/// called. That is harmless: no address and no name is trusted, and neither broker
/// nor model server reads them.
const RUNTIME_VARIABLES: [&str; 9] = [
    "HOSTNAME",
    "KUBERNETES_PORT",
    "KUBERNETES_PORT_443_TCP",
    "KUBERNETES_PORT_443_TCP_ADDR",
    "KUBERNETES_PORT_443_TCP_PORT",
    "KUBERNETES_PORT_443_TCP_PROTO",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "KUBERNETES_SERVICE_PORT_HTTPS",
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
                mount.starts_with('/') && !mount.ends_with('/') && !mount.contains(".."),
                "--mount {mount}: expected an absolute path without a slash at its end"
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
        let free_variables: BTreeSet<&str> =
            RUNTIME_VARIABLES.into_iter().chain(self.free_variables.iter().map(String::as_str)).collect();
        let kernel_mounts: Vec<_> = KERNEL_MOUNTS
            .into_iter()
            .map(|(destination, kind)| json!({"destination": destination, "type": kind}))
            .collect();
        let allowed = json!({
            "image": self.image,
            "words": self.words,
            "variables": self.variables,
            "free_variables": free_variables,
            "kernel_mounts": kernel_mounts,
            "files": RUNTIME_FILES,
            "volumes": self.mounts,
        });
        let mut policy = String::from(POLICY);
        writeln!(policy, "\nallowed := {}", serde_json::to_string_pretty(&allowed)?)?;
        Ok(policy)
    }
}

/// Everything but the values. Standard output may be read, nothing be typed in or
/// executed beside, and the policy not be replaced. What is absent in a request is
/// null there, and in Rego null is not false, so `not` doesn't find it.
const POLICY: &str = r#"package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AllowRequestsFailingPolicy := false
default CloseStdinRequest := true
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false
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

# One sandbox, without hooks or modules of the host's, and with memory as its only
# storage: one that lies where a root is to come would keep the image from being
# pulled. Its identifier is kept, since agents know the pause container by it.
CreateSandboxRequest := {"allowed": true, "ops": ops} if {
    not data.pstate.sandbox_id
    is_none(object.get(input, "guest_hook_path", null))
    is_none(object.get(input, "kernel_modules", null))
    every storage in input.storages { is_shared_memory(storage) }
    ops := [{"op": "add", "path": "/pstate/sandbox_id", "value": input.sandbox_id}]
}

# Names, hosts and the termination log of the pod: regular files, since through a link
# that the host made it could write elsewhere.
CopyFileRequest if {
    parts := split(input.path, "/")
    count(parts) == 6
    startswith(input.path, "/run/kata-containers/shared/containers/")
    some file in allowed.files
    is_copy(parts[5], file_name(file))
    is_file_type(32768)
}

# What lies in volumes, where the owner allows any.
CopyFileRequest if {
    parts := split(input.path, "/")
    count(parts) >= 6
    startswith(input.path, "/run/kata-containers/shared/containers/")
    not contains(input.path, "..")
    some volume in allowed.volumes
    is_copy(parts[5], file_name(volume))
    some file_type in [16384, 32768]
    is_file_type(file_type)
}

# The pause container of the guest's own image. Agents differ in how they know it: by
# its identifier, its annotations, or what is said with the storage. All must say so,
# or else an image of that name would be pulled from wherever the host likes.
CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "sandbox"
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_sandbox"
    input.container_id == data.pstate.sandbox_id
    is_confined
    count(input.storages) == 1
    is_root_image(input.storages[0], "pause")
    is_said_to_be_pause(input.storages[0])
    input.OCI.Process.Args == ["/pause"]
    every variable in input.OCI.Process.Env { regex.match(`^(PATH|HOSTNAME)=`, variable) }
    every mount in input.OCI.Mounts { is_runtime_mount(mount) }
}

CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "container"
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_container"
    is_confined
    images := [storage | some storage in input.storages; is_root_image(storage, allowed.image)]
    count(images) == 1
    others := [storage | some storage in input.storages; is_memory(storage)]
    count(images) + count(others) == count(input.storages)
    input.OCI.Process.Args == allowed.words
    every variable in input.OCI.Process.Env { is_allowed(variable) }
    every mount in input.OCI.Mounts { is_allowed_mount(mount) }
}

# No code, device or setting of the host's comes in beside the image. The agent takes
# the root that the host names if it has none itself, so it must be the image's place,
# which is not below /run/kata-containers/shared, where the host's files go. And by
# kernel.core_pattern, for one, a sysctl can name a program.
is_confined if {
    regex.match(`^[a-z0-9]{64}$`, input.container_id)
    input.OCI.Root.Path == root
    is_without_hooks
    is_none(object.get(input, "devices", null))
    is_none(object.get(input, "shared_mounts", null))
    is_none(object.get(input.OCI.Linux, "Devices", null))
    is_harmless(object.get(input.OCI.Linux, "Sysctl", null))
}

root := concat("/", ["/run/kata-containers", input.container_id, "rootfs"])

is_without_hooks if is_null(object.get(input.OCI, "Hooks", null))

is_without_hooks if {
    is_object(input.OCI.Hooks)
    every kind, hooks in input.OCI.Hooks {
        is_string(kind)
        is_none(hooks)
    }
}

is_harmless(settings) if is_none(settings)

is_harmless(settings) if {
    is_object(settings)
    every name, value in settings {
        name in ["net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"]
        is_string(value)
    }
}

# Absent, or the default of its type.
is_none(value) if is_null(value)

is_none(value) if value == ""

is_none(value) if {
    is_array(value)
    count(value) == 0
}

is_none(value) if {
    is_object(value)
    count(value) == 0
}

is_root_image(storage, source) if {
    storage.driver == "image_guest_pull"
    storage.source == source
    storage.fstype == "overlay"
    storage.mount_point == root
    is_none(object.get(storage, "options", null))
}

is_said_to_be_pause(storage) if is_none(object.get(storage, "driver_options", null))

is_said_to_be_pause(storage) if {
    count(storage.driver_options) == 1
    startswith(storage.driver_options[0], "image_guest_pull=")
    said := json.unmarshal(trim_prefix(storage.driver_options[0], "image_guest_pull="))
    said.metadata["io.kubernetes.cri.container-type"] == "sandbox"
}

is_shared_memory(storage) if {
    storage.driver == "ephemeral"
    storage.fstype == "tmpfs"
    storage.source == "shm"
    storage.mount_point == "/run/kata-containers/sandbox/shm"
}

# Volumes that are made in the guest.
is_memory(storage) if {
    storage.driver == "ephemeral"
    storage.fstype == "tmpfs"
    storage.source == "tmpfs"
    is_memory_path(storage.mount_point)
}

is_memory(storage) if {
    storage.driver == "local"
    storage.fstype == "local"
    storage.source == "local"
    is_memory_path(storage.mount_point)
}

is_memory_path(path) if {
    not contains(path, "..")
    regex.match(`^/run/kata-containers/sandbox/ephemeral/[^/]+$`, path)
}

is_memory_path(path) if {
    not contains(path, "..")
    regex.match(`^/run/kata-containers/shared/containers/[a-z0-9]{64}/(rootfs/)?local/[^/]+$`, path)
}

is_allowed_mount(mount) if is_runtime_mount(mount)

is_allowed_mount(mount) if {
    mount.destination in allowed.volumes
    mount.type_ in ["bind", "local"]
    is_memory_path(mount.source)
}

is_allowed_mount(mount) if {
    mount.destination in allowed.volumes
    is_copy_mount(mount)
}

# What the guest's kernel makes. An option could turn it into a bind mount of anything.
is_runtime_mount(mount) if {
    some known in allowed.kernel_mounts
    mount.destination == known.destination
    mount.type_ == known.type
    not startswith(mount.source, "/")
    every option in mount.options { not option in ["bind", "rbind", "remount", "move"] }
}

is_runtime_mount(mount) if {
    mount.destination == "/dev/shm"
    mount.type_ == "bind"
    mount.source == "/run/kata-containers/sandbox/shm"
}

is_runtime_mount(mount) if {
    mount.destination in allowed.files
    is_copy_mount(mount)
}

# A file or directory that was copied for this very container and this very place.
is_copy_mount(mount) if {
    mount.type_ == "bind"
    startswith(mount.source, "/run/kata-containers/shared/containers/")
    parts := split(mount.source, "/")
    count(parts) == 6
    startswith(parts[5], concat("", [input.container_id, "-"]))
    is_copy(parts[5], file_name(mount.destination))
}

# CONTAINER-RANDOM-NAME, as the runtime calls what it copies.
is_copy(entry, name) if {
    regex.match(`^[a-z0-9]{64}-[a-z0-9]{16}-`, entry)
    endswith(entry, concat("", ["-", name]))
    count(entry) == 82 + count(name)
}

# By the type bits of a file's mode: 16384 is a directory, 32768 a regular file.
is_file_type(bits_of_type) if bits.and(input.file_mode, 61440) == bits_of_type

file_name(path) := name if {
    parts := split(path, "/")
    name := parts[count(parts) - 1]
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
        let zero = || BTreeSet::from([TdxMeasurement([0; 48])]);
        policy.rtmr = Some([zero(), zero(), zero(), zero()]);
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

    /// The values at the policy's end.
    fn allowed(container: &Container) -> serde_json::Value {
        let policy = container.policy().unwrap();
        let (_, allowed) = policy.split_once("\nallowed := ").unwrap();
        serde_json::from_str(allowed).unwrap()
    }

    /// All definitions of a rule.
    fn rules(name: &str) -> Vec<&'static str> {
        let start = format!("{name} ");
        let rules: Vec<_> = POLICY
            .split("\n\n")
            .filter(|block| {
                block.lines().find(|line| !line.starts_with('#')).is_some_and(|line| line.starts_with(&start))
            })
            .collect();
        assert!(!rules.is_empty(), "{name} is not defined");
        rules
    }

    #[test]
    fn variables_that_the_runtime_adds_may_have_any_value_and_others_not() {
        let allowed = allowed(&container());
        let names: BTreeSet<&str> = allowed["free_variables"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(serde_json::Value::as_str)
            .collect();
        let expected: BTreeSet<&str> = RUNTIME_VARIABLES.into_iter().chain(["PCCS_URL"]).collect();
        assert_eq!(names, expected);
        assert!(names.contains("KUBERNETES_SERVICE_HOST") && names.contains("HOSTNAME"));
        assert_eq!(allowed["variables"], json!(["PATH=/usr/bin"]));
    }

    #[test]
    fn volumes_are_only_where_the_owner_says() {
        assert_eq!(allowed(&container())["volumes"], json!([]));
        let mut with_volume = container();
        with_volume.mounts.insert("/var/lib/adytum".to_owned());
        let allowed = allowed(&with_volume);
        assert_eq!(allowed["volumes"], json!(["/var/lib/adytum"]));
        assert_eq!(allowed["files"], json!(RUNTIME_FILES));
        assert!(allowed["kernel_mounts"].as_array().unwrap().contains(&json!({
            "destination": "/proc",
            "type": "proc",
        })));
    }

    #[test]
    fn every_container_has_one_image_as_its_root_and_nothing_of_the_hosts() {
        let rules_of_containers = rules("CreateContainerRequest");
        assert_eq!(rules_of_containers.len(), 2);
        for rule in rules_of_containers {
            for part in [
                "\n    is_confined\n",
                "is_root_image(",
                "count(input.storages)",
                "input.OCI.Process.Args == ",
                "every variable in input.OCI.Process.Env {",
                "every mount in input.OCI.Mounts {",
            ] {
                assert!(rule.contains(part), "{part} is missing in {rule}");
            }
            // Of an empty list, everything is true of every element.
            assert!(!rule.contains("every storage in"), "{rule}");
        }
        let confined = rules("is_confined");
        assert_eq!(confined.len(), 1, "{confined:?}");
        for part in [
            "input.OCI.Root.Path == root\n",
            "is_without_hooks\n",
            "(input, \"devices\", null)",
            "(input, \"shared_mounts\", null)",
            "(input.OCI.Linux, \"Devices\", null)",
            "(input.OCI.Linux, \"Sysctl\", null)",
        ] {
            assert!(confined[0].contains(part), "{part} is missing in {}", confined[0]);
        }
        assert!(!POLICY.contains("not input.OCI"), "what is absent is null, of which `not` is false");
    }

    #[test]
    fn the_host_copies_only_files_with_the_names_of_mounts() {
        let rules_of_copies = rules("CopyFileRequest");
        assert_eq!(rules_of_copies.len(), 2);
        for rule in rules_of_copies {
            for part in ["/run/kata-containers/shared/containers/", "is_copy(parts[5], ", "is_file_type("] {
                assert!(rule.contains(part), "{part} is missing in {rule}");
            }
        }
    }

    #[test]
    fn what_the_policy_refers_to_is_defined_in_it() {
        let built_in = ["is_array", "is_null", "is_object", "is_string"];
        let words = POLICY.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let helpers: BTreeSet<&str> = words.filter(|word| word.starts_with("is_")).collect();
        assert!(helpers.len() > 10);
        for helper in helpers {
            let defined = POLICY.lines().any(|line| {
                line.strip_prefix(helper)
                    .is_some_and(|rest| rest.starts_with('(') || rest.starts_with(" if "))
            });
            assert!(defined || built_in.contains(&helper), "{helper} is not defined");
        }
        for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
            assert_eq!(POLICY.matches(open).count(), POLICY.matches(close).count(), "{open}{close}");
        }
    }
}
