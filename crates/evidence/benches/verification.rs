//! What one verification costs, in processor time: `cargo bench -p
//! adytum-evidence`. The baseline is `dcap-qvl` alone, on ring.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails measures nothing")]

use std::{fs, hint::black_box, sync::Arc};

use adytum_evidence::{
    clock::SystemClock,
    measurement::{HostData, ReportData, SnpMeasurement},
    snp::{Endorser, SnpProduct, parse_report},
    verifier::{Verifier, parse_dcap},
};
use adytum_sim::snp::{SnpGuest, SnpPlatform};
use adytum_testkit::recorded::Sample;
use dcap_qvl::{configs::RingConfig, verify::QuoteVerifier};

const ROUNDS: u32 = 2000;

fn main() {
    for (name, sample) in
        [("SGX v3", Sample::sgx()), ("TDX v4", Sample::tdx_v4()), ("TDX v5", Sample::tdx_v5())]
    {
        let dcap = QuoteVerifier::new_prod().with_config::<RingConfig>();
        measure(name, "dcap-qvl on ring", || {
            let now = sample.time.0;
            black_box(dcap.verify(&sample.quote, &sample.collateral, now).unwrap());
        });
        let (verifier, evidence) = (sample.verifier(), sample.evidence());
        measure(name, "Verifier", || {
            black_box(verifier.verify_with(&evidence, &sample.collateral).unwrap());
        });
        measure(name, "parse_dcap", || {
            black_box(parse_dcap(&evidence.bytes).unwrap());
        });
    }
    // Its certificates' keys have 2048 bits, AMD's 4096.
    let chip = SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vcek).unwrap();
    let guest = SnpGuest::new(SnpMeasurement([1; 48]), HostData([2; 32]));
    let (evidence, collateral) = (chip.evidence(&guest, ReportData([3; 64])).unwrap(), chip.published());
    let verifier =
        Verifier::new(vec![chip.trust_root().unwrap()], Arc::clone(&chip) as _, Arc::new(SystemClock));
    measure("SNP", "Verifier", || {
        black_box(verifier.verify_with(&evidence, &*collateral).unwrap());
    });
    measure("SNP", "parse_report", || {
        black_box(parse_report(&evidence.bytes).unwrap());
    });
}

fn measure(sample: &str, what: &str, mut run: impl FnMut()) {
    (0..100).for_each(|_| run());
    let start = processor_time();
    (0..ROUNDS).for_each(|_| run());
    let each = (processor_time() - start) / f64::from(ROUNDS);
    println!("{sample:8} {what:18} {each:8.1} us");
}

/// Microseconds that this thread has run: other work on the machine does not
/// count (Linux, Documentation/scheduler/sched-stats.rst).
fn processor_time() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1000.0
}
