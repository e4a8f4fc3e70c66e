//! Whether a policy's rules make sense together.

use super::Policy;
use crate::{
    claims::TeeKind,
    measurement::{Endorser, SnpTcb, TdxMeasurement},
};

/// Why a document is not a policy.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No rule of the policy names the code that may run, so any program would pass.
    ///
    /// Do: pin the code in the policy: give the fields that the message names for this
    /// kind of TEE.
    #[error("the policy pins no code for {tee}: give {}", pins(*.tee))]
    PinsNothing {
        /// The kind of TEE that any program would pass on.
        tee: TeeKind,
    },
    /// Register 0 of a TDX guest is not pinned, so the host may give the guest any ACPI
    /// tables, and these have code that the guest's kernel runs.
    ///
    /// Do: give register 0 in `rtmr`, as `adytum manifest new` drafts it, one value for
    /// each size of guest; or accept any by `allow_any_acpi = true`.
    #[error(
        "the policy's rtmr does not pin register 0, so it accepts whatever ACPI tables the host gives the guest, whose \
         kernel runs the code in them: give register 0, or accept any by name with allow_any_acpi = true"
    )]
    AnyAcpi,
    /// A rule of the policy is an empty list, so nothing could pass.
    ///
    /// Do: give at least one value, or leave the rule out.
    #[error("the policy's {rule} is empty, so nothing could pass: give at least one")]
    Empty { rule: &'static str },
    /// A value of a rule is all zeros, as where nothing was measured: it pins nothing.
    ///
    /// Do: put the measured value in its place, from the build or from
    /// `adytum evidence show` of a replica on hardware.
    #[error(
        "the policy's {rule} is all zeros, which is no measured value and pins nothing: give the value of the build, \
         or of a replica on hardware (`adytum evidence show`)"
    )]
    Zeros { rule: &'static str },
    /// An id in the policy's `platforms` is not hexadecimal.
    ///
    /// Do: give the PPID or chip id as `adytum evidence show` prints it.
    #[error("the policy's platforms: expected a PPID or chip id as hexadecimal digits, found {found:?}")]
    Platform { found: String },
    /// `platforms` with reports that a cloud provider's key signs. The same key is in
    /// many chips, so a chip id in such a report is certified by nobody.
    ///
    /// Do: leave `vlek` out of `endorser`, or leave out `platforms` and pin the provider
    /// with `csp_id`.
    #[error(
        "the policy has platforms and accepts a VLEK, which many chips share, so that a chip id is only the report's \
         word: leave \"vlek\" out of endorser, or leave out platforms and give csp_id"
    )]
    PlatformsUnderVlek,
    /// `csp_id` has an effect on reports that a VLEK signed only, and the policy accepts
    /// none.
    ///
    /// Do: add `vlek` to `endorser`, or leave out `csp_id`.
    #[error("the policy's csp_id has no effect without a VLEK: add \"vlek\" to endorser, or leave it out")]
    ProviderWithoutVlek,
    /// The policy accepts reports that any cloud provider's key signs (VLEK). A provider
    /// may run whatever guest in that key's name.
    ///
    /// Do: name the providers in `csp_id`, as `adytum evidence show` prints them, or leave
    /// `vlek` out of `endorser`.
    #[error(
        "the policy accepts a VLEK of any cloud provider: name the provider in csp_id, or leave \"vlek\" out of endorser"
    )]
    AnyProvider,
    /// The policy accepts SEV-SNP with any firmware of the processor.
    ///
    /// Do: give `minimum_snp_tcb` with the levels of AMD's latest security bulletins.
    #[error(
        "the policy accepts snp whatever the processor's firmware: give minimum_snp_tcb = {{ bootloader = ..., tee = ..., \
         snp = ..., microcode = ... }}, the levels of AMD's latest security bulletins"
    )]
    AnySnpTcb,
    /// The policy has `allow_any_program` without a signer, which would accept anything.
    ///
    /// Do: name the signer of the programs in `mr_signer`.
    #[error("the policy's allow_any_program needs mr_signer: name the signer whose programs may run")]
    AnyProgramOfAnyone,
}

impl PolicyError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PinsNothing { .. } => "policy-pins-nothing",
            Self::AnyAcpi => "policy-any-acpi",
            Self::Empty { .. } => "policy-empty-rule",
            Self::Zeros { .. } => "policy-zeros",
            Self::Platform { .. } => "policy-platform",
            Self::PlatformsUnderVlek => "policy-platforms-under-vlek",
            Self::ProviderWithoutVlek => "policy-provider-without-vlek",
            Self::AnyProvider => "policy-any-provider",
            Self::AnySnpTcb => "policy-any-snp-tcb",
            Self::AnyProgramOfAnyone => "policy-any-program",
        }
    }
}

pub(super) fn pins(tee: TeeKind) -> &'static str {
    match tee {
        TeeKind::Sgx => "identity or mr_enclave (or mr_signer with allow_any_program = true)",
        TeeKind::Tdx => {
            "mr_td, and rtmr with register 0, the ACPI tables (or allow_any_acpi = true), and registers 1 and 2, the \
             kernel's (or allow_any_kernel = true); MRCONFIGID, and so identity, is the host's word without them"
        }
        TeeKind::Snp => "snp_measurement (HOST_DATA, and so identity, is the host's word without it)",
    }
}

impl Policy {
    /// This policy, if its rules make sense together: what parsing checks. For
    /// policies put together in code.
    pub fn validated(mut self) -> Result<Self, PolicyError> {
        for (rule, empty) in [
            ("vendors", self.vendors.is_empty()),
            ("tee", self.tee.is_empty()),
            ("tcb_status", self.tcb_status.is_empty()),
            ("endorser", self.endorser.is_empty()),
        ] {
            if empty {
                return Err(PolicyError::Empty { rule });
            }
        }
        if let Some(rule) = self.zeros() {
            return Err(PolicyError::Zeros { rule });
        }
        if self.allow_any_program && self.mr_signer.is_empty() {
            return Err(PolicyError::AnyProgramOfAnyone);
        }
        if let Some(&tee) = self.tee.iter().find(|&&tee| !self.pins_code(tee)) {
            return Err(match tee == TeeKind::Tdx && self.pins_firmware_and_kernel() {
                true => PolicyError::AnyAcpi,
                false => PolicyError::PinsNothing { tee },
            });
        }
        if self.tee.contains(&TeeKind::Snp) && self.minimum_snp_tcb.is_none() {
            return Err(PolicyError::AnySnpTcb);
        }
        let vlek = self.endorser.contains(&Endorser::Vlek);
        if vlek && self.tee.contains(&TeeKind::Snp) && !self.platforms.is_empty() {
            return Err(PolicyError::PlatformsUnderVlek);
        }
        if !vlek && !self.csp_id.is_empty() {
            return Err(PolicyError::ProviderWithoutVlek);
        }
        if vlek && self.tee.contains(&TeeKind::Snp) && self.csp_id.is_empty() {
            return Err(PolicyError::AnyProvider);
        }
        let not_hexadecimal =
            |id: &&String| id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_hexdigit());
        if let Some(found) = self.platforms.iter().find(not_hexadecimal) {
            return Err(PolicyError::Platform { found: found.clone() });
        }
        self.platforms = self.platforms.iter().map(|id| id.to_ascii_lowercase()).collect();
        Ok(self)
    }

    /// Does it accept whatever machine of its vendors? Then a key that was extracted from
    /// one of them speaks for any guest.
    pub fn accepts_any_machine(&self) -> bool {
        self.platforms.is_empty()
    }

    /// Do the rules pin the code on this kind of TEE?
    pub(super) fn pins_code(&self, tee: TeeKind) -> bool {
        match tee {
            TeeKind::Sgx => {
                let signer = self.allow_any_program && !self.mr_signer.is_empty();
                signer || !self.identity.is_empty() || !self.mr_enclave.is_empty()
            }
            TeeKind::Tdx => {
                let acpi = self.rtmr.as_ref().is_some_and(|[acpi, ..]| !acpi.is_empty());
                self.pins_firmware_and_kernel() && (acpi || self.allow_any_acpi)
            }
            TeeKind::Snp => !self.snp_measurement.is_empty(),
        }
    }

    fn pins_firmware_and_kernel(&self) -> bool {
        let kernel = self
            .rtmr
            .as_ref()
            .is_some_and(|[_, kernel, command_line, _]| !kernel.is_empty() && !command_line.is_empty());
        !self.mr_td.is_empty() && (kernel || self.allow_any_kernel)
    }

    /// A rule with a value that nothing was measured into. Register 3 is no such rule: it
    /// is zero in a guest that measures nothing later.
    fn zeros(&self) -> Option<&'static str> {
        let register = |number: usize| {
            let registers = self.rtmr.as_ref().and_then(|registers| registers.get(number));
            registers.is_some_and(|pinned| pinned.iter().any(TdxMeasurement::is_zero))
        };
        let no_level = |tcb: &SnpTcb| {
            tcb.fmc.unwrap_or(0) == 0 && [tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode] == [0; 4]
        };
        [
            ("identity", self.identity.iter().any(|value| value.is_zero())),
            ("mr_enclave", self.mr_enclave.iter().any(|value| value.is_zero())),
            ("mr_signer", self.mr_signer.iter().any(|value| value.is_zero())),
            ("mr_td", self.mr_td.iter().any(|value| value.is_zero())),
            ("rtmr[0]", register(0)),
            ("rtmr[1]", register(1)),
            ("rtmr[2]", register(2)),
            ("snp_measurement", self.snp_measurement.iter().any(|value| value.is_zero())),
            ("host_data", self.host_data.iter().any(|value| value.is_zero())),
            ("minimum_snp_tcb", self.minimum_snp_tcb.as_ref().is_some_and(no_level)),
            ("id_key_digest", self.id_key_digest.iter().any(|value| value.is_zero())),
            ("author_key_digest", self.author_key_digest.iter().any(|value| value.is_zero())),
        ]
        .into_iter()
        .find_map(|(rule, zeros)| zeros.then_some(rule))
    }
}
