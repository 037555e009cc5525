//! Where every decoded body goes, whatever protocol it came by: staged, then applied to its tenant.

use std::cell::RefCell;
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;

use super::rates::OverRate;
use crate::clock::Clock;
use crate::ledger::Tenants;
use crate::stage::{Plan, StageError, Stager};
use crate::tenant::TenantId;

/// Shared by all receivers.
#[derive(Debug)]
pub struct Intake {
    plan: ArcSwap<Plan>,
    tenants: Arc<Tenants>,
    clock: Arc<Clock>,
    /// False from [`close`](Intake::close) on; held for reading while a request is counted.
    open: RwLock<bool>,
}

/// What was taken of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    pub spans: u64,
    /// Of these, how many were discarded because of their end time.
    pub outside_window: u64,
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("malformed trace request: {0}")]
    Undecodable(StageError),
    #[error("{0}")]
    TooLarge(StageError),
    #[error("shutting down: nothing is counted any more")]
    Closed,
    #[error(transparent)]
    OverRate(#[from] OverRate),
}

thread_local! {
    /// Scratch of one thread: warm after the first requests.
    static STAGER: RefCell<Option<Stager>> = const { RefCell::new(None) };
}

impl Intake {
    pub fn new(plan: Plan, tenants: Arc<Tenants>, clock: Arc<Clock>) -> Self {
        Self { plan: ArcSwap::from_pointee(plan), tenants, clock, open: RwLock::new(true) }
    }

    /// Counts nothing any more: whatever is acknowledged has been counted before this returns, and a
    /// tick after it has everything.
    pub fn close(&self) {
        *self.open.write().expect("nothing panics under this lock but a broken fold") = false;
    }

    /// Takes one `ExportTraceServiceRequest` in its wire form: whole, or not at all.
    ///
    /// Does not wait on anything but the tenant's lock.
    pub fn take(&self, tenant: &TenantId, body: &[u8]) -> Result<Taken, TakeError> {
        self.take_with(&mut Stager::default(), tenant, body, |_| Ok(()))
    }

    /// The same with this thread's own stager, which may take `max_bytes`.
    pub(super) fn take_here(
        &self,
        max_bytes: usize,
        tenant: &TenantId,
        body: &[u8],
        admit: impl FnOnce(u64) -> Result<(), TakeError>,
    ) -> Result<Taken, TakeError> {
        STAGER.with_borrow_mut(|stager| {
            let stager = stager.get_or_insert_with(|| Stager::new(max_bytes));
            self.take_with(stager, tenant, body, admit)
        })
    }

    /// `admit` is asked with the number of spans, before anything has changed.
    pub(super) fn take_with(
        &self,
        stager: &mut Stager,
        tenant: &TenantId,
        body: &[u8],
        admit: impl FnOnce(u64) -> Result<(), TakeError>,
    ) -> Result<Taken, TakeError> {
        let wall = Clock::wall();
        let batch = stager.stage(&self.plan.load(), body, wall).map_err(TakeError::from)?;
        let spans = batch.tallies.received;
        admit(spans)?;
        let open = self.open.read().expect("nothing panics under this lock but a broken fold");
        if !*open {
            return Err(TakeError::Closed);
        }
        self.tenants.get_or_create(tenant).apply(batch, self.clock.now());
        drop(open);
        Ok(Taken { spans, outside_window: stager.outside_window() })
    }
}

impl From<StageError> for TakeError {
    fn from(e: StageError) -> Self {
        match e {
            StageError::Malformed(_) => Self::Undecodable(e),
            StageError::TooManySpans
            | StageError::TooManyLabelSets
            | StageError::TooMuchText { .. }
            | StageError::TooMuchOriginText => Self::TooLarge(e),
        }
    }
}
