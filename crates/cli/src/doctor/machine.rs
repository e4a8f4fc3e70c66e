//! `adytum doctor`: the parts of this machine.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use adytum_evidence::{
    attester::{AttesterError, TeeInterface},
    claims::TeeKind,
    clock::{Clock as _, Day, SystemClock, UnixSeconds, floor::FloorClock},
    collateral::{Collateral, CollateralRequest, DcapRequest, PckCa},
};
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::Uri;

use super::{Args, Finding};
use crate::{collateral::Places, progress};

/// How long a service may take to accept a connection.
const REACH: Duration = Duration::from_secs(5);
/// Fewer days of collateral than these are a warning.
const FEW_DAYS: u64 = 7;
/// The ports of the broker and of the model server.
const PORTS: [u16; 3] = [50051, 8500, 8501];
/// The first kernel whose configfs-tsm gives reports.
const FIRST_KERNEL: (u32, u32) = (6, 7);

/// All checks, in the order in which one would repair.
pub(super) async fn findings(args: &Args) -> Vec<Finding> {
    let mut findings = vec![tee(), devices(), kernel(&read("/proc/sys/kernel/osrelease"))];
    let working = progress::working("asking for collateral");
    findings.extend(collateral(args).await);
    drop(working);
    findings.push(clock(SystemClock.now()));
    let ports = if args.ports.is_empty() { &PORTS[..] } else { &args.ports };
    findings.extend(ports.iter().map(|number| port(*number)));
    findings.push(processor(&read("/proc/cpuinfo")));
    findings
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The interface by which a program here would get evidence.
fn tee() -> Finding {
    match TeeInterface::Auto.open() {
        Ok(attester) => Finding::good("TEE", format!("this program runs in {}", attester.platform())),
        Err(AttesterError::NoTee { .. }) => Finding::absent(
            "TEE",
            "this program runs in none",
            "to try things, simulate: adytum up MODEL; for protection, run broker and replicas in SGX, TDX or SEV-SNP",
        ),
        Err(error) => Finding::wrong(
            "TEE",
            error.to_string(),
            "check that this process may use the device, and update the kernel or the LibOS",
        ),
    }
}

/// The devices of a host or a guest.
fn devices() -> Finding {
    let known = [
        ("/dev/sgx_enclave", "SGX"),
        ("/dev/sgx_provision", "SGX provisioning"),
        ("/dev/tdx_guest", "TDX guest"),
        ("/dev/sev-guest", "SEV-SNP guest"),
        ("/sys/kernel/config/tsm/report", "configfs-tsm"),
    ];
    let there = known.iter().filter(|(path, _)| Path::new(path).exists());
    let there: Vec<String> = there.map(|(path, name)| format!("{name} ({path})")).collect();
    match there.as_slice() {
        [] => Finding::absent(
            "devices",
            "neither SGX nor a confidential guest",
            "SGX: turn it on in the firmware, Linux 5.11 or newer; TDX, SEV-SNP: start a confidential guest and mount configfs",
        ),
        there => Finding::good("devices", there.join(", ")),
    }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= FIRST_KERNEL => {
            Finding::good("kernel", format!("Linux {}", release.trim()))
        }
        (Some(_), Some(_)) => Finding::absent(
            "kernel",
            format!("Linux {}", release.trim()),
            "configfs-tsm, by which TDX and SEV-SNP guests get evidence, needs Linux 6.7 or newer",
        ),
        _ => Finding::absent("kernel", "unknown", "run on Linux"),
    }
}

async fn collateral(args: &Args) -> Vec<Finding> {
    let Ok(source) = args.places.source(&[]) else {
        return vec![Finding::absent(
            "collateral",
            "no source is named",
            "name a PCCS or a directory with --collateral or PCCS_URL; a simulation has its own",
        )];
    };
    let mut findings = Vec::new();
    if let Some(finding) = reach(&args.places).await {
        findings.push(finding);
    }
    let Some(fmspc) = args.fmspc else { return findings };
    let began = Instant::now();
    let request = DcapRequest { tee: TeeKind::Sgx, fmspc, ca: PckCa::Processor };
    findings.push(match source.collateral(&CollateralRequest::Dcap(request)).await {
        Ok(Collateral::Dcap(collateral)) => {
            let took = began.elapsed().as_millis();
            let texts = [collateral.tcb_info.as_str(), collateral.qe_identity.as_str()];
            match texts.into_iter().map(next_update).min().flatten() {
                Some(day) => valid(day, SystemClock.now(), took),
                None => Finding::wrong(
                    "collateral",
                    "it does not say until when it is valid",
                    "look at what the PCCS serves",
                ),
            }
        }
        Ok(_) => {
            Finding::wrong("collateral", "of another kind than asked for", "look at what the source serves")
        }
        Err(error) => Finding::wrong(
            "collateral",
            error.to_string(),
            "check the address and the FMSPC; a PCCS needs an API key and a way to Intel's service",
        ),
    });
    findings
}

/// Does a PCCS accept connections, and how fast?
async fn reach(places: &Places) -> Option<Finding> {
    let url: Uri = places.pccs()?.parse().ok()?;
    let host = url.host()?;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let began = Instant::now();
    let address = format!("{host}:{port}");
    Some(match timeout(REACH, TcpStream::connect((host.trim_matches(['[', ']']), port))).await {
        Ok(Ok(_)) => Finding::good(
            "PCCS",
            format!("{address} accepts connections after {:.1} ms", began.elapsed().as_secs_f64() * 1e3),
        ),
        Ok(Err(error)) => Finding::wrong(
            "PCCS",
            format!("{address}: {error}"),
            "check the address, the name service and the firewall between here and the PCCS",
        ),
        Err(_) => Finding::wrong(
            "PCCS",
            format!("{address} did not answer within {REACH:?}"),
            "check the firewall between here and the PCCS",
        ),
    })
}

/// The day of `nextUpdate` in Intel's JSON.
fn next_update(text: &str) -> Option<Day> {
    let (_, rest) = text.split_once("\"nextUpdate\":")?;
    rest.trim_start().strip_prefix('"')?.get(..10)?.parse().ok()
}

fn valid(day: Day, now: UnixSeconds, took_milliseconds: u128) -> Finding {
    let days = day.start().0.saturating_sub(now.0) / 86_400;
    let found = format!("valid until {day}, {days} days; fetched in {took_milliseconds} ms");
    match days {
        0..FEW_DAYS => Finding::wrong(
            "collateral",
            found,
            "have the PCCS refresh it, with its own command or its schedule; replicas are refused when it has expired",
        ),
        _ => Finding::good("collateral", found),
    }
}

/// No program believes a time before its sources were written.
fn clock(now: UnixSeconds) -> Finding {
    let floor = FloorClock::new(std::sync::Arc::new(SystemClock)).now();
    match now < floor {
        true => Finding::wrong(
            "clock",
            format!("{}, which is before {}", Day::of(now), Day::of(floor)),
            "set the clock, for example with an NTP service",
        ),
        false => Finding::good("clock", format!("{} (UTC)", Day::of(now))),
    }
}

fn port(number: u16) -> Finding {
    match TcpListener::bind(("0.0.0.0", number)) {
        Ok(_) => Finding::good("port", format!("{number} is free")),
        Err(error) => Finding::absent(
            "port",
            format!("{number}: {error}"),
            "another program has it, or it is reserved: give the servers another --port",
        ),
    }
}

/// Inference is fast with these; it works without them.
fn processor(information: &str) -> Finding {
    let flags = information.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|one| one == flag);
    let there: Vec<&str> =
        ["avx2", "fma", "avx512f", "avx512_vnni"].into_iter().filter(|flag| has(flag)).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    match (has("avx2"), flags.is_empty()) {
        (false, false) => Finding::absent(
            "engine",
            format!("{cores} cores without AVX2"),
            "models run, but slowly: take a processor or a virtual machine that has AVX2",
        ),
        _ => Finding::good("engine", format!("{cores} cores, {}", there.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_kernel_is_read_by_its_numbers() {
        for (release, state) in [
            ("6.7.0-rc1\n", State::Good),
            ("6.12.30+deb13-amd64", State::Good),
            ("7.0", State::Good),
            ("6.6.1", State::Absent),
            ("5.15.0-91-generic", State::Absent),
            ("", State::Absent),
        ] {
            assert_eq!(kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn few_days_of_collateral_are_wrong() {
        let day = next_update("{\"nextUpdate\": \"2026-12-20T01:02:03Z\", \"x\": 1}").unwrap();
        let on = |text: &str| text.parse::<Day>().unwrap().start();
        assert_eq!(valid(day, on("2026-12-01"), 1).state, State::Good);
        assert_eq!(valid(day, on("2026-12-15"), 1).state, State::Wrong);
        assert_eq!(valid(day, on("2027-01-01"), 1).state, State::Wrong);
        assert_eq!(next_update("{}"), None);
    }

    #[test]
    fn a_clock_before_the_sources_is_wrong() {
        assert_eq!(clock(UnixSeconds(0)).state, State::Wrong);
        assert_eq!(clock(SystemClock.now()).state, State::Good);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind(("0.0.0.0", 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        assert!(port(number).found.contains(&number.to_string()));
        assert_eq!(port(number).state, State::Absent);
    }

    #[test]
    fn a_processor_is_read_by_its_flags() {
        assert_eq!(processor("flags\t\t: fpu sse2 avx2 fma\n").state, State::Good);
        assert_eq!(processor("flags\t\t: fpu sse2\n").state, State::Absent);
    }
}
