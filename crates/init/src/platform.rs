//! What kind of place a program runs in.

/// What kind of place this process runs in: decides where secrets may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The Occlum LibOS in an SGX enclave.
    Occlum,
    /// The Gramine LibOS in an SGX enclave.
    Gramine,
    /// A guest that TDX or SEV-SNP protects.
    ConfidentialVm,
    /// Nothing protects it.
    Simulation,
}
