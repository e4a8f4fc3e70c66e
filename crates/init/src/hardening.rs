//! What a process that holds secrets forgoes.

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

use crate::error::InitError;

/// Switches core dumps off, for this process and every one it starts, and
/// attaching a debugger to this one. LibOSes that have no such thing dump no
/// core either, so a system without the call is no error.
pub fn forbid_core_dumps() -> Result<(), InitError> {
    let system = |operation| {
        move |errno: nix::Error| match errno {
            nix::Error::ENOSYS | nix::Error::EINVAL => Ok(()),
            errno => Err(InitError::System { operation, source: errno.into() }),
        }
    };
    setrlimit(Resource::RLIMIT_CORE, 0, 0).or_else(system("setrlimit(RLIMIT_CORE)"))?;
    prctl::set_dumpable(false).or_else(system("prctl(PR_SET_DUMPABLE)"))
}
