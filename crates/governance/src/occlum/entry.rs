//! One entry of `sgx_mrs`: an enclave that may have the secrets.

use adytum_evidence::{
    claims::{Claims, Measured, TcbStatus, TeeKind},
    measurement::{MrEnclave, MrSigner},
    policy::Failure,
};

/// What an enclave must show, each by equality; `None`: not checked ("off").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mr_enclave: Option<MrEnclave>,
    /// The key that signed the code.
    pub mr_signer: Option<MrSigner>,
    pub isv_prod_id: Option<u16>,
    /// The security version: by equality, as Occlum does it.
    pub isv_svn: Option<u16>,
    /// The configuration's security version: by equality.
    pub config_svn: Option<u16>,
    /// Whether it is in debug mode.
    pub debuggable: Option<bool>,
}

/// The files say nothing of the TCB. A platform that needs a configuration or
/// that its software be hardened passes, as it does in Occlum; one that
/// lacks Intel's updates does not.
const ACCEPTED_TCB: [TcbStatus; 4] = [
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
];

impl Entry {
    pub(super) fn pins_nothing(&self) -> bool {
        self.mr_enclave.is_none() && self.mr_signer.is_none()
    }

    pub(super) fn signer_only(&self) -> bool {
        self.mr_enclave.is_none() && self.mr_signer.is_some()
    }

    pub(super) fn lets_debug_pass(&self) -> bool {
        self.debuggable != Some(false)
    }

    /// Every check that these claims fail; empty: they pass.
    pub fn failures(&self, claims: &Claims) -> Vec<Failure> {
        let Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_svn, enclave: _ } =
            &claims.measured
        else {
            return vec![failure("tee", TeeKind::Sgx.to_string(), claims.tee())];
        };
        let mut failures = Vec::new();
        check(&mut failures, "mr_enclave", self.mr_enclave.as_ref(), mr_enclave);
        check(&mut failures, "mr_signer", self.mr_signer.as_ref(), mr_signer);
        check(&mut failures, "isv_prod_id", self.isv_prod_id.as_ref(), isv_prod_id);
        check(&mut failures, "isv_svn", self.isv_svn.as_ref(), isv_svn);
        check(&mut failures, "config_svn", self.config_svn.as_ref(), config_svn);
        check(&mut failures, "debuggable", self.debuggable.as_ref(), &claims.debug);
        if let Some(status) = claims.tcb_status.filter(|status| !ACCEPTED_TCB.contains(status)) {
            failures.push(failure("tcb_status", "not OutOfDate", status));
        }
        failures
    }
}

fn check<T: PartialEq + std::fmt::Display>(
    failures: &mut Vec<Failure>,
    rule: &str,
    wanted: Option<&T>,
    got: &T,
) {
    if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
        failures.push(failure(rule, wanted.to_string(), got));
    }
}

fn failure(rule: &str, wanted: impl Into<String>, got: impl std::fmt::Display) -> Failure {
    Failure { rule: rule.to_owned(), wanted: wanted.into(), got: got.to_string() }
}
