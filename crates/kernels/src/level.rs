//! Sets of vector instructions, and which of them this processor has.

use std::sync::atomic::{AtomicU8, Ordering};

/// A set of vector instructions, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor has.
    Plain,
    /// NEON, on ARM.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Neon, Self::Avx2, Self::Avx512];

    /// Whether this processor has its instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The best level of this processor, within the [`limit`].
    pub fn best() -> Self {
        let limit = LIMIT.load(Ordering::Relaxed);
        let within = |level: &Level| *level as u8 <= limit && level.is_available();
        Self::ALL.into_iter().rev().find(within).unwrap_or(Self::Plain)
    }
}

static LIMIT: AtomicU8 = AtomicU8::new(Level::Avx512 as u8);

/// Models that are loaded from now on use no instructions beyond a level: to measure and to test what
/// other processors do.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}
