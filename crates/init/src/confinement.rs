//! A program that has init as a library holds itself to its configuration.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::Command,
};

use crate::{
    arguments::without_host_flags,
    configuration::MeasuredConfiguration,
    environment::HOST_VARIABLES,
    error::{InitError, ProgramError},
    hardening,
    program::{self, onnxruntime::TELEMETRY_OFF},
};

/// The binary that this process runs, whatever lies at its path by now.
const THIS_BINARY: &str = "/proc/self/exe";

/// Checks this process' arguments against the configuration. Flags of
/// [`crate::arguments::AttestationArguments`], and those whose long names are in
/// `host_flags`, are the host's and need no rule: name only such as change
/// nothing that anybody relies on.
pub fn check_arguments_of_this_process(
    configuration: &MeasuredConfiguration,
    host_flags: &[&str],
) -> Result<(), InitError> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    Ok(configuration.arguments().check(without_host_flags(&arguments, host_flags))?)
}

/// Holds this process to the configuration, before it does anything else:
/// refuses arguments, environment variables and libraries outside the pins,
/// clears the environment, and forbids core dumps.
///
/// A process can't clear its environment safely once it runs, so if there is
/// something to clear, this starts the same binary again in its place, and does
/// not return. Call it first in `main`, before threads, and not in tests.
pub fn confine_this_process(
    configuration: &MeasuredConfiguration,
    host_flags: &[&str],
) -> Result<(), InitError> {
    if let Some(pinned) = configuration.program() {
        return Err(ProgramError::Pinned { pinned: pinned.path.to_string() }.into());
    }
    if !configuration.bundles().is_empty() {
        return Err(ProgramError::Bundles.into());
    }
    check_arguments_of_this_process(configuration, host_flags)?;
    let environment: BTreeMap<OsString, OsString> = env::vars_os().collect();
    let pairs = || environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    configuration.environment().check(pairs())?;
    program::check_libraries(configuration)?;
    hardening::forbid_core_dumps()?;
    let mut wanted = configuration.environment().confined(pairs());
    wanted.extend(
        environment.iter().filter(|(name, _)| is_host_variable(name)).map(|(n, v)| (n.clone(), v.clone())),
    );
    if configuration.onnxruntime().is_some() {
        wanted.extend(TELEMETRY_OFF.map(|(name, value)| (name.into(), value.into())));
    }
    if wanted == environment {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| THIS_BINARY.into());
    let source = Command::new(THIS_BINARY).arg0(name).args(arguments).env_clear().envs(wanted).exec();
    Err(InitError::System { operation: "starting this program again with a clean environment", source })
}

fn is_host_variable(name: &OsStr) -> bool {
    HOST_VARIABLES.iter().any(|known| name == *known)
}
