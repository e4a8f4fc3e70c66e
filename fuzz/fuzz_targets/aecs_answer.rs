//! Answers of an AECS server and the reports in them: they are read or refused.

#![no_main]

use adytum_api::kubetee::UnifiedAttestationReport;
use adytum_sources::aecs::{ServerReport, read_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = read_answer(text);
    let report = UnifiedAttestationReport {
        str_report_version: "1.0".to_owned(),
        str_report_type: "Passport".to_owned(),
        str_tee_platform: "SGX_DCAP".to_owned(),
        json_report: text.to_owned(),
        json_nested_reports: String::new(),
    };
    let _ = ServerReport::parse(&report);
});
