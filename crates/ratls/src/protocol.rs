//! The names of attested session v1.

/// ALPN protocol name.
pub const ALPN: &[u8] = b"adytum-ra/1";

/// TLS exporter label (RFC 8446 section 7.5) of what goes into report data.
pub const SESSION_LABEL: &[u8] = b"EXPORTER-adytum-session-v1";

/// TLS exporter label of what requests are signed over. Another label than
/// [`SESSION_LABEL`], so that neither value stands for the other.
pub const REQUEST_LABEL: &[u8] = b"EXPORTER-adytum-request-v1";
