//! One endpoint of one tenant: each tick is delivered, or replaced by the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::EndpointSettings;
use super::backoff::Backoff;
use super::births::{Births, Unit};
use super::client::{Answer, Client, own_headers};
use super::inbox::Inbox;
use super::requests::{Contents, Form, Plan, Request, Zeros, encode, pack};
use crate::budget::Pool;
use crate::clock::Clock;
use crate::collect::Collected;
use crate::telemetry::{Dropped, RemoteWriteMetrics};
use crate::tenant::TenantId;

/// A message that says the same again is logged once in so long.
const SAME_MESSAGE_EVERY: Duration = Duration::from_secs(60);

/// While the process drains, a request is repeated for so long.
const DRAIN_RETRIES: Duration = Duration::from_secs(2);

/// The way to one endpoint, for the ticks of one tenant.
#[derive(Debug)]
pub struct Outlet {
    inbox: Arc<Inbox>,
    headers: Arc<ArcSwap<HeaderMap>>,
    task: JoinHandle<()>,
}

impl Outlet {
    pub fn post(&self, collected: Collected) {
        self.inbox.post(collected);
    }

    /// Headers that the tenant has of its own: they win over the endpoint's, from the next request on.
    pub fn set_headers(&self, headers: &[(String, String)]) {
        self.headers.store(Arc::new(own_headers(headers)));
    }

    /// Whether the endpoint has the end of everything that has ended, up to the last tick posted.
    pub fn is_settled(&self) -> bool {
        self.inbox.is_settled()
    }

    /// Lets the last tick be delivered and waits for it; whoever stops waiting gives it up.
    pub async fn close(self) {
        self.inbox.close();
        // It ends by itself, or by a panic that has been reported where it happened.
        drop(self.task.await);
    }
}

/// What all tenants share of one endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub settings: EndpointSettings,
    pub client: Client,
    pub metrics: RemoteWriteMetrics,
    pub clock: Arc<Clock>,
    /// `max_shards` requests at once, of all tenants together: what bounds their bodies.
    in_flight: Semaphore,
    /// What has ended and waits to be sent is charged to it.
    pool: Arc<Pool>,
}

impl Endpoint {
    pub fn new(
        settings: EndpointSettings,
        client: Client,
        metrics: RemoteWriteMetrics,
        clock: Arc<Clock>,
    ) -> Self {
        let in_flight = Semaphore::new(settings.max_shards.max(1));
        let pool = Arc::new(Pool::unbounded());
        Self { settings, client, metrics, clock, in_flight, pool }
    }

    /// What waits for it is charged there.
    pub fn with_pool(self, pool: Arc<Pool>) -> Self {
        Self { pool, ..self }
    }

    /// Starts to send one tenant's ticks. `tenant` is the id that requests carry, if any.
    pub fn open(self: &Arc<Self>, tenant: Option<TenantId>) -> Outlet {
        let relabel = self.settings.write_relabel_configs.as_slice().into();
        let inbox = Arc::new(Inbox::default());
        let mut births = Births::new(relabel);
        births.set_pool(Arc::clone(&self.pool));
        let headers: Arc<ArcSwap<HeaderMap>> = Arc::default();
        let sender = Sender {
            endpoint: Arc::clone(self),
            tenant,
            headers: Arc::clone(&headers),
            births: Mutex::new(births),
            inbox: Arc::clone(&inbox),
            resume: Mutex::default(),
            told: Mutex::default(),
        };
        Outlet { inbox, headers, task: tokio::spawn(sender.run()) }
    }
}

struct Sender {
    endpoint: Arc<Endpoint>,
    tenant: Option<TenantId>,
    headers: Arc<ArcSwap<HeaderMap>>,
    births: Mutex<Births>,
    inbox: Arc<Inbox>,
    /// Where the tick before was cut off by its successor: the place among its requests, and the
    /// first label set there.
    resume: Mutex<Option<(usize, Unit)>>,
    /// When which kind of answer was logged last; what an endpoint writes into it may differ each time.
    told: Mutex<BTreeMap<(&'static str, Option<u16>), Instant>>,
}

/// One tick on its way to the endpoint.
pub(super) struct Delivery<'a> {
    sender: &'a Sender,
    pub(super) collected: &'a Collected,
    form: Form,
    /// Between the starts of two requests.
    spacing: Duration,
    /// The endpoint has taken something of this tick.
    pub(super) accepted_any: AtomicBool,
    /// Something of this tick did not get there.
    incomplete: AtomicBool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    /// Refused because of something in it; `after_silence` when an attempt before got no answer.
    Refused {
        after_silence: bool,
    },
    /// Given up for this tick.
    GivenUp {
        maybe_stored: bool,
    },
}

/// How long a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Once,
    UntilReplaced,
}

impl Sender {
    async fn run(self) {
        let mut delivered = true;
        while let Some(collected) = self.inbox.take().await {
            let given_up = self.take_in(&collected);
            self.count_dropped(Dropped::EndedListFull, given_up);
            if given_up > 0 {
                let message = format!("{given_up} samples: too many wait until they can be sent");
                self.log("the last values of series that ended are given up", None, &message);
            }
            delivered = self.deliver(&collected).await;
            if !self.births().has_ended() {
                self.inbox.settle();
            }
        }
        if !delivered {
            let given_up = self.births().give_up();
            self.count_dropped(Dropped::EndedListFull, given_up);
            let (endpoint, tenant) = (self.name(), self.tenant.as_ref().map(TenantId::as_str));
            tracing::warn!(endpoint, tenant, "stopped before the endpoint took the last samples");
        }
    }

    fn take_in(&self, collected: &Collected) -> usize {
        self.births().apply(collected)
    }

    /// Whether everything of the tick got there.
    async fn deliver(&self, collected: &Collected) -> bool {
        let settings = &self.endpoint.settings;
        let form = Form {
            max_samples: settings.max_samples_per_send,
            send_exemplars: settings.send_exemplars,
        };
        let Plan { ended, mut live } = pack(&self.births(), collected, &form);
        self.rotate(&mut live);
        let n = u32::try_from(ended.len() + live.len()).unwrap_or(u32::MAX).max(1);
        let draining = self.inbox.closed_at().is_some();
        let interval = collected.settings.collection_interval;
        let delivery = Delivery {
            sender: self,
            collected,
            form,
            spacing: if draining { Duration::ZERO } else { interval / 2 / n },
            accepted_any: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
        };
        // What has ended goes first and is tried once a tick, so that it can't hold up the living.
        // Of a label set that has ended several times one end after the other.
        let mut ended = ended.into_iter().peekable();
        while let Some(life) = ended.peek().map(|request| request.life) {
            let of_life = std::iter::from_fn(|| ended.next_if(|request| request.life == life));
            delivery.send_all(of_life.collect(), Patience::Once).await;
        }
        delivery.send_all(live, Patience::UntilReplaced).await;
        let complete = !delivery.incomplete.into_inner();
        if complete {
            #[expect(clippy::cast_precision_loss, reason = "ms since 1970 are far below 2^53")]
            let seconds = collected.snapshot.at_ms as f64 / 1000.0;
            let gauge = &self.endpoint.metrics.highest_sent_timestamp;
            let gauge = gauge.with_label_values(&[self.name()]);
            gauge.set(gauge.get().max(seconds));
        }
        complete
    }

    /// A tick begins where the one before was cut off, so that no label set always comes last.
    fn rotate(&self, requests: &mut [Request]) {
        let resume = self.resume.lock().expect("nothing panics under this lock").take();
        let resume = resume.map(|(_, unit)| unit);
        let reaches = |r: &Request| match r.attempt {
            None => r.units().last() >= resume,
            // These lie between the others.
            Some(_) => r.units().next() >= resume,
        };
        if resume.is_some()
            && let Some(first) = requests.iter().position(reaches)
        {
            requests.rotate_left(first);
        }
    }

    fn births(&self) -> MutexGuard<'_, Births> {
        self.births.lock().expect("nothing panics under this lock")
    }

    fn name(&self) -> &str {
        &self.endpoint.settings.name
    }

    fn count_dropped(&self, reason: Dropped, n: usize) {
        self.endpoint.metrics.samples_dropped(self.name(), reason).inc_by(n as u64);
    }

    /// Logs an endpoint's answer, unless it said the same a moment ago.
    fn log(&self, what: &'static str, code: Option<u16>, message: &str) {
        let now = Instant::now();
        let mut told = self.told.lock().expect("nothing panics under this lock");
        if told.get(&(what, code)).is_some_and(|at| now - *at < SAME_MESSAGE_EVERY) {
            return;
        }
        told.insert((what, code), now);
        drop(told);
        let (endpoint, tenant) = (self.name(), self.tenant.as_ref().map(TenantId::as_str));
        tracing::warn!(endpoint, tenant, code, message, "{what}");
    }
}

impl Delivery<'_> {
    /// Spreads the requests of a tick over at most half the interval, at most `max_shards` at once.
    async fn send_all(&self, requests: Vec<Request>, patience: Patience) {
        let start = Instant::now();
        let timed = (0..).zip(requests).map(|(i, request)| (start + self.spacing * i, request));
        let at_once = self.sender.endpoint.settings.max_shards.max(1);
        futures_util::stream::iter(timed.enumerate())
            .for_each_concurrent(at_once, |(i, (at, request))| async move {
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.sender.inbox.newer() => {}
                    // The last tick may be under way when it turns out to be the last.
                    () = self.sender.inbox.closed() => {}
                }
                if self.is_too_late(i) {
                    self.cut_off(i, &request, patience);
                } else {
                    self.send(self.in_order(request), patience).await;
                }
            })
            .await;
    }

    /// Whether the next tick is there before this request went out. The first one goes nevertheless,
    /// so that an endpoint that is slower than the interval gets everything in turn.
    fn is_too_late(&self, i: usize) -> bool {
        let inbox = &self.sender.inbox;
        inbox.has_newer() && (i > 0 || inbox.closed_at().is_some())
    }

    fn cut_off(&self, i: usize, request: &Request, patience: Patience) {
        self.set_incomplete();
        if patience == Patience::UntilReplaced
            && let Some(first) = request.units().next()
        {
            let mut resume = self.sender.resume.lock().expect("nothing panics under this lock");
            *resume = Some(resume.map_or((i, first), |before| before.min((i, first))));
        }
    }

    /// Without label sets that had ended before and whose end has still to be sent.
    fn in_order(&self, mut request: Request) -> Request {
        if request.put_in_order(&self.births()) {
            self.set_incomplete();
        }
        request
    }

    async fn send(&self, request: Request, patience: Patience) {
        let doubtful = request.attempt.is_some();
        let outcome = self.exchange(&request, doubtful, patience).await;
        if !matches!(outcome, Outcome::GivenUp { .. }) && !self.relabels_nothing() {
            self.count_dropped(Dropped::Relabel, self.contents(&request).n_dropped);
        }
        match outcome {
            Outcome::Accepted => self.accepted(request.units()),
            Outcome::GivenUp { maybe_stored } => {
                self.set_incomplete();
                if maybe_stored {
                    self.unknown(request.units());
                }
            }
            Outcome::Refused { after_silence } => {
                self.bisect(&request, doubtful || after_silence).await;
            }
        }
    }

    /// Sends a request; where its births may have been accepted before and it is refused, it goes
    /// again without them.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        mut doubtful: bool,
        patience: Patience,
    ) -> Outcome {
        let mut outcome = self.attempt(request, Zeros::WhereBirthsNeedThem, patience).await;
        let has_ended = request.units().any(|unit| matches!(unit, Unit::Ended(_)));
        let mut silence = false;
        for zeros in [Zeros::Without, Zeros::OnlyMarkers] {
            let Outcome::Refused { after_silence } = outcome else { break };
            silence |= after_silence;
            doubtful |= after_silence;
            if !doubtful || zeros == Zeros::OnlyMarkers && !has_ended {
                break;
            }
            outcome = self.attempt(request, zeros, patience).await;
        }
        match outcome {
            Outcome::Refused { after_silence } => {
                Outcome::Refused { after_silence: after_silence || silence }
            }
            other => other,
        }
    }

    pub(super) fn births(&self) -> MutexGuard<'_, Births> {
        self.sender.births()
    }

    pub(super) fn set_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, reason: Dropped, n: usize) {
        self.sender.count_dropped(reason, n);
    }

    pub(super) fn count_exemplars_dropped(&self, reason: Dropped, n: usize) {
        let (metrics, name) = (&self.sender.endpoint.metrics, self.sender.name());
        metrics.exemplars_dropped(name, reason).inc_by(n as u64);
    }

    fn relabels_nothing(&self) -> bool {
        self.sender.endpoint.settings.write_relabel_configs.is_empty()
    }

    pub(super) fn accepted(&self, units: impl Iterator<Item = Unit>) {
        self.sender.births().accepted(units, self.collected.snapshot.at_ms);
    }

    pub(super) fn unknown(&self, units: impl Iterator<Item = Unit>) {
        self.sender.births().unknown(units, self.collected.snapshot.at_ms - 1);
    }

    /// Sends a request until there is an answer that counts, or patience ends.
    async fn attempt(&self, request: &Request, zeros: Zeros, patience: Patience) -> Outcome {
        let Sender { endpoint, tenant, headers, inbox, .. } = self.sender;
        let EndpointSettings { min_backoff, max_backoff, .. } = endpoint.settings;
        let seed = endpoint.clock.now_unix_nano();
        let mut backoff = Backoff::new(min_backoff, max_backoff, seed);
        let mut silence = false;
        for attempt in 0.. {
            let permit = endpoint.in_flight.acquire().await;
            let permit = permit.expect("the semaphore of an endpoint is never closed");
            // Made anew each time: what waits for its turn or for another try holds no body.
            let (body, contents) = self.body(request, zeros);
            if contents.n_samples == 0 {
                return Outcome::Accepted;
            }
            let own = headers.load_full();
            let answer = endpoint.client.send_with(body, tenant.as_ref(), &own, attempt).await;
            drop(permit);
            match answer {
                Answer::Accepted => {
                    self.count_sent(&contents);
                    return Outcome::Accepted;
                }
                Answer::Final { code, message } => {
                    self.sender.log("endpoint refuses a request", Some(code), &message);
                    return Outcome::Refused { after_silence: silence };
                }
                Answer::Unwelcome { code, message } => {
                    self.sender.log("endpoint takes no requests", Some(code), &message);
                    return Outcome::GivenUp { maybe_stored: silence };
                }
                Answer::Recoverable { code, retry_after, maybe_stored, message } => {
                    self.sender.log("request failed, it is repeated", code, &message);
                    silence |= maybe_stored;
                    let now = endpoint.clock.now();
                    let wait = backoff.retry_at(now, retry_after).saturating_sub(now);
                    let draining = inbox.closed_at().is_some();
                    let too_late = inbox.closed_at().is_some_and(|at| at.elapsed() > DRAIN_RETRIES);
                    let once = patience == Patience::Once && !draining;
                    if once || too_late || inbox.has_newer() {
                        return Outcome::GivenUp { maybe_stored: silence };
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = inbox.newer() => return Outcome::GivenUp { maybe_stored: silence },
                        () = inbox.closed_for(DRAIN_RETRIES) => {
                            return Outcome::GivenUp { maybe_stored: silence };
                        }
                    }
                }
            }
        }
        Outcome::GivenUp { maybe_stored: silence }
    }

    fn body(&self, request: &Request, zeros: Zeros) -> (Bytes, Contents) {
        let mut raw = Vec::new();
        let births = self.births();
        let contents = encode(&births, self.collected, request, zeros, &self.form, &mut raw);
        drop(births);
        let compressed = snap::raw::Encoder::new().compress_vec(&raw);
        (compressed.expect("a request is far below 4 GiB").into(), contents)
    }

    /// What a request holds if it is sent in full.
    pub(super) fn contents(&self, request: &Request) -> Contents {
        let zeros = Zeros::WhereBirthsNeedThem;
        encode(&self.births(), self.collected, request, zeros, &self.form, &mut Vec::new())
    }

    fn count_sent(&self, contents: &Contents) {
        self.accepted_any.store(true, Ordering::Relaxed);
        let (metrics, name) = (&self.sender.endpoint.metrics, self.sender.name());
        metrics.samples_sent.with_label_values(&[name]).inc_by(contents.n_samples as u64);
        metrics.exemplars_sent.with_label_values(&[name]).inc_by(contents.n_exemplars as u64);
    }
}
