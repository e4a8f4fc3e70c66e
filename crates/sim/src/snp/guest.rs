//! What a simulated chip says of a guest.

use adytum_evidence::{
    measurement::{HostData, ReportData, SnpMeasurement},
    snp::{Endorser, REPORT_LENGTH, SnpProduct},
};

use super::SnpPlatform;

/// What the signature of a report covers (AMD 56860, table ATTESTATION_REPORT).
pub(super) const SIGNED: usize = 0x2a0;

/// A guest as its chip sees it.
#[derive(Clone, Debug)]
pub struct SnpGuest {
    pub measurement: SnpMeasurement,
    /// What the host gave at launch.
    pub host_data: HostData,
    /// What its owner allows the host (table POLICY).
    pub policy: u64,
    /// The privilege level that asks.
    pub vmpl: u32,
    /// How the chip is configured (table PLATFORM_INFO).
    pub platform_info: u64,
    /// The guest's security version, from its ID block.
    pub guest_svn: u32,
    /// Of the key that signed its ID block.
    pub id_key_digest: [u8; 48],
    /// Of the key that signed that key.
    pub author_key_digest: [u8; 48],
    /// The version of the report's form.
    pub version: u32,
    /// TCB_VERSION at its launch; the chip's own by default.
    pub launch_tcb: Option<[u8; 8]>,
}

impl SnpGuest {
    /// One with this measurement and host data, without debug or migration.
    pub fn new(measurement: SnpMeasurement, host_data: HostData) -> Self {
        Self {
            measurement,
            host_data,
            // SMT allowed, and the bit that is always 1.
            policy: 3 << 16,
            vmpl: 0,
            // SMT is on, and the memory was checked for aliases.
            platform_info: 0b10_0001,
            guest_svn: 0,
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            version: 3,
            launch_tcb: None,
        }
    }

    pub(super) fn unsigned_report(&self, platform: &SnpPlatform, report_data: ReportData) -> Vec<u8> {
        let mut report = vec![0; REPORT_LENGTH];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = report.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0x00, &self.version.to_le_bytes());
        put(0x04, &self.guest_svn.to_le_bytes());
        put(0x08, &self.policy.to_le_bytes());
        put(0x30, &self.vmpl.to_le_bytes());
        put(0x34, &1u32.to_le_bytes());
        put(0x38, &platform.tcb);
        put(0x40, &self.platform_info.to_le_bytes());
        let author_key = u8::from(self.author_key_digest != [0; 48]);
        let endorser = if platform.endorser == Endorser::Vlek { 1 << 2 } else { 0 };
        put(0x48, &[author_key | endorser]);
        put(0x50, report_data.as_bytes());
        put(0x90, self.measurement.as_bytes());
        put(0xc0, self.host_data.as_bytes());
        put(0xe0, &self.id_key_digest);
        put(0x110, &self.author_key_digest);
        put(0x180, &platform.tcb);
        if self.version > 2 {
            let (family, model) = match platform.product {
                SnpProduct::Milan => (0x19, 0x01),
                SnpProduct::Genoa => (0x19, 0x11),
                SnpProduct::Turin => (0x1a, 0x02),
            };
            put(0x188, &[family, model]);
        }
        put(0x1a0, &platform.chip_id);
        put(0x1e0, &platform.tcb);
        put(0x1f0, &self.launch_tcb.unwrap_or(platform.tcb));
        report
    }
}
