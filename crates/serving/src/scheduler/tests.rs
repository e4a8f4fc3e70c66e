//! Tests of who runs when and on how many cores.

use std::{
    num::NonZeroUsize,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{queue::Job, *};

fn start(cores: usize, limit: usize) -> (Scheduler, SchedulerGuard) {
    Scheduler::start(NonZeroUsize::new(cores).unwrap(), limit, Patience::default()).unwrap()
}

/// Jobs that only say how many cores they got.
struct Probe(mpsc::Sender<usize>);

impl Job for Probe {
    fn is_wanted(&self) -> bool {
        true
    }

    fn refuse(self: Box<Self>, error: ScheduleError) {
        panic!("{error}");
    }

    fn run(self: Box<Self>, threads: &Threads) {
        self.0.send(threads.count()).unwrap();
    }
}

#[test]
fn alone_on_all_cores_and_together_on_one_each() {
    // No worker runs here: the decision is made when work is submitted.
    let queue = Queue::new(4, 10, Patience::default());
    let (sender, widths) = mpsc::channel();
    let cost = Some(Duration::from_millis(50));
    let start = Instant::now();
    let submit = |after: u64| {
        let now = start + Duration::from_millis(after);
        queue.submit(&Turn::current(0), cost, None, now, Probe(sender.clone()))
    };
    submit(0).unwrap();
    submit(1).unwrap();
    submit(2).unwrap();
    queue.run_waiting(start, &Threads::new(1), &Threads::new(4));
    // Others were here 100 ms ago, the time of two runs: not alone yet.
    submit(101).unwrap();
    queue.run_waiting(start, &Threads::new(1), &Threads::new(4));
    submit(103).unwrap();
    queue.run_waiting(start, &Threads::new(1), &Threads::new(4));
    assert_eq!(widths.try_iter().collect::<Vec<_>>(), [4, 1, 1, 1, 4]);
}

#[test]
fn short_runs_and_a_single_core_need_no_other_cores() {
    for (cores, cost) in [(4, Some(WORTH_ALL_CORES / 2)), (1, None)] {
        let queue = Queue::new(cores, 10, Patience::default());
        let (sender, widths) = mpsc::channel();
        queue.submit(&Turn::current(0), cost, None, Instant::now(), Probe(sender)).unwrap();
        queue.run_waiting(Instant::now(), &Threads::new(1), &Threads::new(4));
        assert_eq!(widths.recv(), Ok(1));
    }
}

/// A job that says what became of it: run, or refused.
struct Fate(&'static str, mpsc::Sender<(&'static str, Option<ScheduleError>)>);

impl Job for Fate {
    fn is_wanted(&self) -> bool {
        true
    }

    fn refuse(self: Box<Self>, error: ScheduleError) {
        self.1.send((self.0, Some(error))).unwrap();
    }

    fn run(self: Box<Self>, _: &Threads) {
        self.1.send((self.0, None)).unwrap();
    }
}

#[test]
fn an_overload_is_refused_at_once_and_a_burst_is_not() {
    let start = Instant::now();
    let (heavy, light) = (Client::new(), Client::new());
    let (cost, limit) = (Some(Duration::from_millis(1)), Duration::from_millis(128));
    let (sender, fates) = mpsc::channel();
    let queue = Queue::new(1, 1000, Patience::default());
    let submit = |client: Client, name, after: u64| {
        let turn = Turn::of_batch(0, [Share { client, priority: Priority::Normal, rows: 1 }]);
        let now = start + Duration::from_millis(after);
        queue.submit(&turn, cost, None, now, Fate(name, sender.clone()))
    };
    for _ in 0..200 {
        submit(heavy, "heavy", 0).unwrap();
    }
    // Nothing has begun since: that is no burst any more.
    assert_eq!(submit(heavy, "heavy", 260), Err(ScheduleError::Congested { limit }));
    // One who has no part in it takes the place of one who has.
    submit(light, "light", 260).unwrap();
    assert_eq!(fates.try_recv(), Ok(("heavy", Some(ScheduleError::Congested { limit }))));
}

/// Short runs of clients with few begin at once, whatever piles up of another one's.
#[test]
fn one_that_begins_soon_does_not_end_the_overload_of_others() {
    let start = Instant::now();
    let (heavy, light) = (Client::new(), Client::new());
    let (cost, limit) = (Some(Duration::from_millis(1)), Duration::from_millis(128));
    let (sender, fates) = mpsc::channel();
    let queue = Queue::new(1, 1000, Patience::default());
    let submit = |client: Client, name, after: u64| {
        let turn = Turn::of_batch(0, [Share { client, priority: Priority::Normal, rows: 1 }]);
        let now = start + Duration::from_millis(after);
        queue.submit(&turn, cost, None, now, Fate(name, sender.clone()))
    };
    for _ in 0..200 {
        submit(heavy, "heavy", 0).unwrap();
    }
    submit(light, "light", 200).unwrap();
    queue.run_one(start + Duration::from_millis(200), &Threads::new(1));
    queue.run_one(start + Duration::from_millis(200), &Threads::new(1));
    let begun: Vec<_> = fates.try_iter().collect();
    assert!(begun.contains(&("light", None)), "{begun:?}");
    assert_eq!(submit(heavy, "heavy", 260), Err(ScheduleError::Congested { limit }));
}

/// A connection's only request is not refused for the wait that others make; but that it waited
/// is known.
#[test]
fn an_only_request_is_exempt_and_shows_the_overload_all_the_same() {
    let (scheduler, _guard) = start(1, 10);
    let short = Some(INLINE_LIMIT / 2);
    let late = |exempt| Some(Waited { time: Duration::from_secs(1), exempt });
    enter_inline(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let run = |waited| {
            let ran = Client::new().scope_with(Priority::Normal, waited, scheduler.run(short, |_| ()));
            runtime.block_on(ran)
        };
        // The thread begins in time, and then no more.
        run(late(false)).unwrap();
        inline::pass(Duration::from_secs(1));
        run(late(true)).unwrap();
        run(None).unwrap();
        let limit = Duration::from_millis(20);
        assert_eq!(run(late(false)), Err(ScheduleError::Congested { limit }));
    });
}

#[test]
fn what_has_waited_too_long_is_refused_when_its_turn_comes() {
    let start = Instant::now();
    let after = |milliseconds| start + Duration::from_millis(milliseconds);
    let (cost, limit) = (Some(Duration::from_millis(1)), Duration::from_millis(128));
    let (sender, fates) = mpsc::channel();
    let queue = Queue::new(1, 1000, Patience::default());
    let submit = |name, waited, now| {
        let waited = Some(Waited { time: waited, exempt: false });
        queue.submit(&Turn::current(0), cost, waited, now, Fate(name, sender.clone())).unwrap();
    };
    // The thread that received it was late already.
    submit("long", Duration::from_millis(300), after(0));
    submit("short", Duration::ZERO, after(299));
    queue.run_waiting(after(300), &Threads::new(1), &Threads::new(1));
    assert_eq!(fates.try_recv(), Ok(("long", Some(ScheduleError::Congested { limit }))));
    assert_eq!(fates.try_recv(), Ok(("short", None)));
    // One that began in time was there a moment ago: a burst.
    submit("burst", Duration::ZERO, after(301));
    submit("burst", Duration::ZERO, after(301));
    queue.run_waiting(after(501), &Threads::new(1), &Threads::new(1));
    assert_eq!(fates.try_iter().collect::<Vec<_>>(), [("burst", None), ("burst", None)]);
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_thread_goes_on() {
    let (scheduler, _guard) = start(1, 10);
    let panicked = scheduler.run(None, |_| panic!("as the test wants it")).await;
    assert_eq!(panicked, Err::<(), _>(ScheduleError::Panicked));
    assert_eq!(scheduler.run(None, |threads| threads.count()).await, Ok(1));
}

#[tokio::test]
async fn a_stopped_scheduler_says_so() {
    let (scheduler, guard) = start(1, 10);
    drop(guard);
    assert_eq!(scheduler.run(None, |_| ()).await, Err(ScheduleError::Stopped));
}

#[test]
fn short_runs_stay_on_their_thread_if_it_is_one_of_ours() {
    let (scheduler, _guard) = start(2, 10);
    let here = || std::thread::current().id();
    let run = |predicted| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scheduler.run(predicted, move |_| here())).unwrap()
    };
    let (short, long) = (Some(INLINE_LIMIT / 2), Some(INLINE_LIMIT * 2));
    enter_inline(|| {
        assert_eq!(run(short), here());
        assert_ne!(run(long), here());
        assert_ne!(run(None), here());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let panicked = runtime.block_on(scheduler.run(short, |_| panic!("as the test wants it")));
        assert_eq!(panicked, Err::<(), _>(ScheduleError::Panicked));
    });
    assert_ne!(run(short), here());
}

#[test]
fn the_estimate_follows_what_it_sees() {
    let cost = CostEstimate::default();
    assert_eq!(cost.predict(100), None);
    cost.observe(100, Duration::from_micros(200));
    assert_eq!(cost.predict(100), Some(Duration::from_micros(200)));
    assert_eq!(cost.predict(1000), Some(Duration::from_micros(2000)));
    for _ in 0..100 {
        cost.observe(100, Duration::from_micros(50));
    }
    let predicted = cost.predict(100).unwrap();
    assert!(predicted.abs_diff(Duration::from_micros(50)) < Duration::from_micros(5), "{predicted:?}");
    cost.observe(100, Duration::from_secs(1));
    let predicted = cost.predict(100).unwrap();
    assert!(predicted < Duration::from_micros(60), "one slow run changes little: {predicted:?}");
    cost.observe(0, Duration::MAX);
    assert!(cost.predict(usize::MAX).is_some());
}

#[tokio::test]
async fn a_connection_that_fills_the_queue_gives_way_to_another() {
    let (scheduler, _guard) = start(1, 3);
    let (hostile, honest) = (Client::new(), Client::new());
    let (open, gate) = mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let holding = scheduler.clone();
    let holding = tokio::spawn(hostile.scope(async move {
        holding
            .run(None, move |_| {
                let _ = begun.send(());
                let _ = gate.recv();
            })
            .await
    }));
    has_begun.await.unwrap();
    let long = Some(Duration::from_secs(5));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let scheduler = scheduler.clone();
            tokio::spawn(hostile.scope(async move { scheduler.run(long, |_| "hostile").await }))
        })
        .collect();
    while scheduler.load() < 4 {
        tokio::task::yield_now().await;
    }
    let refused = hostile.scope(scheduler.run(long, |_| "hostile")).await;
    assert_eq!(refused, Err(ScheduleError::Overloaded { queued: 3, limit: 3 }));
    let other = scheduler.clone();
    let answered = tokio::spawn(honest.scope(async move { other.run(long, |_| "honest").await }));
    let mut answers = Vec::new();
    tokio::task::yield_now().await;
    open.send(()).unwrap();
    for one in waiting {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answered.await.unwrap(), Ok("honest"));
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1, "{answers:?}");
    holding.await.unwrap().unwrap();
}
