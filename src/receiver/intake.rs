//! Where every decoded body goes, whatever protocol it came by: staged, then applied to its tenant.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;

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
}

thread_local! {
    /// Scratch of one thread: warm after the first requests.
    static STAGER: RefCell<Stager> = RefCell::new(Stager::default());
}

impl Intake {
    pub fn new(plan: Plan, tenants: Arc<Tenants>, clock: Arc<Clock>) -> Self {
        Self { plan: ArcSwap::from_pointee(plan), tenants, clock }
    }

    /// Takes one `ExportTraceServiceRequest` in its wire form: whole, or not at all.
    ///
    /// Does not wait on anything but the tenant's lock.
    pub fn take(&self, tenant: &TenantId, body: &[u8]) -> Result<Taken, TakeError> {
        STAGER.with_borrow_mut(|stager| {
            let now = self.clock.now();
            let batch = stager.stage(&self.plan.load(), body, now).map_err(TakeError::from)?;
            self.tenants.get_or_create(tenant).apply(batch, now);
            let spans = batch.tallies.received;
            Ok(Taken { spans, outside_window: stager.outside_window() })
        })
    }
}

impl From<StageError> for TakeError {
    fn from(e: StageError) -> Self {
        match e {
            StageError::Malformed(_) => Self::Undecodable(e),
            StageError::TooManySpans | StageError::TooMuchText => Self::TooLarge(e),
        }
    }
}
