//! All listeners' connections: how many there are, of whom, and which of them may be closed for a new
//! one's sake. That is first one whose bodies arrive too slowly, then one that has never had a request, then the
//! one that has been idle longest; never one whose request is being served.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, sleep};

use super::{Settings, shares};
use crate::telemetry::{Closed, ConnectionMetrics, NotLetIn};

/// A body must have come on by this much each time it is looked at, or its connection may be closed.
const SLOW_BYTES: usize = 4 << 10;
const SLOW_LOOK: Duration = Duration::from_millis(500);
/// Of so many that are idle longest one goes whose address has the most connections: a flood gives way
/// to itself, and a connection that is about to send its first request is let.
const ALIKE_MAX: usize = 64;
/// So many may be there beyond the limit while they are being closed; then new ones wait.
const CLOSING_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    /// 0 = no limit.
    max_per_ip: usize,
    pub(super) metrics: ConnectionMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    peers: BTreeMap<u64, Known>,
    /// In the order in which they would be closed.
    closable: BTreeMap<(Rank, Instant, u64), Arc<Peer>>,
    by_ip: BTreeMap<IpAddr, usize>,
    closing: usize,
    /// Of listeners that wait until some are closed.
    listeners: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    SlowBody,
    Unused,
    Idle,
}

#[derive(Debug)]
struct Known {
    ip: IpAddr,
    in_flight: usize,
    slow: usize,
    since: Instant,
    served: bool,
    closable: Option<Rank>,
    closing: bool,
}

/// One connection, as its requests and its socket share it.
pub(super) struct Peer {
    id: u64,
    connections: Arc<Connections>,
    closing: AtomicBool,
    used: AtomicBool,
    /// Of the task that reads from the socket.
    reader: AtomicWaker,
}

/// Without the connections, which have it in turn.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A request of a connection is being served.
#[derive(Debug)]
pub(super) struct Busy(Option<Arc<Peer>>);

impl Connections {
    pub(super) fn new(settings: &Settings, metrics: ConnectionMetrics) -> Arc<Self> {
        let max = shares::max_connections(settings);
        let configured = settings.connections.max_connections;
        if configured > max {
            tracing::warn!(
                max_connections = configured,
                connections = max,
                "fewer connections are let in than max_connections: no more fit into their part of \
                 the memory"
            );
        }
        let max_per_ip = settings.connections.max_connections_per_ip;
        Arc::new(Self { max, max_per_ip, metrics, state: Mutex::default() })
    }

    /// Ready when a new one may come: not while many are still being closed for others, nor while there
    /// are as many as may be and every one is busy. Then new ones wait with the system.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let is_full = state.peers.len() - state.closing >= self.max;
        if state.closing < CLOSING_MAX && !(is_full && state.closable.is_empty()) {
            return Poll::Ready(());
        }
        state.listeners.push(cx.waker().clone());
        Poll::Pending
    }

    /// A new one, in place of another if there are enough already.
    pub(super) fn let_in(self: &Arc<Self>, ip: IpAddr) -> Option<Arc<Peer>> {
        let now = Instant::now();
        let mut state = self.lock();
        let of_ip = state.by_ip.get(&ip).copied().unwrap_or_default();
        let refused = if self.max_per_ip > 0 && of_ip >= self.max_per_ip {
            (!self.close_one(&mut state, Some(ip))).then_some(NotLetIn::MaxConnectionsPerIp)
        } else if state.peers.len() - state.closing >= self.max {
            (!self.close_one(&mut state, None)).then_some(NotLetIn::MaxConnections)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.metrics.refused(reason);
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let peer = Arc::new(Peer {
            id,
            connections: Arc::clone(self),
            closing: AtomicBool::new(false),
            used: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        let known = Known {
            ip,
            in_flight: 0,
            slow: 0,
            since: now,
            served: false,
            closable: None,
            closing: false,
        };
        state.peers.insert(id, known);
        *state.by_ip.entry(ip).or_default() += 1;
        state.settle(&peer);
        self.metrics.open.inc();
        Some(peer)
    }

    /// Where no descriptor is left for a new one.
    pub(super) fn close_longest_idle(&self) -> bool {
        self.close_one(&mut self.lock(), None)
    }

    fn close_one(&self, state: &mut State, ip: Option<IpAddr>) -> bool {
        let ip_of = |id: u64| state.peers.get(&id).map(|known| known.ip);
        let of = |id: u64| ip.is_none() || ip_of(id) == ip;
        let mut closable = state.closable.iter().filter(|((_, _, id), _)| of(*id)).peekable();
        let Some(&((rank, ..), _)) = closable.peek() else { return false };
        let alike = closable.take_while(|((other, ..), _)| other == rank).take(ALIKE_MAX);
        let fewer = |&(&(_, _, id), _): &(&(Rank, Instant, u64), _)| {
            let n = ip_of(id).and_then(|ip| state.by_ip.get(&ip)).copied();
            Reverse(n.unwrap_or_default())
        };
        let Some((&key, peer)) = alike.min_by_key(fewer) else { return false };
        let peer = Arc::clone(peer);
        state.closable.remove(&key);
        state.closing += 1;
        if let Some(known) = state.peers.get_mut(&peer.id) {
            known.closable = None;
            known.closing = true;
            let ip = known.ip;
            state.one_less(ip);
        }
        let slow = key.0 == Rank::SlowBody;
        self.metrics.closed(if slow { Closed::SlowBody } else { Closed::Room });
        peer.closing.store(true, Ordering::Release);
        peer.reader.wake();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl State {
    fn one_less(&mut self, ip: IpAddr) {
        if let Some(n) = self.by_ip.get_mut(&ip) {
            *n -= 1;
            if *n == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }

    /// Puts it where it belongs among those that may be closed.
    fn settle(&mut self, peer: &Arc<Peer>) {
        let Some(known) = self.peers.get_mut(&peer.id) else { return };
        if let Some(rank) = known.closable.take() {
            self.closable.remove(&(rank, known.since, peer.id));
        }
        let rank = match known.in_flight {
            _ if known.closing => return,
            0 if known.served => Rank::Idle,
            0 => Rank::Unused,
            n if n == known.slow => Rank::SlowBody,
            _ => return,
        };
        known.closable = Some(rank);
        self.closable.insert((rank, known.since, peer.id), Arc::clone(peer));
        self.listeners.drain(..).for_each(Waker::wake);
    }
}

impl Peer {
    pub(super) fn metrics(&self) -> &ConnectionMetrics {
        &self.connections.metrics
    }

    /// Whether it is to be closed; else the task that asks is woken when it is.
    pub(super) fn poll_closing(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.closing.load(Ordering::Acquire)
    }

    /// Whether it has ever had a request.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Known)) {
        let mut state = self.connections.lock();
        // Its place in the order is found by what is about to change.
        if let Some(known) = state.peers.get_mut(&self.id)
            && let Some(rank) = known.closable.take()
        {
            let key = (rank, known.since, self.id);
            state.closable.remove(&key);
        }
        if let Some(known) = state.peers.get_mut(&self.id) {
            change(known);
        }
        state.settle(self);
    }

    /// Its socket is closed.
    pub(super) fn left(&self) {
        let mut state = self.connections.lock();
        let Some(known) = state.peers.remove(&self.id) else { return };
        if let Some(rank) = known.closable {
            state.closable.remove(&(rank, known.since, self.id));
        }
        if known.closing {
            state.closing -= 1;
        } else {
            state.one_less(known.ip);
        }
        let listeners = std::mem::take(&mut state.listeners);
        drop(state);
        self.connections.metrics.open.dec();
        listeners.into_iter().for_each(Waker::wake);
    }
}

impl Busy {
    /// Until it is dropped the connection is not idle.
    pub(super) fn new(peer: Option<&Arc<Peer>>) -> Self {
        if let Some(peer) = peer {
            peer.used.store(true, Ordering::Relaxed);
            peer.change(|known| known.in_flight += 1);
        }
        Self(peer.cloned())
    }

    /// Looks now and then how a body that arrives has come on.
    pub(super) async fn watch(&self, arrived: impl Fn() -> Option<usize>) -> Infallible {
        let mut slow = Slow { peer: self.0.as_ref(), is: false };
        let mut before = 0;
        loop {
            sleep(SLOW_LOOK).await;
            let now = arrived().unwrap_or(usize::MAX);
            slow.set(now.saturating_sub(before) < SLOW_BYTES);
            before = now;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            peer.change(|known| {
                known.in_flight -= 1;
                known.since = Instant::now();
                known.served = true;
            });
        }
    }
}

/// While it is set, the request is one that arrives too slowly.
struct Slow<'p> {
    peer: Option<&'p Arc<Peer>>,
    is: bool,
}

impl Slow<'_> {
    fn set(&mut self, is: bool) {
        if std::mem::replace(&mut self.is, is) != is
            && let Some(peer) = self.peer
        {
            peer.change(|known| if is { known.slow += 1 } else { known.slow -= 1 });
        }
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
