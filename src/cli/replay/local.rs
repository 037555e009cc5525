//! In process: requests are staged and applied as in the service, whenever their spans ended.

use std::time::Duration;

use anyhow::bail;

use super::operations::{self, Operation};
use super::reading::Bad;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::{self, Tenant};
use crate::stage::{self, Plan, StageError, Stager};
use crate::tenant::TenantId;

/// One tenant without a clock: logical time stands still until the end.
pub(super) struct Local {
    plan: Plan,
    stager: Stager,
    tenant: Tenant,
    now: Duration,
}

impl Local {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let settings = for_the_table(&config.stage);
        let plan = match Plan::new(&settings, 1) {
            Ok(plan) => plan,
            Err(errors) => {
                bail!(errors.iter().map(|e| format!("processors.{e}\n")).collect::<String>())
            }
        };
        // Nobody is shown an exemplar.
        let ledger = ledger::Settings { max_exemplars_per_tick: 0, ..config.ledger.clone() };
        let tenant = Tenant::new(TenantId::single(), ledger, &settings.bounds(), [0; 4]);
        let now = Clock::default().now();
        Ok(Self { plan, stager: Stager::default(), tenant, now })
    }

    /// The number of spans that were taken.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<u64, Bad> {
        let batch = self.stager.stage(&self.plan, body, self.now).map_err(|e| match e {
            StageError::Malformed(_) => Bad::Undecodable(format!("malformed trace request: {e}")),
            StageError::TooManySpans | StageError::TooMuchText => Bad::Refused(e.to_string()),
        })?;
        self.tenant.apply(batch, self.now);
        Ok(batch.tallies.received)
    }

    pub(super) fn finish(self) -> Vec<Operation> {
        operations::of(&self.tenant.tick(self.now))
    }
}

/// The configuration says what is counted; the table's columns are always there.
fn for_the_table(settings: &stage::Settings) -> stage::Settings {
    let mut settings = settings.clone();
    settings.window = None;
    settings.processors.calls = true;
    settings.processors.latency = true;
    let intrinsic = &mut settings.span_metrics.intrinsic_dimensions;
    intrinsic.service = true;
    intrinsic.span_name = true;
    intrinsic.span_kind = true;
    intrinsic.status_code = true;
    settings
}
