//! `adytum init-data`: what a confidential guest of Kata Containers may run.
//!
//! The host passes a document to the guest (Confidential Containers, "initdata"
//! 0.1.0), and the TEE carries its digest: TDX in MRCONFIGID, SEV-SNP in
//! HOST_DATA. The guest's agent enforces the policy in it. So a genuine guest
//! that runs another image, command or environment has another digest, and that
//! digest is the workload identity that the broker checks, together with the
//! measurement of the guest itself, without which the agent could be any.
//!
//! The policy was written from the agent's public interface. Tests evaluate it with the
//! interpreter that the agent uses; no agent has ever enforced it. Compare it with what
//! `genpolicy`, which comes with Kata Containers, makes for the same pod before you rely
//! on it: both pin the image, command, environment, mounts, user, groups, capabilities,
//! working directory, privileges, namespaces and the paths that are hidden. `genpolicy`
//! also pins annotations and the version of the OCI specification, which change nothing
//! in the guest.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use anyhow::Context;
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
    New(Box<NewArgs>),
    /// Print the digest of a document.
    Digest { file: PathBuf },
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
    /// A place where a volume may be mounted, apart from those that every container has.
    #[arg(long = "mount", value_name = "PATH")]
    mounts: Vec<String>,
    /// The user and group that the program runs as: `runAsUser` and `runAsGroup`.
    #[arg(long, value_name = "UID:GID", default_value = "65532:65532")]
    user: User,
    /// A further group of the program (`supplementalGroups`, `fsGroup`); may be given several times.
    #[arg(long = "group", value_name = "GID")]
    groups: Vec<u32>,
    /// A capability that the container may have, such as CAP_NET_BIND_SERVICE; may be given
    /// several times. None by default (`drop: [ALL]`).
    #[arg(long = "capability", value_name = "NAME", value_parser = parse_capability)]
    capabilities: Vec<String>,
    /// The directory that the program starts in: the image's `WORKDIR`, or `workingDir`.
    #[arg(long, value_name = "PATH", default_value = "/")]
    directory: String,
    /// The container may write to its root: without `readOnlyRootFilesystem`.
    #[arg(long)]
    writable_root: bool,
    /// Where the document goes; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write a patch for Kustomize that annotates pods with the document.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
}

/// A user and its group, by number.
#[derive(Clone, Copy, Debug)]
struct User {
    user: u32,
    group: u32,
}

impl std::str::FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a number"));
        let (user, group) = text.split_once(':').ok_or("expected UID:GID, such as 65532:65532")?;
        Ok(Self { user: number(user)?, group: number(group)? })
    }
}

fn parse_capability(text: &str) -> Result<String, String> {
    let named = text.strip_prefix("CAP_").is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    });
    if named { Ok(text.to_owned()) } else { Err("expected a name such as CAP_NET_BIND_SERVICE".to_owned()) }
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New(args) => new(*args),
        Action::Digest { file } => {
            let document = key_file::read_bytes(&file, 1024 * 1024)?;
            printed(identity(&document))
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
    printed(identity(document.as_bytes()))
}

fn printed(identity: WorkloadIdentity) -> anyhow::Result<()> {
    output::result(&json!({ "digest": identity.to_string() }), identity)
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

/// The containers that may run in the guest.
#[derive(Clone, Debug)]
struct Container {
    image: String,
    words: Vec<String>,
    variables: BTreeSet<String>,
    free_variables: BTreeSet<String>,
    mounts: BTreeSet<String>,
    user: User,
    groups: BTreeSet<u32>,
    capabilities: BTreeSet<String>,
    directory: String,
    readonly_root: bool,
}

impl TryFrom<NewArgs> for Container {
    type Error = anyhow::Error;

    fn try_from(args: NewArgs) -> anyhow::Result<Self> {
        let digest = args.image.rsplit_once("@sha256:").map(|(_, digest)| digest);
        if !digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())) {
            bail_input!(
                "--image {}: expected NAME@sha256:.., since a tag can be moved to another image",
                args.image
            );
        }
        for variable in &args.variables {
            ensure_input!(
                variable.split_once('=').is_some_and(|(name, _)| !name.is_empty()),
                "--env {variable}: expected NAME=VALUE"
            );
        }
        for name in &args.free_variables {
            ensure_input!(!name.is_empty() && !name.contains('='), "--any-env {name}: expected a name");
        }
        for mount in &args.mounts {
            ensure_input!(
                mount.starts_with('/') && !mount.ends_with('/') && !mount.contains(".."),
                "--mount {mount}: expected an absolute path without a slash at its end"
            );
        }
        ensure_input!(
            args.directory.starts_with('/') && !args.directory.contains(".."),
            "--directory {}: expected an absolute path",
            args.directory
        );
        Ok(Self {
            user: args.user,
            groups: args.groups.into_iter().collect(),
            capabilities: args.capabilities.into_iter().collect(),
            directory: args.directory,
            readonly_root: !args.writable_root,
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
        ensure_input!(!policy.contains("'''"), "a word, a variable or a path has '''; leave it out");
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
            "user": self.user.user,
            "group": self.user.group,
            "groups": self.groups,
            "capabilities": self.capabilities,
            "directory": self.directory,
            "readonly_root": self.readonly_root,
        });
        let mut policy = String::from(POLICY);
        writeln!(policy, "\nallowed := {}", serde_json::to_string_pretty(&allowed)?)?;
        Ok(policy)
    }
}

/// Everything but the values. Standard output may be read, nothing be typed in or
/// executed in addition, and the policy not be replaced. A field absent from a request is
/// null there, and in Rego null is not false, so `not` doesn't find it.
const POLICY: &str = include_str!("init_data/policy.rego");
