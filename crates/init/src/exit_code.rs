//! Exit codes of `adytum-init` where it ends by itself; after sysexits.h. Otherwise it
//! ends with the program's own code, or with 128 and the number of the signal that ended
//! the program.

/// A bundle is not what the broker's rule says, or malformed (EX_DATAERR).
pub const BUNDLE: u8 = 65;
/// The program could not be started, or the system refused something.
pub const SYSTEM: u8 = 71;
/// A secret could not be put where the configuration says (EX_CANTCREAT).
pub const DELIVERY: u8 = 73;
/// The broker was not reached in time (EX_UNAVAILABLE).
pub const UNREACHABLE: u8 = 69;
/// The broker refused, or was refused (EX_NOPERM).
pub const REFUSED: u8 = 77;
/// Configuration, program, arguments, environment or libraries (EX_CONFIG).
pub const CONFIGURATION: u8 = 78;
