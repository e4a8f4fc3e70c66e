//! For which processor a program is, and whether it loads libraries: from its ELF header (System V
//! ABI, chapters 4 and 5).

use anyhow::{Context, Result, bail, ensure};

/// e_machine of x86-64 and of AArch64.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// The segment that names the loader of libraries.
const PT_INTERP: u32 = 3;
/// 64-bit, little-endian.
const IDENTIFICATION: &[u8] = b"\x7fELF\x02\x01";

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Architecture {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

impl Architecture {
    /// That of this machine, if releases are made for it.
    pub(super) fn of_this_machine() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The program that runs its programs on this machine, if this machine needs one.
    pub(super) fn runner(self) -> Option<String> {
        (Self::of_this_machine() != Some(self)).then(|| format!("qemu-{}-static", self.name()))
    }

    /// As Rust calls its Linux.
    pub(super) fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// As Rust and uname call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As ELF calls it.
    #[cfg(test)]
    fn machine(self) -> u16 {
        match self {
            Self::X86_64 => X86_64,
            Self::Aarch64 => AARCH64,
        }
    }
}

/// What its header says.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    pub(super) architecture: Architecture,
    pub(super) is_dynamic: bool,
}

impl Program {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.starts_with(IDENTIFICATION), "it is no program of 64-bit Linux (ELF)");
        let architecture = match u16::from_le_bytes(field(bytes, 18)?) {
            X86_64 => Architecture::X86_64,
            AARCH64 => Architecture::Aarch64,
            other => bail!("it is for the processor {other} of ELF; expected x86-64 or AArch64"),
        };
        let table = usize::try_from(u64::from_le_bytes(field(bytes, 32)?))?;
        let size = usize::from(u16::from_le_bytes(field(bytes, 54)?));
        let count = usize::from(u16::from_le_bytes(field(bytes, 56)?));
        let mut is_dynamic = false;
        for index in 0..count {
            let at = size.checked_mul(index).and_then(|offset| table.checked_add(offset));
            is_dynamic |= u32::from_le_bytes(field(bytes, at.context("it is damaged")?)?) == PT_INTERP;
        }
        Ok(Self { architecture, is_dynamic })
    }
}

fn field<const LENGTH: usize>(bytes: &[u8], at: usize) -> Result<[u8; LENGTH]> {
    let end = at.checked_add(LENGTH).context("it is damaged")?;
    Ok(bytes.get(at..end).context("it is cut short")?.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one segment of this type.
    fn program(architecture: Architecture, segment: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..IDENTIFICATION.len()].copy_from_slice(IDENTIFICATION);
        bytes[18..20].copy_from_slice(&architecture.machine().to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64..68].copy_from_slice(&segment.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_says_processor_and_linking() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            for (segment, is_dynamic) in [(1, false), (PT_INTERP, true)] {
                let read = Program::parse(&program(architecture, segment)).unwrap();
                assert_eq!(read, Program { architecture, is_dynamic });
            }
        }
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let whole = program(Architecture::X86_64, 1);
        for length in 0..68 {
            assert!(Program::parse(&whole[..length]).is_err(), "{length}");
        }
        let mut far = whole.clone();
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Program::parse(&far).is_err());
        let mut other = whole;
        other[18] = 8;
        assert!(Program::parse(&other).unwrap_err().to_string().contains("processor 8"));
        // This test itself.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Program::parse(&own).unwrap().architecture.name(), std::env::consts::ARCH);
    }
}
