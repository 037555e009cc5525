//! One request through a pipeline of its own: staged, and applied to a tenant that is new but for what
//! came before.

use std::io::Read;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use spanmill::config::{Inputs, load};
use spanmill::ledger::Tenant;
use spanmill::receiver::json_to_wire;
use spanmill::stage::{Plan, StageError, Stager};
use spanmill::tenant::TenantId;

use super::cases::{Case, Form, SETTINGS};

const NOW: Duration = Duration::from_secs(1_795_000_000);

pub(crate) struct Pipeline {
    plan: Plan,
    stager: Stager,
    tenant: Tenant,
    form: Form,
    now: Duration,
}

impl Pipeline {
    /// With everything that comes before the case's request.
    pub(crate) fn new(case: &Case) -> Self {
        let set = SETTINGS.iter().chain(case.set).map(|text| (*text).to_owned()).collect();
        let config = load(&Inputs { set, ..Inputs::default() }).expect("valid settings").config;
        let plan = Plan::new(&config.stage, 1).expect("valid settings");
        let bounds = config.stage.bounds();
        let tenant = Tenant::new(TenantId::single(), config.ledger, &bounds, [1, 2, 3, 4]);
        let mut pipeline =
            Self { plan, stager: Stager::default(), tenant, form: case.form, now: NOW };
        for request in (case.before)() {
            pipeline.take(&request).expect("what comes before is taken");
        }
        pipeline.now += case.quiet;
        pipeline
    }

    /// The number of spans that were taken.
    pub(crate) fn take(&mut self, body: &[u8]) -> Result<u64, StageError> {
        match self.form {
            Form::Protobuf => self.take_wire(body),
            Form::Gzip => self.take_wire(&inflated(body)),
            Form::Json => {
                let wire = json_to_wire(body).expect("well-formed JSON");
                self.take_wire(&wire)
            }
        }
    }

    fn take_wire(&mut self, body: &[u8]) -> Result<u64, StageError> {
        let batch = self.stager.stage(&self.plan, body, self.now)?;
        self.tenant.apply(batch, self.now);
        Ok(batch.tallies.received)
    }
}

pub(crate) fn inflated(body: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut inflated).expect("whole gzip");
    inflated
}
