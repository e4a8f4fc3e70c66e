//! What evidence in a certificate does not say.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a certificate's evidence does not cover, whatever its form: it names a
/// key and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NotCovered {
    /// The TLS session.
    Session,
    /// When the evidence was made.
    Freshness,
    /// Which end of the connection the peer is.
    Role,
    /// What else the certificate says.
    Names,
    /// The configuration of the program, and what it serves.
    Announcement,
}

impl NotCovered {
    /// All, the gravest first.
    pub const ALL: &'static [Self] =
        &[Self::Session, Self::Freshness, Self::Role, Self::Names, Self::Announcement];

    /// A word for programs and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Freshness => "freshness",
            Self::Role => "role",
            Self::Names => "names",
            Self::Announcement => "announcement",
        }
    }
}

impl fmt::Display for NotCovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Session => {
                "the TLS session: anybody with the certificate's key can answer in the program's place, on any machine"
            }
            Self::Freshness => "the time: no nonce of the verifier is in the evidence, so it may be old",
            Self::Role => "the role: the certificate of a client passes as that of a server",
            Self::Names => "the names and dates in the certificate",
            Self::Announcement => "the program's configuration, and what it serves",
        })
    }
}
