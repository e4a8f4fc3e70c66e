//! A process that commits is killed at random moments (kill -9), again and
//! again. `ADYTUM_KILLS` says how often; CI runs a thousand.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rand::RngExt;

use super::{
    disk::{genesis, root},
    *,
};

const TASKS: u8 = 4;
const DIRECTORY: &str = "ADYTUM_TEST_KILLED_DIRECTORY";
/// The number of rounds after which the store is new, so that opening it stays fast.
const KILLS_A_STORE: usize = 40;

/// Change `n` of a task: two secrets, a record, sometimes a manifest.
fn change(task: u8, n: u64) -> Change {
    let value = n.to_be_bytes().repeat(1 + (n as usize * 37) % 200);
    let secret = |side: &str| (format!("{side}-{task}").parse().unwrap(), secret(Some(&value), n));
    let mut record = vec![task];
    record.extend_from_slice(&n.to_be_bytes());
    Change { secrets: vec![secret("left"), secret("right")], audit: vec![record], ..Change::default() }
}

/// The last change of each task, all of it or nothing.
fn counts(store: &Store, loaded: &LoadedState) -> BTreeMap<u8, u64> {
    let mut recorded: BTreeMap<u8, u64> = BTreeMap::new();
    let mut next = 1;
    let mut previous = None;
    loop {
        let records = store.records(next, 10_000).unwrap();
        let Some(last) = records.last() else { break };
        next = last.number + 1;
        for record in records {
            assert_eq!(record.previous, previous);
            previous = Some(record.hash);
            let count = recorded.entry(record.bytes[0]).or_default();
            assert_eq!(record.bytes[1..], (*count + 1).to_be_bytes(), "each change has one record");
            *count += 1;
        }
    }
    assert_eq!((previous, next - 1), (store.head().audit_hash, store.head().audit_size));
    for task in 0..TASKS {
        let version = |side: &str| {
            let name = format!("{side}-{task}");
            loaded.snapshot.secrets.get(name.as_str()).map_or(0, |secret| {
                assert_eq!(secret.value.as_ref().unwrap().expose()[..8], secret.version.to_be_bytes());
                secret.version
            })
        };
        let count = recorded.get(&task).copied().unwrap_or_default();
        assert_eq!((version("left"), version("right")), (count, count), "half applied");
    }
    recorded
}

/// The process that is killed: it does nothing unless the test below starts it.
#[test]
fn killed_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, loaded) = Store::open(Path::new(&directory), genesis(), &root()).unwrap();
        let counts = counts(&store, &loaded);
        let tasks = (0..TASKS).map(|task| {
            let store = store.clone();
            let mut n = counts.get(&task).copied().unwrap_or_default();
            tokio::spawn(async move {
                loop {
                    n += 1;
                    store.commit(change(task, n)).await.unwrap();
                    let mut stdout = std::io::stdout().lock();
                    writeln!(stdout, "acknowledged {task} {n} .").unwrap();
                    stdout.flush().unwrap();
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        std::future::pending::<()>().await;
        drop(tasks);
    });
}

/// Starts it, kills it so long after it started or after its first
/// acknowledgement, and says what it acknowledged.
fn kill_one(directory: &Path, at_work: bool, after: Duration) -> BTreeMap<u8, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::kill::killed_process", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    while at_work && !said.ends_with(b".\n") {
        assert!(stdout.read_until(b'\n', &mut said).unwrap() > 0, "it ended by itself");
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    stdout.read_to_end(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    let mut acknowledged = BTreeMap::new();
    for line in String::from_utf8(said).unwrap().lines() {
        // The test's own name is before the first; the last may be cut off,
        // and then nobody has read it.
        let Some((_, rest)) = line.rsplit_once("acknowledged ") else { continue };
        let Some(numbers) = rest.strip_suffix(" .") else { continue };
        let (task, n) = numbers.split_once(' ').unwrap();
        acknowledged.insert(task.parse().unwrap(), n.parse().unwrap());
    }
    acknowledged
}

fn kill_many(kills: usize) -> (usize, u64) {
    let (mut working, mut changes) = (0, 0);
    let mut random = rand::rng();
    for round in (0..kills).step_by(KILLS_A_STORE) {
        let directory = TempDir::new().unwrap();
        let mut before: BTreeMap<u8, u64> = BTreeMap::new();
        for _ in round..kills.min(round + KILLS_A_STORE) {
            // One in five in the middle of its start.
            let at_work = random.random_range(0..5) > 0;
            let after = Duration::from_micros(random.random_range(0..20_000));
            let acknowledged = kill_one(directory.path(), at_work, after);
            let (store, loaded) = Store::open(directory.path(), genesis(), &root()).unwrap();
            let found = counts(&store, &loaded);
            for task in 0..TASKS {
                let of = |counts: &BTreeMap<u8, u64>| counts.get(&task).copied().unwrap_or_default();
                let promised = of(&acknowledged).max(of(&before));
                let found = of(&found);
                assert!(found >= promised, "{promised} acknowledged, {found} found");
                // Each task has one change under way; its answer may be lost.
                assert!(found <= promised + 1, "{promised} acknowledged, {found} found");
            }
            working += usize::from(!acknowledged.is_empty());
            before = found;
        }
        changes += before.values().sum::<u64>();
    }
    (working, changes)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_applied_when_the_process_is_killed() {
    let kills = std::env::var("ADYTUM_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let lanes = 2.min(kills);
    let lanes: Vec<_> = (0..lanes)
        .map(|lane| std::thread::spawn(move || kill_many(kills / lanes + usize::from(lane < kills % lanes))))
        .collect();
    let mut working = 0;
    let mut changes = 0;
    for lane in lanes {
        let (was_working, made) = lane.join().unwrap();
        working += was_working;
        changes += made;
    }
    println!("{kills} kills, {working} in the middle of work, {changes} changes");
    assert!(working * 4 > kills, "of {kills} only {working} were killed at work");
}
