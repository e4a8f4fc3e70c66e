//! AMX: the tile registers of some processors, which multiply 16 rows by 16 columns of words in one instruction.
//!
//! The tile registers belong to a thread. A kernel configures them when it begins and gives them back when it ends, so
//! nothing of them outlives a call. Linux gives a process their use when it is asked once ([`Amx::of_machine`]).
//!
//! None of this has run on a processor that has AMX: tests run the machine code in an emulator (`tests/emulator`), and without
//! it where AMX is there.

#![expect(unsafe_code, reason = "instructions that the language does not have; a call of the system")]

use std::{arch::asm, sync::OnceLock};

use crate::BLOCK;

#[cfg(test)]
mod tests;

/// Rows of a tile, at most, and words of a row.
pub(crate) const ROWS: usize = 16;

/// The products that a processor's tiles have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx {
    pub(crate) bytes: bool,
    pub(crate) bfloats: bool,
}

impl Amx {
    /// What this machine has: the processor says so, the system saves the registers, and it lets this process
    /// use them. The system is asked once.
    pub(crate) fn of_machine() -> Self {
        static FOUND: OnceLock<Amx> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let (bytes, bfloats) = processor();
            let is_usable = (bytes || bfloats) && registers_are_saved() && is_permitted();
            Self { bytes: bytes && is_usable, bfloats: bfloats && is_usable }
        })
    }
}

/// Whether kernels may multiply bytes with tiles. In tests they may, since an emulator takes over where they are not
/// there.
pub(crate) fn multiplies_bytes() -> bool {
    #[cfg(test)]
    tests::emulator::install();
    cfg!(test) || Amx::of_machine().bytes
}

/// The same for 16-bit floats.
pub(crate) fn multiplies_bfloats() -> bool {
    #[cfg(test)]
    tests::emulator::install();
    cfg!(test) || Amx::of_machine().bfloats
}

/// Whether the processor has tiles with products of bytes, and with products of 16-bit floats.
fn processor() -> (bool, bool) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return (false, false);
    }
    let features = __cpuid_count(7, 0).edx;
    let has = |bit: u32| features >> bit & 1 == 1;
    (has(24) && has(25), has(24) && has(22))
}

/// Whether the system saves the configuration and the contents of tiles.
fn registers_are_saved() -> bool {
    /// Bits 17 and 18 of XCR0.
    const TILES: u64 = 3 << 17;
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the register 0 is there where the system has switched XSAVE on, which the caller has found.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    let has_xsave = is_x86_feature_detected!("xsave") && std::arch::x86_64::__cpuid(1).ecx >> 27 & 1 == 1;
    // SAFETY: the processor has XSAVE, and the system uses it.
    has_xsave && unsafe { saved() } & TILES == TILES
}

/// Asks the system for the use of tiles, for all threads of this process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM`, and the component of the tiles' contents.
    const REQUEST: libc::c_long = 0x1023;
    const CONTENTS: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, CONTENTS) == 0 }
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// How instructions multiply the words of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Four bytes by four weights of int8, into integers. It wraps.
    Bytes,
    /// Two 16-bit floats by two, into floats.
    Bfloats,
}

/// The sizes of the tiles of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Rows of the left operand and of the sums: 1 to 16.
    pub(crate) rows: usize,
    /// Words of a row of the left operand, which are rows of the right one: of most steps, and of the last one of
    /// a kind. At most 16; 0 for none.
    pub(crate) words: usize,
    pub(crate) last_words: usize,
}

/// The form of the tile registers: 64 bytes, as `LDTILECFG` reads them.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each register.
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tile registers that are configured: 0 and 1 for the sums of two blocks, 2 to 4 for the operands of a step, 5 to 7 for
/// those of a last step.
pub(crate) struct Tiles {
    product: Product,
}

/// Loads operands and adds their products to the sums of one or two blocks.
macro_rules! step {
    ($dot:literal, $blocks:expr, $operands:expr, $left:literal, $first:literal, $second:literal) => {{
        let Operands { left, left_step, right, right_step } = $operands;
        asm!(
            concat!("tileloadd tmm", $left, ", [{left} + {left_step}*1]"),
            concat!("tileloadd tmm", $first, ", [{right} + {right_step}*1]"),
            concat!($dot, " tmm0, tmm", $left, ", tmm", $first),
            left = in(reg) left,
            left_step = in(reg) left_step,
            right = in(reg) right,
            right_step = in(reg) right_step,
            options(readonly, nostack, preserves_flags)
        );
        if $blocks == 2 {
            asm!(
                concat!("tileloadd tmm", $second, ", [{right} + {right_step}*1]"),
                concat!($dot, " tmm1, tmm", $left, ", tmm", $second),
                right = in(reg) right.wrapping_add(4 * BLOCK),
                right_step = in(reg) right_step,
                options(readonly, nostack, preserves_flags)
            );
        }
    }};
}

/// The operands of a step: where they begin, and bytes from one row to the next. Those of two blocks are side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub(crate) left: *const u8,
    pub(crate) left_step: usize,
    pub(crate) right: *const u8,
    pub(crate) right_step: usize,
}

impl Tiles {
    /// Configures the registers of this thread.
    ///
    /// # Safety
    /// The machine has AMX with this product, and nobody else uses the registers of this thread meanwhile. Compilers
    /// put nothing into them in functions that are not compiled for AMX, as none is here.
    pub(crate) unsafe fn configure(product: Product, sizes: Sizes) -> Self {
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        let mut set = |register: usize, rows: usize, words: usize| {
            if rows > 0 && words > 0 {
                configuration.bytes[register] = 4 * words.min(BLOCK) as u16;
                configuration.rows[register] = rows.min(ROWS) as u8;
            }
        };
        for register in [0, 1] {
            set(register, sizes.rows, BLOCK);
        }
        for (first, words) in [(2, sizes.words), (5, sizes.last_words)] {
            set(first, sizes.rows, words);
            set(first + 1, words, BLOCK);
            set(first + 2, words, BLOCK);
        }
        // SAFETY: the instruction reads 64 bytes, which are a configuration that every processor with tiles has.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                options(readonly, nostack, preserves_flags)
            );
        }
        Self { product }
    }

    /// Reads what the sums of a block begin with.
    ///
    /// # Safety
    /// 64 bytes can be read for each row of the sums, `step` bytes apart.
    pub(crate) unsafe fn load(&self, block: usize, from: *const u8, step: usize) {
        // SAFETY: the caller says that the memory is there; registers 0 and 1 are configured.
        unsafe {
            match block {
                0 => asm!(
                    "tileloadd tmm0, [{} + {}*1]", in(reg) from, in(reg) step,
                    options(readonly, nostack, preserves_flags)
                ),
                _ => asm!(
                    "tileloadd tmm1, [{} + {}*1]", in(reg) from, in(reg) step,
                    options(readonly, nostack, preserves_flags)
                ),
            }
        }
    }

    /// Writes the sums of a block.
    ///
    /// # Safety
    /// 64 bytes can be written for each row of the sums, `step` bytes apart.
    pub(crate) unsafe fn store(&self, block: usize, to: *mut u8, step: usize) {
        // SAFETY: the caller says that there is room; registers 0 and 1 are configured.
        unsafe {
            match block {
                0 => asm!(
                    "tilestored [{} + {}*1], tmm0", in(reg) to, in(reg) step,
                    options(nostack, preserves_flags)
                ),
                _ => asm!(
                    "tilestored [{} + {}*1], tmm1", in(reg) to, in(reg) step,
                    options(nostack, preserves_flags)
                ),
            }
        }
    }

    /// Adds the products of operands to the sums of one or two blocks.
    ///
    /// # Safety
    /// The rows and words of the configured sizes can be read at the operands: those of a last step, if it is one.
    pub(crate) unsafe fn step(&self, blocks: usize, operands: Operands, is_last: bool) {
        // SAFETY: the caller says that the memory is there; the registers are configured for it.
        unsafe {
            match (self.product, is_last) {
                (Product::Bytes, false) => step!("tdpbusd", blocks, operands, "2", "3", "4"),
                (Product::Bytes, true) => step!("tdpbusd", blocks, operands, "5", "6", "7"),
                (Product::Bfloats, false) => step!("tdpbf16ps", blocks, operands, "2", "3", "4"),
                (Product::Bfloats, true) => step!("tdpbf16ps", blocks, operands, "5", "6", "7"),
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the registers were configured, and nobody reads them any more.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
