//! What a tenant may send a second: bytes after inflating, and spans. Over it a request is told when to
//! come again, or, if it could never pass, not to.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::IngestLimits;
use crate::tenant::TenantId;

/// A limiter counts in steps of whole nanoseconds. Rates above this a second are counted in cells of
/// several, so that rounding is a thousandth at most.
const CELLS_PER_SECOND_MAX: usize = 1_000_000;
/// From as many tenants on those that could send all they may are forgotten: new ones would be alike.
const SWEEP_MIN: usize = 64;

/// The limits of each tenant as they are now; asked for every request.
pub trait IngestOf: fmt::Debug + Send + Sync {
    fn ingest(&self, tenant: &TenantId) -> IngestLimits;
}

/// The same for all.
impl IngestOf for IngestLimits {
    fn ingest(&self, _: &TenantId) -> IngestLimits {
        *self
    }
}

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverRate {
    #[error("{found} more are over limits.{key} for now: expected again in {refill:?}")]
    For { key: &'static str, found: usize, refill: Duration },
    #[error("{found} are more than limits.{key} ever allows at once, {max}: send smaller batches")]
    Never { key: &'static str, found: usize, max: usize },
}

pub(super) struct Rates<C: Clock = MonotonicClock> {
    limits: Arc<dyn IngestOf>,
    clock: C,
    tenants: Mutex<Tenants<C>>,
}

struct Tenants<C: Clock> {
    by_id: BTreeMap<TenantId, Rate<C>>,
    sweep_at: usize,
}

/// One tenant's.
struct Rate<C: Clock> {
    limits: IngestLimits,
    bytes: Option<Meter<C>>,
    spans: Option<Meter<C>>,
    used: C::Instant,
}

struct Meter<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    cell: usize,
    burst: usize,
    /// From empty to full.
    refill: Duration,
    key: &'static str,
    burst_key: &'static str,
}

impl<C: Clock> fmt::Debug for Rates<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Rates {
    pub(super) fn new(limits: Arc<dyn IngestOf>) -> Self {
        Self::with_clock(limits, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(limits: Arc<dyn IngestOf>, clock: C) -> Self {
        let tenants = Tenants { by_id: BTreeMap::new(), sweep_at: SWEEP_MIN };
        Self { limits, clock, tenants: Mutex::new(tenants) }
    }

    /// Of a body that has been inflated.
    pub(super) fn bytes(&self, tenant: &TenantId, n: usize) -> Result<(), OverRate> {
        self.check(tenant, n, |rate| rate.bytes.as_ref())
    }

    /// Of a request that has been staged, and not yet applied.
    pub(super) fn spans(&self, tenant: &TenantId, n: u64) -> Result<(), OverRate> {
        self.check(tenant, usize::try_from(n).unwrap_or(usize::MAX), |rate| rate.spans.as_ref())
    }

    /// One that is not let in leaves nothing behind.
    pub(super) fn forget(&self, tenant: &TenantId) {
        self.tenants.lock().expect("nothing panics under this lock").by_id.remove(tenant);
    }

    fn check(
        &self,
        tenant: &TenantId,
        n: usize,
        meter: impl Fn(&Rate<C>) -> Option<&Meter<C>>,
    ) -> Result<(), OverRate> {
        let limits = self.limits.ingest(tenant);
        if limits.bytes_per_second == 0 && limits.spans_per_second == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tenants = self.tenants.lock().expect("nothing panics under this lock");
        let rate = tenants.rate(tenant, limits, &self.clock);
        rate.used = now;
        meter(rate).map_or(Ok(()), |meter| meter.check(n, now))
    }
}

impl<C: Clock + Clone> Tenants<C> {
    fn rate(&mut self, tenant: &TenantId, limits: IngestLimits, clock: &C) -> &mut Rate<C> {
        if self.by_id.len() >= self.sweep_at {
            let now = clock.now();
            self.by_id.retain(|_, rate| !rate.is_full(now));
            self.sweep_at = SWEEP_MIN.max(self.by_id.len() * 2);
        }
        let of = || Rate::new(limits, clock);
        let rate = self.by_id.entry(tenant.clone()).or_insert_with(of);
        // A reload may have changed them.
        if rate.limits != limits {
            *rate = of();
        }
        rate
    }
}

impl<C: Clock + Clone> Rate<C> {
    fn new(limits: IngestLimits, clock: &C) -> Self {
        let IngestLimits { bytes_per_second, burst_bytes, spans_per_second } = limits;
        let (bytes, burst) = ("ingest_bytes_per_second", "ingest_burst_bytes");
        let spans = "ingest_spans_per_second";
        Self {
            limits,
            bytes: Meter::new((bytes, bytes_per_second), (burst, burst_bytes), clock),
            spans: Meter::new((spans, spans_per_second), (spans, 0), clock),
            used: clock.now(),
        }
    }

    /// As much may be sent as if it were new.
    fn is_full(&self, now: C::Instant) -> bool {
        let refill = [&self.bytes, &self.spans].into_iter().flatten().map(|meter| meter.refill);
        let since = Duration::from(now.duration_since(self.used));
        since >= refill.max().unwrap_or_default()
    }
}

impl<C: Clock + Clone> Meter<C> {
    /// Nothing is metered at a rate of 0; a burst of 0 is what may come in a second.
    fn new(
        (key, per_second): (&'static str, usize),
        (burst_key, burst): (&'static str, usize),
        clock: &C,
    ) -> Option<Self> {
        let cell = (per_second / CELLS_PER_SECOND_MAX).max(1);
        let cells_per_second = NonZeroU32::new(cells(per_second, cell))?;
        let (burst_key, burst) = if burst == 0 { (key, per_second) } else { (burst_key, burst) };
        let burst_cells = NonZeroU32::new(cells(burst, cell)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(cells_per_second).allow_burst(burst_cells);
        Some(Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            cell,
            burst,
            refill: quota.burst_size_replenished_in(),
            key,
            burst_key,
        })
    }

    fn check(&self, n: usize, now: C::Instant) -> Result<(), OverRate> {
        let Some(asked) = NonZeroU32::new(cells(n, self.cell)) else { return Ok(()) };
        match self.limiter.check_n(asked) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => {
                let refill = until.wait_time_from(now);
                Err(OverRate::For { key: self.key, found: n, refill })
            }
            Err(_) => Err(OverRate::Never { key: self.burst_key, found: n, max: self.burst }),
        }
    }
}

fn cells(n: usize, cell: usize) -> u32 {
    u32::try_from(n.div_ceil(cell)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rates(limits: IngestLimits) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Rates::with_clock(Arc::new(limits), clock.clone()), clock)
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a valid name")
    }

    fn until(outcome: Result<(), OverRate>) -> Duration {
        match outcome {
            Err(OverRate::For { refill, .. }) => refill,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_burst_passes_at_once_and_what_comes_then_at_the_rate() {
        for (rate, burst) in [(1000, 5000), (1_000_000, 0), (50_000_000, 200_000_000)] {
            let limits = IngestLimits {
                bytes_per_second: rate,
                burst_bytes: burst,
                ..IngestLimits::default()
            };
            let (rates, clock) = rates(limits);
            let (a, b) = (tenant("a"), tenant("b"));
            let burst = if burst == 0 { rate } else { burst };
            assert_eq!(rates.bytes(&a, burst), Ok(()));
            // Empty: half a second's bytes are there in half a second, and not before.
            assert_eq!(until(rates.bytes(&a, rate / 2)), SECOND / 2, "{rate}");
            clock.advance(SECOND / 2 - Duration::from_nanos(1));
            assert_eq!(until(rates.bytes(&a, rate / 2)), Duration::from_nanos(1), "{rate}");
            clock.advance(Duration::from_nanos(1));
            assert_eq!(rates.bytes(&a, rate / 2), Ok(()), "{rate}");
            assert_eq!(until(rates.bytes(&a, rate)), SECOND, "nothing is left");
            assert_eq!(rates.bytes(&b, burst), Ok(()), "another tenant has its own");
        }
    }

    #[test]
    fn tenants_that_could_send_all_they_may_are_forgotten() {
        let limits = IngestLimits { bytes_per_second: 10, ..IngestLimits::default() };
        let (rates, clock) = rates(limits);
        for n in 0..1000 {
            assert_eq!(rates.bytes(&tenant(&format!("t{n}")), 10), Ok(()));
            clock.advance(SECOND / 10);
        }
        let kept = rates.tenants.lock().expect("nobody panicked").by_id.len();
        assert!(kept <= SWEEP_MIN, "{kept}");
        assert!(rates.bytes(&tenant("t999"), 10).is_err(), "one that has sent lately is not");
    }

    #[test]
    fn what_is_more_than_the_burst_is_told_never_to_come_again() {
        let limits =
            IngestLimits { bytes_per_second: 1000, burst_bytes: 300, spans_per_second: 10 };
        let (rates, _) = rates(limits);
        let a = tenant("a");
        let never = OverRate::Never { key: "ingest_burst_bytes", found: 301, max: 300 };
        assert_eq!(rates.bytes(&a, 301), Err(never.clone()));
        assert_eq!(rates.bytes(&a, 300), Ok(()), "and it has taken nothing of the burst");
        assert_eq!(rates.bytes(&a, 301), Err(never));
        let never = OverRate::Never { key: "ingest_spans_per_second", found: 11, max: 10 };
        assert_eq!(rates.spans(&a, 11), Err(never));
        assert_eq!(rates.spans(&a, 10), Ok(()));
        assert_eq!(until(rates.spans(&a, 1)), SECOND / 10);
    }

    #[test]
    fn without_limits_nothing_is_kept_and_nothing_refused() {
        let (rates, _) = rates(IngestLimits::default());
        assert_eq!(rates.bytes(&tenant("a"), usize::MAX), Ok(()));
        assert_eq!(rates.spans(&tenant("a"), u64::MAX), Ok(()));
        assert_eq!(rates.tenants.lock().expect("not poisoned").by_id.len(), 0);
    }

    #[test]
    fn tenants_that_are_gone_or_not_let_in_leave_nothing_behind() {
        let limits = IngestLimits { bytes_per_second: 1000, ..IngestLimits::default() };
        let (rates, clock) = rates(limits);
        let n_kept = || rates.tenants.lock().expect("not poisoned").by_id.len();
        for i in 0..100_000 {
            let id = tenant(&format!("t{i}"));
            assert_eq!(rates.bytes(&id, 1000), Ok(()));
            clock.advance(SECOND / 10);
        }
        assert!(n_kept() <= 2 * SWEEP_MIN, "{} tenants", n_kept());
        let before = n_kept();
        let refused = tenant("refused");
        assert_eq!(rates.bytes(&refused, 1), Ok(()));
        rates.forget(&refused);
        assert_eq!(n_kept(), before);
    }
}
