//! Tests of the pool of bodies, on a clock that stands still until everyone waits.

use std::pin::pin;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::telemetry::Telemetry;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn pool(capacity: usize) -> Arc<Bodies> {
    Bodies::new(capacity, Telemetry::new().bodies)
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a valid name")
}

/// A body that holds so much and is whole: it does not give way.
fn whole(pool: &Arc<Bodies>, of: &str, bytes: usize) -> Account {
    let account = arriving(pool, of, bytes);
    account.whole();
    account
}

fn arriving(pool: &Arc<Bodies>, of: &str, bytes: usize) -> Account {
    let account = pool.open(&tenant(of), false);
    assert!(account.try_reserve(bytes).expect("it can fit"), "there is room for {bytes}");
    account.arrived(bytes);
    account
}

fn used(pool: &Bodies) -> usize {
    pool.lock().used
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_half_a_second_in_all_and_is_then_refused() {
    let pool = pool(100);
    let other = whole(&pool, "a", 90);
    let mut body = pool.open(&tenant("a"), false);
    let begun = Instant::now();
    let release = async {
        sleep(300 * MS).await;
        other.release(20);
    };
    let (reserved, ()) = tokio::join!(body.reserve(30), release);
    reserved.expect("there is room after a while");
    assert_eq!(begun.elapsed(), 300 * MS);
    let refused = body.reserve(1).await;
    assert!(matches!(refused, Err(Refusal::NoRoom)), "{refused:?}");
    assert_eq!(begun.elapsed(), 500 * MS);
    let refused = body.reserve(1).await;
    assert!(matches!(refused, Err(Refusal::NoRoom)), "{refused:?}");
    assert_eq!(begun.elapsed(), 500 * MS, "it has waited its time");
    assert_eq!(used(&pool), 100);
    drop(body);
    assert_eq!(used(&pool), 70);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_at_once() {
    let pool = pool(100);
    let mut body = whole(&pool, "a", 60);
    for outcome in [body.try_reserve(41).map(drop), body.reserve(41).await, pool.check(101)] {
        assert!(matches!(outcome, Err(Refusal::NeverFits { found: 101, max: 100 })), "{outcome:?}");
    }
    body.reserve(40).await.expect("alone it may take all there is");
}

#[tokio::test(start_paused = true)]
async fn the_slowest_body_older_than_two_seconds_gives_way_when_the_pool_is_full() {
    let pool = pool(100);
    let fast = arriving(&pool, "a", 40);
    let slow = arriving(&pool, "a", 20);
    advance(2 * SECOND - MS).await;
    let young = arriving(&pool, "a", 1);
    let waits_for = whole(&pool, "a", 39);
    let mut body = pool.open(&tenant("a"), false);
    {
        // Nobody is old enough at first.
        let mut reserving = pin!(body.reserve(15));
        let early = timeout(Duration::from_micros(900), reserving.as_mut()).await;
        assert!(early.is_err(), "{early:?}");
        assert!(!slow.gives_way().is_cancelled());
        let gives_way = slow.gives_way();
        let cut = async move {
            gives_way.cancelled().await;
            drop(slow);
        };
        let (reserved, ()) = tokio::join!(reserving, cut);
        reserved.expect("the slow one made room");
    }
    for body in [&fast, &young, &waits_for, &body] {
        assert!(!body.gives_way().is_cancelled(), "one was enough");
    }
    assert_eq!(used(&pool), 95);
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_while_there_is_room() {
    let pool = pool(100);
    let slow = arriving(&pool, "a", 1);
    advance(60 * SECOND).await;
    let mut body = pool.open(&tenant("a"), false);
    body.reserve(99).await.expect("there is room");
    assert!(!slow.gives_way().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_below_its_share_is_served_before_one_above_it() {
    let pool = pool(100);
    let noisy = whole(&pool, "noisy", 100);
    let mut more = pool.open(&tenant("noisy"), false);
    let mut quiet = pool.open(&tenant("quiet"), false);
    let order = Mutex::new(Vec::new());
    let done = |name: &'static str| order.lock().expect("not poisoned").push(name);
    let serve = async {
        sleep(10 * MS).await;
        noisy.release(20);
        sleep(10 * MS).await;
        noisy.release(20);
    };
    let first = async {
        more.reserve(20).await.expect("room in the end");
        done("noisy");
    };
    let second = async {
        sleep(MS).await;
        quiet.reserve(20).await.expect("room");
        done("quiet");
    };
    tokio::join!(first, second, serve);
    assert_eq!(*order.lock().expect("not poisoned"), ["quiet", "noisy"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_comes_back_to_a_tenant_below_its_share() {
    let pool = pool(100);
    let bodies: Vec<Account> = (0..10).map(|_| arriving(&pool, "noisy", 10)).collect();
    let mut noisy = JoinSet::new();
    for body in bodies {
        noisy.spawn(async move {
            body.gives_way().cancelled().await;
            drop(body);
        });
    }
    let begun = Instant::now();
    let mut quiet = pool.open(&tenant("quiet"), false);
    quiet.reserve(35).await.expect("its share is 50");
    assert!((LENT..LENT + 2 * LOOK).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(used(&pool), 95, "four gave way, and no more");
    // One that is above its own share gets nothing back.
    let mut other = pool.open(&tenant("quiet"), false);
    assert!(matches!(other.reserve(30).await, Err(Refusal::NoRoom)));
    assert_eq!(used(&pool), 95);
}

#[tokio::test(start_paused = true)]
async fn half_of_the_pool_is_for_inflating_but_for_the_oldest() {
    let pool = pool(100);
    let open = || pool.open(&tenant("a"), true);
    let (oldest, second, third) = (open(), open(), open());
    assert!(oldest.try_reserve(30).expect("fits"));
    assert!(second.try_reserve(20).expect("fits"));
    assert!(!third.try_reserve(1).expect("fits"), "half is taken");
    assert!(oldest.try_reserve(20).expect("fits"), "the oldest is held up by nobody");
    // The second is whole and inflates: others may take its place, and it has room beside them.
    second.grown();
    assert!(second.try_reserve(20).expect("fits"));
    drop(oldest);
    assert!(third.try_reserve(50).expect("fits"));
    assert_eq!(used(&pool), 90);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_is_not_overtaken_for_ever() {
    let pool = pool(100);
    let first = whole(&pool, "a", 60);
    let mut large = pool.open(&tenant("a"), false);
    let mut reserving = pin!(large.reserve(80));
    assert!(timeout(MS, reserving.as_mut()).await.is_err());
    let small = pool.open(&tenant("a"), false);
    assert!(!small.try_reserve(1).expect("fits"), "there is room, but not before the large one");
    first.release(60);
    reserving.await.expect("all is free");
    assert!(small.try_reserve(1).expect("fits"));
}

/// Whatever requests do, and wherever they are dropped: never more than the capacity, and nothing left.
#[tokio::test(start_paused = true)]
async fn the_pool_never_holds_more_than_it_may_and_gets_everything_back() {
    const CAPACITY: usize = 10_000;
    for seed in 0..20 {
        let pool = pool(CAPACITY);
        let mut requests = JoinSet::new();
        for i in 0..200 {
            requests
                .spawn(request(Arc::clone(&pool), ahash::RandomState::with_seeds(seed, i, 2, 3)));
            advance(Duration::from_millis(5)).await;
        }
        let mut taken = 0;
        while let Some(outcome) = requests.join_next().await {
            taken += usize::from(outcome.expect("no panic"));
        }
        let state = pool.lock();
        assert!(state.peak <= CAPACITY, "{}", state.peak);
        assert!(state.peak > CAPACITY / 2, "it was put to use: {}", state.peak);
        assert!((1..200).contains(&taken), "{taken} were taken");
        assert_eq!((state.used, state.growing, state.cut), (0, 0, 0));
        assert!(state.bodies.is_empty() && state.tenants.is_empty());
        assert_eq!(state.metrics.as_ref().map(|m| m.bytes.get()), Some(0));
    }
}

async fn request(pool: Arc<Bodies>, seed: ahash::RandomState) -> bool {
    let random = |what: u64, below: u64| seed.hash_one(what) % below;
    let mut account = pool.open(&tenant(&format!("t{}", random(0, 3))), random(1, 2) == 0);
    let gives_way = account.gives_way();
    let work = async {
        for step in 10..10 + random(2, 8) {
            account.reserve(usize::try_from(random(step, 600)).expect("small")).await?;
            account.arrived(1);
            sleep(Duration::from_millis(random(100 + step, 300))).await;
        }
        account.whole();
        account.grown();
        account.reserve(usize::try_from(random(3, 4000)).expect("small")).await?;
        sleep(Duration::from_millis(random(4, 50))).await;
        Ok::<_, Refusal>(())
    };
    // Some peers go away in the middle.
    let patience = Duration::from_millis(100 + random(5, 4000));
    tokio::select! {
        done = timeout(patience, work) => matches!(done, Ok(Ok(()))),
        () = gives_way.cancelled() => false,
    }
}
