//! Tests of who is let in, and who is closed for it.

use std::net::Ipv4Addr;

use tokio::time::advance;

use super::super::{BodyLimits, ConnectionLimits, IngestLimits, Memory};
use super::*;
use crate::telemetry::Telemetry;

fn connections(max: usize, max_per_ip: usize) -> Arc<Connections> {
    let limits = ConnectionLimits {
        max_connections: max,
        max_connections_per_ip: max_per_ip,
        ..ConnectionLimits::default()
    };
    let settings = Settings {
        grpc: None,
        http: None,
        limits: BodyLimits { max_wire_bytes: 1, max_inflated_bytes: 1 },
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        connections: limits,
        ingest: IngestLimits::default(),
        memory: Memory::default(),
        multitenancy: false,
    };
    Connections::new(&settings, Telemetry::new().connections)
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn closing(peers: &[&Arc<Peer>]) -> Vec<bool> {
    peers.iter().map(|peer| peer.is_closing()).collect()
}

/// Lets one in after a second.
async fn later(connections: &Arc<Connections>, of: u8) -> Option<Arc<Peer>> {
    advance(Duration::from_secs(1)).await;
    connections.let_in(ip(of))
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_is_closed_for_a_new_one_those_first_that_were_never_used() {
    let all = connections(4, 0);
    let a = later(&all, 1).await.expect("there is room");
    let b = later(&all, 1).await.expect("there is room");
    let c = later(&all, 1).await.expect("there is room");
    let d = later(&all, 1).await.expect("there is room");
    let busy = Busy::new(Some(&a));
    drop(Busy::new(Some(&b)));
    advance(Duration::from_secs(1)).await;
    drop(Busy::new(Some(&c)));
    let old = [&a, &b, &c, &d];
    for expected in [[false, false, false, true], [false, true, false, true]] {
        let new = later(&all, 2).await.expect("in place of another");
        // It is in use at once, so the next in line is an older one.
        std::mem::forget(Busy::new(Some(&new)));
        assert_eq!(closing(&old), expected);
    }
    assert!(later(&all, 2).await.is_some());
    assert_eq!(closing(&old), [false, true, true, true]);
    drop(busy);
    assert_eq!(closing(&old), [false, true, true, true], "one that is idle now stays");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_busy_the_new_one_is_not_let_in() {
    let all = connections(2, 0);
    let peers = [all.let_in(ip(1)).expect("room"), all.let_in(ip(1)).expect("room")];
    let busy: Vec<Busy> = peers.iter().map(|peer| Busy::new(Some(peer))).collect();
    assert!(later(&all, 2).await.is_none());
    assert!(!peers.iter().any(|peer| peer.is_closing()));
    drop(busy);
    assert!(later(&all, 2).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_address_with_all_its_connections_has_its_own_closed_and_no_others() {
    let all = connections(100, 2);
    let other = later(&all, 9).await.expect("room");
    let first = later(&all, 1).await.expect("room");
    let second = later(&all, 1).await.expect("room");
    let third = later(&all, 1).await.expect("in place of the first");
    assert_eq!(closing(&[&other, &first, &second, &third]), [false, true, false, false]);
    let _busy = [Busy::new(Some(&second)), Busy::new(Some(&third))];
    assert!(later(&all, 1).await.is_none(), "both are busy");
    assert!(later(&all, 2).await.is_some(), "another address has its own");
    // What is closed is not counted, and what has left neither.
    first.left();
    second.left();
    assert!(later(&all, 1).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_body_hardly_comes_on_makes_room() {
    let all = connections(2, 0);
    let peers = [all.let_in(ip(1)).expect("room"), all.let_in(ip(1)).expect("room")];
    let busy = peers.each_ref().map(|peer| Busy::new(Some(peer)));
    let since = Instant::now();
    let rate =
        |per_second: u64| move || usize::try_from(since.elapsed().as_secs() * per_second).ok();
    let (slow, fast) = (busy[0].watch(rate(1)), busy[1].watch(rate(1 << 20)));
    let let_in = async {
        advance(SLOW_LOOK - Duration::from_millis(1)).await;
        assert!(all.let_in(ip(2)).is_none(), "not looked at yet");
        sleep(SLOW_LOOK).await;
        assert!(all.let_in(ip(2)).is_some());
        assert_eq!(closing(&[&peers[0], &peers[1]]), [true, false]);
        assert!(all.let_in(ip(2)).is_some(), "the unused one");
    };
    tokio::select! {
        biased;
        never = slow => match never {},
        never = fast => match never {},
        () = let_in => {}
    }
}

#[tokio::test(start_paused = true)]
async fn listeners_wait_while_many_are_being_closed() {
    let all = connections(1, 0);
    let cx = Context::from_waker(Waker::noop());
    let mut peers = Vec::new();
    for _ in 0..=CLOSING_MAX {
        assert!(all.poll_room(&cx).is_ready());
        peers.push(later(&all, 1).await.expect("in place of the one before"));
    }
    assert!(all.poll_room(&cx).is_pending());
    peers.remove(0).left();
    assert!(all.poll_room(&cx).is_ready());
    let n_closing = peers.iter().filter(|peer| peer.is_closing()).count();
    assert_eq!((n_closing, all.lock().closing), (CLOSING_MAX - 1, CLOSING_MAX - 1));
    peers.iter().for_each(|peer| peer.left());
    let state = all.lock();
    assert!(state.peers.is_empty() && state.closable.is_empty() && state.by_ip.is_empty());
    assert_eq!((state.closing, all.metrics.open.get()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_few_addresses_gives_way_to_itself() {
    let all = connections(10, 0);
    let normal = later(&all, 1).await.expect("room");
    for i in 0..100 {
        assert!(later(&all, 2 + i % 3).await.is_some());
    }
    assert!(!normal.is_closing(), "it is the longest idle, but the only one of its address");
}

#[tokio::test(start_paused = true)]
async fn while_all_are_busy_new_ones_wait_until_one_is_idle() {
    let all = connections(2, 0);
    let context = Context::from_waker(Waker::noop());
    let a = all.let_in(ip(1)).expect("there is room");
    assert!(all.poll_room(&context).is_ready());
    let b = all.let_in(ip(1)).expect("there is room");
    let busy = [Busy::new(Some(&a)), Busy::new(Some(&b))];
    assert!(all.poll_room(&context).is_pending());
    drop(busy);
    assert!(all.poll_room(&context).is_ready());
    assert!(all.let_in(ip(2)).is_some(), "in place of one that is idle");
}
