//! Claims of genuine, current platforms. A test changes what it is about:
//! `Claims { debug: true, ..claims::sgx([1; 32]) }`.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Claims, Measured, Platform, SnpGuestClaims, TcbStatus},
    measurement::{
        HostData, MrEnclave, MrSigner, ReportData, SnpMeasurement, SnpPlatformInfo, TdxMeasurement,
        WorkloadIdentity,
    },
    snp::SnpTcb,
    trust::{TrustRoot, Vendor},
};

/// The firmware of the processor that [`snp_guest`] runs on.
pub const SNP_TCB: SnpTcb = SnpTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 115 };

/// The runtime registers of [`tdx_guest`].
pub const RUNTIME_REGISTERS: [TdxMeasurement; 4] =
    [TdxMeasurement([6; 48]), TdxMeasurement([7; 48]), TdxMeasurement([8; 48]), TdxMeasurement([9; 48])];

/// Claims of a platform without faults that measured this.
pub fn of(measured: Measured) -> Claims {
    let vendor = match measured {
        Measured::Snp { .. } => Vendor::Amd,
        _ => Vendor::Intel,
    };
    Claims {
        announced: None,
        vendor,
        root_key_id: TrustRoot::intel().root_key_id(),
        debug: false,
        tcb_status: Some(TcbStatus::UpToDate),
        advisory_ids: BTreeSet::new(),
        platform: Platform { id: "00".to_owned(), fmspc: None, sgx: None },
        report_data: ReportData([0; 64]),
        measured,
    }
}

/// An enclave of no signer, with all versions 0.
pub fn sgx(mr_enclave: [u8; 32]) -> Claims {
    of(enclave(mr_enclave, [0; 32]))
}

/// An enclave with all versions 0.
pub fn enclave(mr_enclave: [u8; 32], mr_signer: [u8; 32]) -> Measured {
    Measured::Sgx {
        mr_enclave: MrEnclave(mr_enclave),
        mr_signer: MrSigner(mr_signer),
        isv_prod_id: 0,
        isv_svn: 0,
        config_svn: 0,
        enclave: Default::default(),
    }
}

/// A TDX guest to which the host gave this workload identity.
pub fn tdx_guest(mr_td: [u8; 48], identity: WorkloadIdentity) -> Measured {
    let mut mr_config_id = [0; 48];
    mr_config_id[..32].copy_from_slice(&identity.0);
    Measured::Tdx {
        mr_td: TdxMeasurement(mr_td),
        mr_config_id: TdxMeasurement(mr_config_id),
        rtmr: RUNTIME_REGISTERS,
        td: Default::default(),
    }
}

/// A SEV-SNP guest to which the host gave this workload identity.
pub fn snp_guest(measurement: [u8; 48], identity: WorkloadIdentity) -> Measured {
    Measured::Snp {
        measurement: SnpMeasurement(measurement),
        host_data: HostData(identity.0),
        vmpl: 0,
        tcb: SNP_TCB,
        guest: checked_for_aliases(),
    }
}

/// A guest on a platform that was checked for aliases of its memory.
pub fn checked_for_aliases() -> SnpGuestClaims {
    SnpGuestClaims { platform: SnpPlatformInfo::read(1 << 5), ..SnpGuestClaims::default() }
}
