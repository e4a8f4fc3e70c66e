//! Quotes for platforms that are emulated in tests: of real form, with a report
//! data that nobody signed.

use adytum_testkit::recorded::dcap_sample;

use crate::measurement::ReportData;

/// An SGX quote of version 3.
pub(super) fn sgx_quote(report_data: ReportData) -> Vec<u8> {
    with("sgx_quote", 48 + 320, report_data)
}

/// A TDX quote of version 4.
pub(super) fn tdx_quote(report_data: ReportData) -> Vec<u8> {
    with("tdx_quote", 48 + 520, report_data)
}

fn with(sample: &str, at: usize, report_data: ReportData) -> Vec<u8> {
    let mut quote = dcap_sample(sample);
    quote[at..at + 64].copy_from_slice(&report_data.0);
    quote
}
