//! Manifests as their authors write them: TOML, table by table.

use std::fmt::{Display, Write};

/// The text of a manifest. Each method appends one table.
#[derive(Clone, Debug)]
pub struct Manifest(String);

impl Manifest {
    /// A manifest that trusts Intel's hardware.
    pub fn intel(genesis: impl Display, version: u64) -> Self {
        Self::new(genesis, version, "vendors = [\"intel\"]\n")
    }

    /// A manifest that trusts the simulated platforms with these root certificates (PEM).
    pub fn simulation<R: Display>(genesis: impl Display, version: u64, roots: &[R]) -> Self {
        let roots: Vec<_> = roots.iter().map(|root| format!("\"\"\"\n{root}\"\"\"")).collect();
        let trust = format!("vendors = [\"simulation\"]\nsimulation_roots = [{}]\n", roots.join(", "));
        Self::new(genesis, version, &trust)
    }

    fn new(genesis: impl Display, version: u64, trust: &str) -> Self {
        Self(format!(
            "format = \"adytum manifest v1\"\ngenesis = \"{genesis}\"\nversion = {version}\n\n[trust]\n{trust}\n"
        ))
    }

    /// The owners accept that the root key is lost with its machine.
    #[must_use]
    pub fn unrecoverable(self) -> Self {
        self.table("[recovery]\nunrecoverable = true\n")
    }

    /// This age recipient alone can recover the root key.
    #[must_use]
    pub fn recoverable_by(self, recipient: &str) -> Self {
        self.table(format!("[recovery]\nthreshold = 1\nrecipients = [\"{recipient}\"]\n"))
    }

    /// A workload with this policy, as [`enclave_policy`] or [`simulated_policy`] returns it.
    #[must_use]
    pub fn workload(self, name: &str, policy: &str, models: &[&str]) -> Self {
        self.table(format!(
            "[[workload]]\nname = \"{name}\"\nmodels = {models:?}\n[workload.policy]\n{policy}"
        ))
    }

    /// A secret of this kind for these workloads.
    #[must_use]
    pub fn secret(self, name: &str, kind: &str, workloads: &[&str]) -> Self {
        self.table(secret_table(name, kind, workloads))
    }

    /// A model that this owner signs, in this version or a later one.
    #[must_use]
    pub fn model(self, name: &str, signer: &str, minimum_version: u64) -> Self {
        self.table(format!(
            "[[model]]\nname = \"{name}\"\nsigners = [\"{signer}\"]\nminimum_version = {minimum_version}\n"
        ))
    }

    /// Any other table, or several.
    #[must_use]
    pub fn table(mut self, table: impl Display) -> Self {
        // A `String` takes all that is written to it.
        let _ = writeln!(self.0, "{table}");
        self
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.0
    }
}

/// The table of a secret, to which a test appends further fields.
pub fn secret_table(name: &str, kind: &str, workloads: &[&str]) -> String {
    format!("[[secret]]\nname = \"{name}\"\nkind = \"{kind}\"\nworkloads = {workloads:?}\n")
}

/// The policy for one enclave on Intel's hardware; each byte of its MRENCLAVE is this one.
pub fn enclave_policy(mr_enclave: u8) -> String {
    let digest = format!("{mr_enclave:02x}").repeat(32);
    format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{digest}\"]\n")
}

/// The policy for one workload identity on a simulated platform.
pub fn simulated_policy(identity: impl Display) -> String {
    format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nidentity = [\"{identity}\"]\n")
}
