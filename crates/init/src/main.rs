//! `adytum-init -- PROGRAM ARGS`: fetches the secrets of a measured
//! configuration and starts the program that it pins.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, env, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use adytum_evidence::measurement::Sha256Digest;
use adytum_init::{
    InitError, Program, Unlocked,
    arguments::{AttestationArguments, parse_duration, parse_seconds},
    attestation_token,
    bundles::Bundles,
    cdh::{self, CdhPort, CdhResources},
    configuration::MeasuredConfiguration,
    delivery::{DeliveryError, Places},
    hardening,
    health::{Health, HealthPort},
    logging::LogArguments,
    platform::Platform,
    process::{Signals, SupervisedProgram, signal_exit_code},
    program::{self, VerifiedProgram},
    sealed_secrets::SealedSecrets,
    tee, termination,
};
use clap::Parser;

const EXIT_CODES: &str = "\
Exit codes, where init ends by itself:
  64   wrong flags
  65   a bundle is not what the broker's manifest says, or malformed
  69   the broker was not reached in time (--fetch-timeout; later: lease and grace)
  71   the system or the TEE refused something
  73   a secret has no safe place
  77   the broker refused, then or at a renewal, or is not the one that is pinned
  78   configuration, program, argument, environment variable or library outside the pins
Otherwise the program's own code, or 128 and the number of the signal that ended it.";

/// Fetches secrets from a key broker and starts a program with them
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    attestation: AttestationArguments,

    #[command(flatten)]
    logs: LogArguments,

    /// Port for probes, plain HTTP, status only: /healthz and /readyz. 0: none
    #[arg(long, value_name = "PORT", default_value_t = 0, env = "ADYTUM_HEALTH_PORT")]
    health_port: u16,

    /// SIGTERM is passed on to the program after this number of seconds, while probes
    /// say at once that this replica is not ready
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    drain_delay: Duration,

    /// How long the program may take to end after SIGTERM when the broker no longer
    /// grants its secrets, as in 30s; then it is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// The program, as the measured configuration pins it, and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM ARGS")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A pipe that closed early is no reason for another message.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    arguments.logs.start();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.code();
            tracing::error!(code, what_to_do = adytum_codes::next_step(code), "{error}");
            termination::report(code, &error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, InitError> {
    hardening::forbid_core_dumps()?;
    let path = tee::configuration_path(&arguments.attestation)?;
    let configuration = MeasuredConfiguration::load(&path)?;
    let prepared = Prepared::new(arguments, &configuration)?;
    // One thread, this one: the program's life hangs on the thread that starts it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| InitError::System { operation: "starting the runtime", source })?;
    runtime.block_on(prepared.run(arguments, &configuration))
}

/// Everything that can be refused before anything is asked for.
struct Prepared {
    /// `None` if it comes in a bundle.
    program: Option<VerifiedProgram>,
    path: PathBuf,
    digest: Sha256Digest,
    platform: Platform,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    places: Places,
    sealed: SealedSecrets,
    bundles: Bundles,
}

impl Prepared {
    fn new(arguments: &Arguments, configuration: &MeasuredConfiguration) -> Result<Self, InitError> {
        let (program, rest) = arguments.command.split_first().unwrap_or((const { &OsString::new() }, &[]));
        configuration.arguments().check(rest.iter().map(OsString::as_os_str))?;
        let host: Vec<(OsString, OsString)> = env::vars_os().collect();
        let pairs = || host.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        configuration.environment().check(pairs())?;
        let platform = tee::platform(&arguments.attestation)?;
        cdh::check(configuration, platform)?;
        // First of what opens files: secrets have fixed descriptors.
        let places = Places::prepare(configuration, platform)?;
        let sealed = SealedSecrets::prepare(configuration, pairs(), platform)?;
        let bundles = Bundles::prepare(configuration, platform)?;
        let path = PathBuf::from(program);
        let digest = program::pinned(configuration, &path)?.sha256;
        let program = (!program::comes_in_bundle(configuration))
            .then(|| VerifiedProgram::open(configuration, &path, platform))
            .transpose()?;
        let (arguments, environment) = (rest.to_vec(), configuration.environment().confined(pairs()));
        Ok(Self { program, path, digest, platform, arguments, environment, places, sealed, bundles })
    }

    async fn run(
        mut self,
        arguments: &Arguments,
        configuration: &MeasuredConfiguration,
    ) -> Result<u8, InitError> {
        let mut signals = Signals::handle()?;
        let health = Health::default();
        let _port = HealthPort::open(arguments.health_port, health.clone()).await?;
        let unlock = adytum_init::unlock(&arguments.attestation, configuration, Program::Child(self.digest));
        let Unlocked { released, renewal, tee, evidence_port: _evidence_port } = tokio::select! {
            unlocked = unlock => unlocked?,
            signal = signals.next_ending() => {
                tracing::info!("{signal} before the program was started");
                return Ok(signal_exit_code(signal));
            }
        };
        let resources = CdhResources::default();
        resources.take(configuration, &released);
        let _cdh_port = CdhPort::open(configuration, self.platform, resources.clone()).await?;
        // Kept until the program has ended: then the trees are removed.
        let (_bundles, released) = tokio::select! {
            unpacked = self.bundles.unpack(configuration, released) => unpacked?,
            signal = signals.next_ending() => {
                tracing::info!("{signal} before the program was started");
                return Ok(signal_exit_code(signal));
            }
        };
        let program = match self.program.take() {
            Some(program) => program,
            None => VerifiedProgram::open(configuration, &self.path, self.platform)?,
        };
        self.places.deliver(&released)?;
        self.sealed.deliver(&released)?;
        self.environment.extend(self.sealed.variables(&released)?);
        drop(released);
        tokio::select! {
            written = attestation_token::write(configuration, &*tee.attester) => written.map_err(InitError::from)?,
            signal = signals.next_ending() => {
                tracing::info!("{signal} before the program was started");
                return Ok(signal_exit_code(signal));
            }
        }
        let running = SupervisedProgram::start(&program, &self.arguments, &self.environment, &self.places)?;
        tracing::info!(pid = %running.pid(), program = %program.path().display(), "started");
        health.set_ready();
        let renewal = renewal.run(|changed| {
            self.places.deliver(changed)?;
            resources.take(configuration, changed);
            let mut signals = self.sealed.deliver(changed)?;
            signals.extend(configuration.reload_signals(changed.secrets.keys()));
            for signal in signals {
                tracing::info!(%signal, "telling the program to read its secrets again");
                running.send(signal);
            }
            Ok::<_, DeliveryError>(())
        });
        let end = tokio::select! {
            code = running.wait(&mut signals, &health, arguments.drain_delay) => {
                tracing::info!(code, "the program has ended");
                return Ok(code);
            }
            end = renewal => end,
        };
        health.drain(end.drain_reason());
        tracing::error!(code = end.code(), "ending the program: {end}");
        let code = running.end(&mut signals, &health, arguments.drain_timeout).await;
        tracing::info!(code, "the program has ended");
        Err(end.into())
    }
}
