//! The model server's binary.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    process::ExitCode,
};

use adytum_init::termination;
use adytum_serving::{
    flags::Flags,
    run::{self, ServeError},
};
use clap::Parser;

fn main() -> ExitCode {
    let flags = Flags::parse();
    flags.log.start();
    match serve(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.code();
            tracing::error!(code, what_to_do = adytum_codes::next_step(code), "{error}");
            termination::report(code, &error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(flags: &Flags) -> Result<(), ServeError> {
    let configuration = run::measured_configuration(flags)?;
    if let Some(configuration) = &configuration {
        run::confine(configuration)?;
    }
    run::run(flags, configuration.as_ref(), |line| {
        // Nobody may be reading; that is no reason to stop serving.
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    })
}
