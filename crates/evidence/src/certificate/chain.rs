//! Certificate chains as evidence and collateral carry them: PEM, leaf first.
//!
//! The grammar is stricter than RFC 7468's: nothing but certificates, nothing
//! between them. Intel's own producers write no other form, and a verifier that
//! skips what it does not understand is one that two readers disagree about. Some
//! providers' services leave out the line feed between two certificates, and that has one
//! reading only.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The DER certificates of a PEM chain, `LENGTH` of them.
pub(crate) fn parse<const LENGTH: usize>(text: &[u8]) -> Result<[Vec<u8>; LENGTH], String> {
    // Intel's quoting service ends the chain with a NUL, as a C string.
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = text.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| "the certificate chain is not text".to_owned())?;
    let mut certificates = Vec::with_capacity(LENGTH);
    let mut body: Option<String> = None;
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    for line in lines.flat_map(separated) {
        match &mut body {
            None if line.is_empty() => {}
            None if line == BEGIN && certificates.len() < LENGTH => body = Some(String::new()),
            None if line == BEGIN => return Err(format!("more than {LENGTH} certificates")),
            None => return Err("something other than certificates in the chain".to_owned()),
            Some(base64) if line == END => {
                let der = STANDARD.decode(base64.as_bytes()).map_err(|error| error.to_string())?;
                certificates.push(der);
                body = None;
            }
            Some(base64) => base64.push_str(line),
        }
    }
    if body.is_some() {
        return Err("the last certificate is cut off".to_owned());
    }
    let found = certificates.len();
    certificates.try_into().map_err(|_| format!("expected {LENGTH} certificates, found {found}"))
}

/// A line, or the end of a certificate and the beginning of the next one.
fn separated(line: &str) -> impl Iterator<Item = &str> {
    let joined = line.strip_prefix(END) == Some(BEGIN);
    let (first, second) = if joined { (END, Some(BEGIN)) } else { (line, None) };
    [Some(first), second].into_iter().flatten()
}

/// The issuer's certificate and the root's, from an issuer chain of collateral.
pub(crate) fn parse_issuer_chain(text: &str) -> Result<[Vec<u8>; 2], String> {
    parse::<2>(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pem(bodies: &[&str]) -> String {
        bodies.iter().map(|body| format!("{BEGIN}\n{body}\n{END}\n")).collect()
    }

    #[test]
    fn reads_what_intels_producers_write() {
        let expected = [b"abc".to_vec(), b"def".to_vec()];
        let text = pem(&["YW\nJj", "ZGVm"]);
        assert_eq!(parse::<2>(text.as_bytes()), Ok(expected.clone()));
        assert_eq!(parse::<2>(format!("{text}\0").as_bytes()), Ok(expected.clone()));
        assert_eq!(parse::<2>(text.replace('\n', "\r\n").as_bytes()), Ok(expected.clone()));
        assert_eq!(parse::<2>(text.trim_end().as_bytes()), Ok(expected.clone()));
        let joined = text.replace(&format!("{END}\n{BEGIN}"), &format!("{END}{BEGIN}"));
        assert_ne!(joined, text);
        assert_eq!(parse::<2>(joined.as_bytes()), Ok(expected));
    }

    #[test]
    fn refuses_anything_else() {
        let good = pem(&["YWJj", "ZGVm"]);
        for bad in [
            String::new(),
            pem(&["YWJj"]),
            pem(&["YWJj", "ZGVm", "ZGVm"]),
            good.replace("END", "EMD"),
            good.replace("YWJj", "YW*j"),
            good.replace("YWJj", "YWJjY"),
            format!("{good}x"),
            format!("subject=Intel\n{good}"),
            good.trim_end().trim_end_matches('-').to_owned(),
            good.replacen(END, "", 1),
            good.replacen(END, &format!("{END}{END}"), 1),
            good.replacen(BEGIN, &format!("{END}{BEGIN}"), 1),
            good.replacen(&format!("{END}\n"), &format!("{END} "), 1),
        ] {
            assert!(parse::<2>(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse::<3>(&bytes);
        }
    }
}
