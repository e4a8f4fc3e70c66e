//! Measures how long a simulated quote takes, and how long with its verification.
//!
//! `cargo run --release -p adytum-sim --example quote_rate`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_evidence::{
    attester::Attester as _,
    clock::SystemClock,
    measurement::{ReportData, WorkloadIdentity},
    verifier::Verifier,
};
use adytum_sim::{Platform, SimAttester};

const TIME: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let platform = Platform::ephemeral().unwrap();
    let attester = SimAttester::new(platform.clone(), WorkloadIdentity([1; 32]));
    let root = platform.trust_root().unwrap();
    let verifier = Verifier::new(vec![root], Arc::new(platform.collateral_source()), Arc::new(SystemClock));
    for verified in [false, true] {
        let (began, mut count) = (Instant::now(), 0_u32);
        while began.elapsed() < TIME {
            // Another report each time: signatures that were found good are remembered.
            let mut report_data = ReportData([0; 64]);
            report_data.0[..4].copy_from_slice(&count.to_le_bytes());
            let evidence = attester.evidence(report_data).await.unwrap();
            if verified {
                assert_eq!(verifier.verify(&evidence).await.unwrap().report_data, report_data);
            }
            count += 1;
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(count);
        println!("{each:.0} us a quote{}", if verified { " and its verification" } else { "" });
    }
}
