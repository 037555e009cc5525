//! Where every decoded body goes, whatever protocol it came by: staged, then applied to its tenant.

use std::cell::RefCell;
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;

use super::IngestLimits;
use super::rates::{IngestOf, OverRate};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::ledger::{self, NotApplied, Tenants, TooManyTenants};
use crate::stage::{Plan, StageError, Stager};
use crate::tenant::{ByTenant, TenantId};

/// What is taken of a tenant's requests, and how: one value, of one generation.
#[derive(Debug)]
pub struct TenantRules {
    pub plan: Plan,
    pub ledger: ledger::Rules,
    pub ingest: IngestLimits,
}

/// The rules of all tenants.
#[derive(Debug)]
pub struct Rulebook {
    /// Rises with each reload.
    pub epoch: u64,
    pub rules: ByTenant<TenantRules>,
}

/// Shared by all receivers.
#[derive(Debug)]
pub struct Intake {
    rulebook: ArcSwap<Rulebook>,
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
    #[error(transparent)]
    TooManyTenants(#[from] TooManyTenants),
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
    pub fn new(rulebook: Rulebook, tenants: Arc<Tenants>, clock: Arc<Clock>) -> Self {
        let rulebook = ArcSwap::from_pointee(rulebook);
        Self { rulebook, tenants, clock, open: RwLock::new(true) }
    }

    /// From here on these rules hold: whoever has staged under others stages again. To be told before
    /// any tenant is, so that whoever finds that a tenant follows newer rules finds those here.
    pub fn follow(&self, rulebook: Rulebook) {
        self.rulebook.store(Arc::new(rulebook));
    }

    /// Whether there is room for this tenant; asked before anything is read.
    pub fn admits(&self, tenant: &TenantId) -> Result<(), TooManyTenants> {
        self.tenants.admits(tenant)
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
        let mut admit = Some(admit);
        loop {
            let rulebook = self.rulebook.load();
            let rules = rulebook.rules.of(tenant);
            let batch = stager.stage(&rules.plan, body, Clock::wall())?;
            let spans = batch.tallies.received;
            if let Some(admit) = admit.take() {
                admit(spans)?;
            }
            if self.count(tenant, batch, &rules.ledger, rulebook.epoch)? {
                return Ok(Taken { spans, outside_window: stager.outside_window() });
            }
        }
    }

    /// Whether the batch is counted; if not, the tenant follows newer rules than these.
    fn count(
        &self,
        id: &TenantId,
        batch: &Batch,
        rules: &ledger::Rules,
        epoch: u64,
    ) -> Result<bool, TakeError> {
        let open = self.open.read().expect("nothing panics under this lock but a broken fold");
        if !*open {
            return Err(TakeError::Closed);
        }
        loop {
            let now = self.clock.now();
            let tenant = self.tenants.get_or_create(id, rules, epoch, now)?;
            match tenant.try_apply(batch, now) {
                Ok(()) => return Ok(true),
                // The next one found is another.
                Err(NotApplied::Retired) => {}
                Err(NotApplied::OtherSettings) if tenant.follow(rules, epoch, now) => {}
                Err(NotApplied::OtherSettings) => return Ok(false),
            }
        }
    }
}

impl IngestOf for Intake {
    fn ingest(&self, tenant: &TenantId) -> IngestLimits {
        self.rulebook.load().rules.of(tenant).ingest
    }
}

impl From<StageError> for TakeError {
    fn from(e: StageError) -> Self {
        match e {
            StageError::Malformed(_) => Self::Undecodable(e),
            StageError::TooManySpans
            | StageError::TooManySides
            | StageError::TooManyLabelSets
            | StageError::TooMuchText { .. }
            | StageError::TooMuchOriginText => Self::TooLarge(e),
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
