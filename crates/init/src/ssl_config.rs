//! TensorFlow Serving's `SSLConfig` as text (protobuf's text format), composed of
//! a key made here and the certificate that a broker issued for it.

use zeroize::Zeroizing;

/// What an `SSLConfig` says.
pub(crate) struct SslConfig<'a> {
    pub(crate) server_key: &'a str,
    pub(crate) server_cert: &'a str,
    pub(crate) custom_ca: &'a str,
    pub(crate) client_verify: bool,
}

impl SslConfig<'_> {
    /// The text, in one allocation.
    pub(crate) fn to_text(&self) -> Zeroizing<Vec<u8>> {
        // An escape has at most four bytes for one.
        let strings = self.server_key.len() + self.server_cert.len() + self.custom_ca.len();
        let mut text = Zeroizing::new(Vec::with_capacity(4 * strings + 128));
        for (name, value) in [
            ("server_key", self.server_key),
            ("server_cert", self.server_cert),
            ("custom_ca", self.custom_ca),
        ] {
            if name == "custom_ca" && value.is_empty() {
                continue;
            }
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": \"");
            value.bytes().for_each(|byte| escape(byte, &mut text));
            text.extend_from_slice(b"\"\n");
        }
        let verify: &[u8] =
            if self.client_verify { b"client_verify: true\n" } else { b"client_verify: false\n" };
        text.extend_from_slice(verify);
        text
    }
}

fn escape(byte: u8, text: &mut Vec<u8>) {
    match byte {
        b'\n' => text.extend_from_slice(b"\\n"),
        b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
        b' '..=b'~' => text.push(byte),
        _ => {
            text.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + ((byte >> 3) & 7), b'0' + (byte & 7)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_occlum_script_writes_it() {
        let config =
            SslConfig { server_key: "k\ny", server_cert: "c\n", custom_ca: "", client_verify: false };
        assert_eq!(
            config.to_text().as_slice(),
            b"server_key: \"k\\ny\"\nserver_cert: \"c\\n\"\nclient_verify: false\n"
        );
    }

    #[test]
    fn nothing_ends_a_string_early() {
        let config =
            SslConfig { server_key: "\"\\", server_cert: "\r\u{e4}", custom_ca: "x", client_verify: true };
        let text = config.to_text();
        assert_eq!(
            text.as_slice(),
            b"server_key: \"\\\"\\\\\"\nserver_cert: \"\\015\\303\\244\"\ncustom_ca: \"x\"\nclient_verify: true\n"
        );
        assert_eq!(text.capacity(), 4 * 6 + 128, "it never grew");
    }
}
