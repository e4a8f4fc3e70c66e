//! Names in certificates, as they are put into words. Anybody can make a
//! certificate, and what is said of it goes to logs and terminals.

use x509_parser::x509::X509Name;

/// The longest that is printed, in characters.
const LONGEST: usize = 200;

/// The name without what would move a cursor or begin a line.
pub(crate) fn printable(name: &X509Name<'_>) -> String {
    name.to_string()
        .chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    #[test]
    fn a_name_is_one_short_line_without_controls() {
        let mut parameters = CertificateParams::default();
        let hostile = format!("Intel\n\u{1b}[2J{}", "x".repeat(1000));
        parameters.distinguished_name.push(DnType::CommonName, hostile);
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate.der()).unwrap();
        let printed = printable(parsed.subject());
        assert!(printed.contains("Intel") && !printed.contains(char::is_control), "{printed:?}");
        assert_eq!(printed.chars().count(), LONGEST);
    }
}
