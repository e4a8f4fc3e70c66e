//! `Debug` for the messages that carry secret values: everything but the value.

use std::fmt;

use crate::{
    broker::{PutSecret, Secret, SupplyShareRequest, TakeOverResponse},
    occlum::SecretReply,
};

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PutSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for SupplyShareRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupplyShareRequest").field("recipient", &self.recipient).finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretReply").finish_non_exhaustive()
    }
}

impl fmt::Debug for TakeOverResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeOverResponse").field("head", &self.head).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_print() {
        let secret = Secret {
            name: "model_key".into(),
            kind: 1,
            value: b"sesame".to_vec(),
            version: 3,
            ..Default::default()
        };
        let put = PutSecret { name: "model_key".into(), value: b"sesame".to_vec() };
        let share = SupplyShareRequest { share: b"sesame".to_vec(), ..Default::default() };
        let handed = TakeOverResponse { root_key: b"sesame".to_vec(), head: None };
        let reply = SecretReply { secret: "sesame".to_owned() };
        let printed = format!("{secret:?} {put:?} {share:?} {handed:?} {reply:?}");
        assert!(printed.contains("model_key"));
        assert!(!printed.contains("sesame") && !printed.contains("115, 101, 115"));
    }
}
