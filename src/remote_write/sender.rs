//! One endpoint of one tenant: each tick is delivered, or replaced by the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::EndpointSettings;
use super::backoff::Backoff;
use super::births::{Births, Unit};
use super::client::{Answer, Client};
use super::inbox::Inbox;
use super::requests::{Contents, Form, Item, Plan, Request, Zeros, encode, halves, pack};
use crate::clock::Clock;
use crate::collect::{Collected, Settings, StaleMarkers};
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
    task: JoinHandle<()>,
}

impl Outlet {
    pub fn post(&self, collected: Collected) {
        self.inbox.post(collected);
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
}

impl Endpoint {
    /// Starts to send one tenant's ticks. `tenant` is the id that requests carry, if any.
    pub fn open(self: &Arc<Self>, tenant: Option<TenantId>, collect: &Settings) -> Outlet {
        let markers = collect.stale_markers != StaleMarkers::Off;
        let relabel = self.settings.write_relabel_configs.as_slice().into();
        let inbox = Arc::new(Inbox::default());
        let sender = Sender {
            endpoint: Arc::clone(self),
            tenant,
            births: Mutex::new(Births::new(relabel, markers)),
            form: Form {
                max_samples: self.settings.max_samples_per_send,
                send_exemplars: self.settings.send_exemplars,
                trace_id_label_name: collect.trace_id_label_name.clone(),
            },
            interval: collect.collection_interval,
            inbox: Arc::clone(&inbox),
            resume: Mutex::default(),
            last_message: Mutex::default(),
        };
        Outlet { inbox, task: tokio::spawn(sender.run()) }
    }
}

struct Sender {
    endpoint: Arc<Endpoint>,
    tenant: Option<TenantId>,
    births: Mutex<Births>,
    form: Form,
    interval: Duration,
    inbox: Arc<Inbox>,
    /// Where the tick before was cut off by its successor.
    resume: Mutex<Option<Unit>>,
    last_message: Mutex<Option<(Instant, String)>>,
}

/// One tick on its way to the endpoint.
struct Delivery<'a> {
    sender: &'a Sender,
    collected: &'a Collected,
    /// The endpoint has taken something of this tick.
    accepted_any: AtomicBool,
    /// Something of this tick did not get there.
    incomplete: AtomicBool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
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
enum Patience {
    Once,
    UntilReplaced,
}

impl Sender {
    async fn run(self) {
        while let Some(collected) = self.inbox.take().await {
            let given_up = self.births().apply(&collected);
            self.count_dropped(Dropped::EndedListFull, given_up);
            self.deliver(&collected).await;
        }
    }

    async fn deliver(&self, collected: &Collected) {
        let Plan { ended, mut live } = pack(&self.births(), collected, &self.form);
        self.rotate(&mut live);
        let delivery = Delivery {
            sender: self,
            collected,
            accepted_any: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
        };
        // What has ended goes first and is tried once a tick, so that it can't hold up the living.
        delivery.send_all(ended, Patience::Once).await;
        delivery.send_all(live, Patience::UntilReplaced).await;
        if !delivery.incomplete.into_inner() {
            #[expect(clippy::cast_precision_loss, reason = "ms since 1970 are far below 2^53")]
            let seconds = collected.snapshot.at_ms as f64 / 1000.0;
            let gauge = &self.endpoint.metrics.highest_sent_timestamp;
            gauge.with_label_values(&[self.name()]).set(seconds);
        }
    }

    /// A tick begins where the one before was cut off, so that no label set always comes last.
    fn rotate(&self, requests: &mut [Request]) {
        let resume = self.resume.lock().expect("nothing panics under this lock").take();
        let reaches = |r: &Request| r.attempt.is_none() && r.units().last() >= resume;
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
    fn log(&self, what: &str, code: Option<u16>, message: &str) {
        let now = Instant::now();
        let text = format!("{what} {code:?} {}", message.chars().take(120).collect::<String>());
        let mut last = self.last_message.lock().expect("nothing panics under this lock");
        if last.as_ref().is_some_and(|(at, t)| *t == text && now - *at < SAME_MESSAGE_EVERY) {
            return;
        }
        *last = Some((now, text));
        let (endpoint, tenant) = (self.name(), self.tenant.as_ref().map(TenantId::as_str));
        tracing::warn!(endpoint, tenant, code, message, "{what}");
    }
}

impl Delivery<'_> {
    /// Spreads the requests over at most half the interval, at most `max_shards` at once.
    async fn send_all(&self, requests: Vec<Request>, patience: Patience) {
        let start = Instant::now();
        let n = u32::try_from(requests.len()).unwrap_or(u32::MAX).max(1);
        let draining = self.sender.inbox.closed_at().is_some();
        let spacing = if draining { Duration::ZERO } else { self.sender.interval / 2 / n };
        let timed = (0..).zip(requests).map(|(i, request)| (start + spacing * i, request));
        let at_once = self.sender.endpoint.settings.max_shards.max(1);
        futures_util::stream::iter(timed)
            .for_each_concurrent(at_once, |(at, request)| self.send_at(at, request, patience))
            .await;
    }

    async fn send_at(&self, at: Instant, request: Request, patience: Patience) {
        tokio::select! {
            () = sleep_until(at) => {}
            () = self.sender.inbox.newer() => {}
        }
        if patience == Patience::UntilReplaced && self.sender.inbox.has_newer() {
            self.cut_off(&request);
            return;
        }
        self.send(request, patience).await;
    }

    /// The next tick is there before this request went out.
    fn cut_off(&self, request: &Request) {
        self.incomplete.store(true, Ordering::Relaxed);
        let mut resume = self.sender.resume.lock().expect("nothing panics under this lock");
        let first = request.units().next().filter(|_| request.attempt.is_none());
        *resume = match (*resume, first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    async fn send(&self, request: Request, patience: Patience) {
        let mut zeros = Zeros::WhereBirthsNeedThem;
        let mut outcome = self.attempt(&request, zeros, patience).await;
        let doubtful = request.attempt.is_some();
        if let Outcome::Refused { after_silence } = outcome
            && (doubtful || after_silence)
        {
            // The births had been accepted: the request goes again without them.
            zeros = Zeros::Without;
            outcome = self.attempt(&request, zeros, patience).await;
        }
        match outcome {
            Outcome::Accepted => self.accepted(request.units()),
            Outcome::GivenUp { maybe_stored } => {
                self.incomplete.store(true, Ordering::Relaxed);
                if maybe_stored {
                    self.unknown(request.units());
                }
            }
            Outcome::Refused { .. } => self.bisect(request, zeros).await,
        }
    }

    /// Finds the one series that a request is refused for; all others are delivered on the way.
    /// At most log2(series) + 1 requests.
    async fn bisect(&self, request: Request, zeros: Zeros) {
        let n_series = request.n_series();
        let mut delivered: Vec<Item> = Vec::new();
        let mut waiting: Vec<Item> = Vec::new();
        let mut suspects = request.items.clone();
        while n(&suspects) > 1 {
            let (left, right) = halves(&suspects);
            let part = Request { items: left, attempt: request.attempt };
            match self.attempt(&part, zeros, Patience::Once).await {
                Outcome::Accepted => {
                    delivered.extend(part.items);
                    suspects = right;
                }
                Outcome::Refused { .. } => {
                    waiting.extend(right);
                    suspects = part.items;
                }
                Outcome::GivenUp { .. } => {
                    self.half_delivered(&request, &delivered);
                    return;
                }
            }
        }
        if !waiting.is_empty() {
            let part = Request { items: waiting, attempt: request.attempt };
            if self.attempt(&part, zeros, Patience::Once).await == Outcome::Accepted {
                delivered.extend(part.items);
            }
        }
        // An endpoint that refuses everything says nothing about this series.
        if self.accepted_any.load(Ordering::Relaxed) {
            for item in &suspects {
                self.sender.births().leave_out(item.unit, item.from);
                delivered.push(*item);
            }
        }
        let lost = n_series - n(&delivered) + suspects.len();
        self.sender.count_dropped(Dropped::FinalError, lost);
        self.half_delivered(&request, &delivered);
    }

    /// Settles what became of each label set of a request whose series were sent apart.
    fn half_delivered(&self, request: &Request, delivered: &[Item]) {
        let of = |items: &[Item], unit| -> usize {
            items.iter().filter(|i| i.unit == unit).map(|i| i.to - i.from).sum()
        };
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        for unit in request.units() {
            match of(delivered, unit) {
                n if n == of(&request.items, unit) => whole.push(unit),
                0 => {}
                _ => part.push(unit),
            }
        }
        if whole.len() < request.items.len() {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        self.accepted(whole.into_iter());
        self.unknown(part.into_iter());
        // What has ended is not tried again after a refusal.
        for unit in request.units() {
            if let Unit::Ended(number) = unit {
                self.sender.births().done(number);
            }
        }
    }

    fn accepted(&self, units: impl Iterator<Item = Unit>) {
        self.sender.births().accepted(units, self.collected.snapshot.at_ms);
    }

    fn unknown(&self, units: impl Iterator<Item = Unit>) {
        self.sender.births().unknown(units, self.collected.snapshot.at_ms - 1);
    }

    /// Sends a request until there is an answer that counts, or patience ends.
    async fn attempt(&self, request: &Request, zeros: Zeros, patience: Patience) -> Outcome {
        let (body, contents) = self.body(request, zeros);
        self.sender.count_dropped(Dropped::Relabel, contents.n_dropped);
        if contents.n_samples == 0 {
            return Outcome::Accepted;
        }
        let Sender { endpoint, tenant, inbox, .. } = self.sender;
        let EndpointSettings { min_backoff, max_backoff, .. } = endpoint.settings;
        let seed = endpoint.clock.now_unix_nano();
        let mut backoff = Backoff::new(min_backoff, max_backoff, seed);
        let mut silence = false;
        for attempt in 0.. {
            match endpoint.client.send(body.clone(), tenant.as_ref(), attempt).await {
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
                    let too_late = inbox.closed_at().is_some_and(|at| at.elapsed() > DRAIN_RETRIES);
                    if patience == Patience::Once || too_late || inbox.has_newer() {
                        return Outcome::GivenUp { maybe_stored: silence };
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = inbox.newer() => return Outcome::GivenUp { maybe_stored: silence },
                    }
                }
            }
        }
        Outcome::GivenUp { maybe_stored: silence }
    }

    fn body(&self, request: &Request, zeros: Zeros) -> (Bytes, Contents) {
        let mut raw = Vec::new();
        let Sender { births, form, .. } = self.sender;
        let births = births.lock().expect("nothing panics under this lock");
        let contents = encode(&births, self.collected, request, zeros, form, &mut raw);
        drop(births);
        let compressed = snap::raw::Encoder::new().compress_vec(&raw);
        (compressed.expect("a request is far below 4 GiB").into(), contents)
    }

    fn count_sent(&self, contents: &Contents) {
        self.accepted_any.store(true, Ordering::Relaxed);
        let (metrics, name) = (&self.sender.endpoint.metrics, self.sender.name());
        metrics.samples_sent.with_label_values(&[name]).inc_by(contents.n_samples as u64);
        metrics.exemplars_sent.with_label_values(&[name]).inc_by(contents.n_exemplars as u64);
    }
}

fn n(items: &[Item]) -> usize {
    items.iter().map(|item| item.to - item.from).sum()
}
