//! A broker's announcement: an accepted one has one encoding.

#![no_main]

use adytum_governance::announcement::BrokerAnnouncement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(announcement) = BrokerAnnouncement::decode(bytes) {
        assert_eq!(announcement.encode(), bytes);
    }
});
