//! The parent process: signals, exit codes, orphans, its own end.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Child;

use crate::fixture::{Fixture, RunningBroker, Workload, ended, eventually, is_running, read_until};

async fn start(fixture: &Fixture, script: &str) -> (Child, RunningBroker) {
    let workload =
        Workload { tables: "[environment]\nallow = [\"PATH\"]\n".to_owned(), ..Workload::default() };
    let configuration = fixture.configuration("workload", &workload);
    let broker = fixture.broker(&configuration).await;
    let init = fixture.init(&configuration, broker.address, script).environment("PATH", "/usr/bin:/bin");
    (init.start(), broker)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap())
}

/// The number after this word in a text.
fn number(text: &str, word: &str) -> i32 {
    let (_, rest) = text.split_once(word).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_as_the_program_ends() {
    let Some(fixture) = Fixture::new() else { return };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
        // Real-time signals, the first and the last: nix has no names for them.
        ("kill -34 $$", 162),
        ("kill -64 $$", 192),
    ] {
        let (child, _broker) = start(&fixture, script).await;
        let ended = ended(child).await;
        assert_eq!(ended.code(), code, "{script}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_passed_on() {
    let Some(fixture) = Fixture::new() else { return };
    let script = "for s in HUP INT QUIT USR1 USR2 ALRM WINCH; do trap \"echo got $s.\" $s; done; \
                  trap 'echo got TERM.; exit 7' TERM; echo ready.; while :; do sleep 0.02; done";
    let (mut child, _broker) = start(&fixture, script).await;
    read_until(&mut child, "ready.").await;
    for (signal, name) in [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGALRM, "ALRM"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGTERM, "TERM"),
    ] {
        kill(pid_of(&child), signal).unwrap();
        let said = read_until(&mut child, ".").await;
        assert!(said.contains(&format!("got {name}.")), "{name}: {said}");
    }
    assert_eq!(ended(child).await.code(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_reaped() {
    let Some(fixture) = Fixture::new() else { return };
    // The inner shell ends at once, so its sleep becomes init's child; when that
    // ends, nobody else can reap it.
    let script = "sh -c 'sleep 0.05 & echo orphan $!'; echo ready.; while :; do sleep 0.02; done";
    let (mut child, _broker) = start(&fixture, script).await;
    let said = read_until(&mut child, "ready.").await;
    let orphan = number(&said, "orphan");
    eventually("the orphan is gone, and no zombie", || !fs::exists(format!("/proc/{orphan}")).unwrap()).await;
    kill(pid_of(&child), Signal::SIGTERM).unwrap();
    assert_eq!(ended(child).await.code(), 143);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_program_left_running_ends_with_it() {
    let Some(fixture) = Fixture::new() else { return };
    // One in the program's process group, one in a session of its own.
    // (It begins with a colon since grep finds a line in each argument of a command
    // line, and this one is not to be taken for the sleep that is waited for.)
    let script = ": ; sleep 1000 & echo first $!; setsid sh -c 'echo second $$; exec sleep 1000' & \
                  while ! grep -qs ^sleep /proc/$!/cmdline; do sleep 0.02; done; exit 5";
    let (child, _broker) = start(&fixture, script).await;
    let ended = ended(child).await;
    assert_eq!(ended.code(), 5, "{ended:?}");
    for word in ["first", "second"] {
        let pid = number(&ended.stdout, word);
        assert!(!is_running(pid), "{word} runs on: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_does_not_outlive_init() {
    let Some(fixture) = Fixture::new() else { return };
    let (mut child, _broker) = start(&fixture, "echo program $$ ready.; while :; do sleep 0.02; done").await;
    let program = number(&read_until(&mut child, "ready.").await, "program");
    assert!(is_running(program));
    kill(pid_of(&child), Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
    eventually("the program ends", || !is_running(program)).await;
}

/// The program that runs is the one that was looked at: not its file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_a_sealed_copy() {
    let Some(fixture) = Fixture::new() else { return };
    let (child, _broker) =
        start(&fixture, "readlink /proc/$$/exe; echo x 2>/dev/null >/proc/$$/exe || echo sealed").await;
    let ended = ended(child).await;
    assert!(ended.stdout.contains("memfd:program") && ended.stdout.contains("sealed"), "{ended:?}");
}

/// Ready for use as process 1: signals reach it although nothing is there yet
/// that handles them by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_starts_with_no_signal_blocked_and_its_own_group() {
    let Some(fixture) = Fixture::new() else { return };
    // With nothing but what the shell has built in: it blocks signals itself while
    // it waits for another program.
    let script = "while read -r line; do case $line in SigBlk*) echo $line;; esac; done </proc/self/status; \
                  echo group $(ps -o pgid= -p $$) $$";
    let (child, _broker) = start(&fixture, script).await;
    let ended = ended(child).await;
    assert!(ended.stdout.contains("SigBlk: 0000000000000000"), "{ended:?}");
    let group: Vec<&str> = ended.stdout.lines().last().unwrap().split_whitespace().skip(1).collect();
    if group.len() == 2 {
        assert_eq!(group[0], group[1], "{ended:?}");
    } else {
        println!("SKIPPED: no ps to ask for the process group");
    }
}
