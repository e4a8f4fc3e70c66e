//! The certificates that a host hands its guests for their reports (AMD 56421,
//! GHCB Specification, SNP Extended Guest Request: a table of GUID, offset and
//! length, ended by zeros, and the certificates after it).

use crate::measurement::Endorser;

const ENTRY: usize = 24;
/// More than there are kinds of certificates.
const MAXIMUM_ENTRIES: usize = 32;

/// The certificates, each in DER; nothing in them is verified.
#[derive(Clone, Copy, Debug)]
pub struct CertificateTable<'a> {
    vcek: Option<&'a [u8]>,
    vlek: Option<&'a [u8]>,
}

impl<'a> CertificateTable<'a> {
    /// Reads a table. No bytes are a table without certificates.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut table = Self { vcek: None, vlek: None };
        if bytes.is_empty() {
            return Ok(table);
        }
        for index in 0..MAXIMUM_ENTRIES {
            let entry = bytes
                .get(index * ENTRY..(index + 1) * ENTRY)
                .ok_or_else(|| format!("it ends in entry {index}, before an entry of zeros"))?;
            if entry.iter().all(|&byte| byte == 0) {
                return Ok(table);
            }
            let (guid, place) = entry.split_at(16);
            let [a, b, c, d, e, f, g, h] = <[u8; 8]>::try_from(place).unwrap_or_default();
            let (offset, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            let certificate = (|| {
                let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
                bytes.get(offset..offset.checked_add(length)?)
            })()
            .ok_or_else(|| format!("entry {index}: {length} bytes from {offset} on lie outside"))?;
            for endorser in [Endorser::Vcek, Endorser::Vlek] {
                let forms = guids(endorser);
                if forms.iter().any(|form| form == guid) {
                    let slot = table.slot(endorser);
                    if slot.replace(certificate).is_some() {
                        return Err(format!("it has two certificates of a {endorser}"));
                    }
                }
            }
        }
        Err(format!("it has more than {MAXIMUM_ENTRIES} entries"))
    }

    fn slot(&mut self, endorser: Endorser) -> &mut Option<&'a [u8]> {
        match endorser {
            Endorser::Vcek => &mut self.vcek,
            Endorser::Vlek => &mut self.vlek,
        }
    }

    /// The certificate of the key that signs.
    pub fn endorser(&self, endorser: Endorser) -> Option<&'a [u8]> {
        match endorser {
            Endorser::Vcek => self.vcek,
            Endorser::Vlek => self.vlek,
        }
    }
}

/// A table with one certificate.
pub fn single(endorser: Endorser, certificate: &[u8]) -> Vec<u8> {
    // A certificate of 4 GiB is none.
    let length = u32::try_from(certificate.len()).unwrap_or(u32::MAX);
    let [guid, _] = guids(endorser);
    let mut table = guid.to_vec();
    table.extend_from_slice(&(2 * ENTRY as u32).to_le_bytes());
    table.extend_from_slice(&length.to_le_bytes());
    table.resize(2 * ENTRY, 0);
    table.extend_from_slice(certificate);
    table
}

/// The GUID, with its first three numbers in either order of bytes: hosts were seen
/// with both.
fn guids(endorser: Endorser) -> [[u8; 16]; 2] {
    let guid: u128 = match endorser {
        Endorser::Vcek => 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd,
        Endorser::Vlek => 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1,
    };
    let in_order = guid.to_be_bytes();
    let mut mixed = in_order;
    for part in [0..4, 4..6, 6..8] {
        mixed[part].reverse();
    }
    [in_order, mixed]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (endorser, other) in [(Endorser::Vcek, Endorser::Vlek), (Endorser::Vlek, Endorser::Vcek)] {
            let written = single(endorser, b"certificate");
            let read = CertificateTable::parse(&written).unwrap();
            assert_eq!(read.endorser(endorser), Some(&b"certificate"[..]));
            assert_eq!(read.endorser(other), None);
            // The other order of bytes.
            let mut mixed = written;
            mixed[..16].copy_from_slice(&guids(endorser)[1]);
            let read = CertificateTable::parse(&mixed).unwrap();
            assert_eq!(read.endorser(endorser), Some(&b"certificate"[..]));
        }
        assert!(CertificateTable::parse(&[]).unwrap().endorser(Endorser::Vcek).is_none());
    }

    #[test]
    fn others_certificates_are_passed_over() {
        let mut table = [7; 16].to_vec();
        table.extend_from_slice(&[0; 8]);
        table.extend_from_slice(&single(Endorser::Vcek, b"")[..ENTRY]);
        table.extend_from_slice(&[0; ENTRY]);
        assert_eq!(CertificateTable::parse(&table).unwrap().endorser(Endorser::Vcek), Some(&b""[..]));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let good = single(Endorser::Vcek, b"certificate");
        let entry = &good[..ENTRY];
        let outside = [&entry[..16], &[255; 8], &[0; ENTRY]].concat();
        let twice = [entry, entry, &[0; 2 * ENTRY]].concat();
        for (bytes, reason) in [
            (good[..ENTRY].to_vec(), "outside"),
            ([&[1; ENTRY - 8][..], &[0; 8]].concat(), "before an entry of zeros"),
            (outside, "outside"),
            (twice, "two certificates"),
            ([&[1; 16][..], &[0; 8]].concat().repeat(40), "more than"),
        ] {
            let error = CertificateTable::parse(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = CertificateTable::parse(&bytes);
        }
    }
}
