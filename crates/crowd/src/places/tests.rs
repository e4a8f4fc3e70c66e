//! Tests of the order in which places are displaced.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(1);

fn address(last: u8) -> Address {
    IpAddr::from([10, 0, 0, last]).into()
}

fn taken(places: &Arc<Places>, last: u8, number: usize, now: Instant) -> Vec<Place> {
    (0..number).map(|_| places.take(address(last), now).unwrap()).collect()
}

fn left(places: &[Place]) -> usize {
    places.iter().filter(|place| !place.is_displaced()).count()
}

#[test]
fn among_equals_the_longest_idle_gives_way_after_its_grace() {
    let (places, start) = (Places::new(3, GRACE), Instant::now());
    let first = places.take(address(1), start).unwrap();
    let second = places.take(address(2), start + GRACE / 4).unwrap();
    let third = places.take(address(3), start + GRACE / 2).unwrap();
    let refused = places.take(address(4), start + GRACE / 2).unwrap_err();
    assert_eq!(refused, Full { retry_after: GRACE / 2 });
    // One that makes progress is not idle.
    first.touch(start + GRACE);
    let fourth = places.take(address(4), start + 5 * GRACE / 4).unwrap();
    let gone = [&first, &second, &third, &fourth].map(Place::is_displaced);
    assert_eq!(gone, [false, true, false, false]);
    // A place that is given back twice is given back once.
    drop(second);
    assert_eq!(places.taken(), 3);
    drop((first, third, fourth));
    assert_eq!(places.taken(), 0);
}

#[test]
fn who_has_the_most_gives_way_at_once_to_who_has_fewer() {
    let (places, start) = (Places::new(6, GRACE), Instant::now());
    // The longest idle of all is of an address that has just this one.
    let alone = taken(&places, 1, 1, start);
    let most = taken(&places, 2, 3, start + GRACE / 8);
    let some = taken(&places, 3, 2, start + GRACE / 8);
    let soon = start + GRACE / 4;
    assert!(places.take(address(2), soon).is_err(), "it has the most itself");
    assert!(places.take(address(3), soon).is_err(), "it would have as many");
    let newcomer = places.take(address(4), soon).unwrap();
    assert_eq!((left(&alone), left(&most), left(&some)), (1, 2, 2));
    // Nobody has more than two now, so a second one of an address waits its time.
    assert!(places.take(address(4), soon).is_err());
    let another = places.take(address(5), start + 10 * GRACE);
    assert!(another.is_ok() && left(&alone) == 1, "however old, one that is alone outlasts those with more");
    drop((newcomer, another));
}

#[test]
fn one_at_work_gives_way_last_and_to_equals_never() {
    let (places, start) = (Places::new(2, GRACE), Instant::now());
    let working = places.take(address(1), start).unwrap();
    let idle = places.take(address(1), start + 2 * GRACE).unwrap();
    working.begin_work(start);
    working.begin_work(start);
    working.end_work(start);
    let later = start + 100 * GRACE;
    let next = places.take(address(1), later).unwrap();
    assert!(idle.is_displaced() && !working.is_displaced());
    next.begin_work(later);
    assert!(places.take(address(1), later + 2 * GRACE).is_err(), "both are at work");
    // But no address keeps another out by being at work.
    let other = places.take(address(2), later).unwrap();
    assert!(working.is_displaced() && !other.is_displaced());
    // Its work may end after it was displaced.
    working.end_work(later);
    assert_eq!(places.taken(), 2);
}

#[tokio::test]
async fn the_holder_is_woken() {
    let (places, now) = (Places::new(1, Duration::ZERO), Instant::now());
    let place = places.take(address(1), now).unwrap();
    let waiting = tokio::spawn(async move { place.displaced().await });
    tokio::task::yield_now().await;
    let next = places.take(address(1), now).unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(places.taken(), 1);
    drop(next);
}

#[test]
fn no_places_are_no_places() {
    assert!(Places::new(0, Duration::ZERO).take(address(1), Instant::now()).is_err());
}

proptest! {
    /// After any steps, no more places are taken than there are, an address that asks
    /// with fewer than its share gets one, and the order is the right one.
    #[test]
    fn shares_are_fair(steps in proptest::collection::vec((0..5_u8, 0..4_u8, 0..3000_u64), 1..200)) {
        let (places, start) = (Places::new(6, GRACE), Instant::now());
        let (mut held, mut now): (Vec<Place>, Instant) = (Vec::new(), start);
        for (who, what, after) in steps {
            now += Duration::from_millis(after);
            match what {
                0 if !held.is_empty() => { held.remove(usize::from(who) % held.len()); }
                1 if !held.is_empty() => held[usize::from(who) % held.len()].begin_work(now),
                2 if !held.is_empty() => held[usize::from(who) % held.len()].end_work(now),
                _ => {
                    let mine = places.lock().held_by(address(who));
                    match places.take(address(who), now) {
                        Ok(place) => held.push(place),
                        // Six places for five addresses: none is without one if it asks.
                        Err(_) => prop_assert!(mine > 0),
                    }
                }
            }
            held.retain(|place| !place.is_displaced());
            let table = places.lock();
            prop_assert!(table.len() <= 6 && table.len() == held.len());
            let counted: usize = (0..5).map(|last| table.held_by(address(last))).sum();
            prop_assert_eq!(counted, table.len());
            if let Some(victim) = table.first_to_go() {
                let most = (0..5).map(|last| table.held_by(address(last))).max();
                prop_assert_eq!(Some(victim.held), most);
            }
        }
    }
}
