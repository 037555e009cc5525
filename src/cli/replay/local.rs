//! In process: requests are staged and applied as in the service, whenever their spans ended.

use std::time::Duration;

use anyhow::bail;

use super::counted::Counted;
use super::reading::Bad;
use super::what_if::{Dropped, Made};
use crate::admission::Limits;
use crate::clock::Clock;
use crate::config::Config;
use crate::edges;
use crate::ledger::{self, EdgeSeries, Tenant};
use crate::stage::{self, Plan, StageError, Stager};
use crate::tenant::TenantId;

const MILLISECOND: Duration = Duration::from_millis(1);

/// One tenant without a clock: logical time stands still until the end.
pub(super) struct Local {
    plan: Plan,
    stager: Stager,
    tenant: Tenant,
    made: Made,
    now: Duration,
    /// When no edge side waits any longer.
    end: Duration,
}

impl Local {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let settings = for_the_table(&config.stage);
        let plan = match Plan::new(&settings, 1) {
            Ok(plan) => plan,
            Err(errors) => {
                bail!(errors.iter().map(|e| format!("{e}\n")).collect::<String>())
            }
        };
        let ledger = counted_for_the_table(&config.ledger);
        let edges::Settings { wait, hold_virtual, .. } = ledger.edges;
        let tenant = Tenant::new(TenantId::single(), ledger, &settings.bounds(), [0; 4]);
        let now = Clock::default().now();
        let end = now + wait.saturating_mul(1 + u32::from(hold_virtual)) + MILLISECOND;
        let made = Made::by(config);
        Ok(Self { plan, stager: Stager::default(), tenant, made, now, end })
    }

    /// The number of spans that were taken.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<u64, Bad> {
        let batch = self.stager.stage(&self.plan, body, self.now).map_err(|e| match e {
            StageError::Malformed(_) => Bad::Undecodable(format!("malformed trace request: {e}")),
            e => Bad::Refused(e.to_string()),
        })?;
        self.tenant.apply(batch, self.now);
        Ok(batch.tallies.received)
    }

    pub(super) fn finish(self, what_if: &[Dropped]) -> Counted {
        Counted::of(&self.tenant.tick(self.end), &self.made, what_if)
    }
}

/// The configuration says what is counted; the table's columns are always there.
fn for_the_table(settings: &stage::Settings) -> stage::Settings {
    let mut settings = settings.clone();
    settings.window = None;
    settings.processors.calls = true;
    settings.processors.latency = true;
    settings.processors.service_graphs = true;
    let intrinsic = &mut settings.span_metrics.intrinsic_dimensions;
    intrinsic.service = true;
    intrinsic.span_name = true;
    intrinsic.span_kind = true;
    intrinsic.status_code = true;
    settings
}

/// Likewise; nobody is shown an exemplar, and no limit hides what there is.
fn counted_for_the_table(settings: &ledger::Settings) -> ledger::Settings {
    let mut settings = settings.clone();
    settings.max_exemplars_per_tick = 0;
    settings.limits = Limits::none();
    settings.edge_series = EdgeSeries {
        requests: true,
        server_seconds: true,
        client_seconds: true,
        ..settings.edge_series
    };
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    fn config(set: &[&str]) -> Config {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        config::load(&Inputs { set, ..Inputs::default() }).unwrap().config
    }

    #[test]
    fn the_end_is_after_the_wait_and_the_hold_however_long() {
        let waited = |set: &[&str]| {
            let local = Local::new(&config(set)).unwrap();
            local.end - local.now
        };
        let hold = |n: u16| format!("processors.service_graphs.hold_virtual={n}");
        assert_eq!(waited(&[]), Duration::from_millis(10_001));
        assert_eq!(waited(&[&hold(2)]), Duration::from_millis(30_001));
        let longest = waited(&["processors.service_graphs.wait=36500d", &hold(u16::MAX)]);
        assert!(longest > Duration::from_hours(24 * 36_500));
    }

    #[test]
    fn the_columns_are_there_whatever_is_enabled() {
        let config = config(&[
            "processors.enabled=[host-info, service-graphs-connection-info]",
            "processors.service_graphs.histograms=[]",
        ]);
        let stage::Processors { calls, latency, size, service_graphs, .. } =
            for_the_table(&config.stage).processors;
        assert_eq!((calls, latency, size, service_graphs), (true, true, false, true));
        let series = counted_for_the_table(&config.ledger).edge_series;
        let expected = EdgeSeries { connection_info: true, ..EdgeSeries::default() };
        assert_eq!(series, expected);
    }

    #[test]
    fn no_limit_hides_what_there_is() {
        let limited = config(&["limits.max_active_series=1", "limits.max_edges=1"]);
        assert_eq!(counted_for_the_table(&limited.ledger).limits, Limits::none());
    }
}
