//! What both protocols do with a request: admit it, read its body, and take it.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::{Media, Refusal};
use super::bodies::{Account, Bodies};
use super::body::{Encoding, Gathered};
use super::connections::Busy;
use super::rates::{IngestOf, Rates};
use super::shares::Staging;
use super::stagings::Stagings;
use super::told::Told;
use super::{Intake, Settings, Taken};
use crate::telemetry::{Protocol, Refused, Telemetry};
use crate::tenant::{TENANT_HEADER, TenantId};

/// Shared by the connections of all listeners.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) settings: Settings,
    pub(super) telemetry: Telemetry,
    pub(super) intake: Arc<Intake>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) rates: Rates,
    pub(super) stagings: Arc<Stagings>,
    pub(super) staging: Staging,
    told: Told,
    single_tenant: TenantId,
    /// New requests are refused from here on.
    pub(super) draining: CancellationToken,
    /// Bodies that are still arriving are cut off.
    pub(super) cut: CancellationToken,
}

/// What the header of a request says about its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) protocol: Protocol,
    pub(super) tenant: TenantId,
    pub(super) media: Media,
    pub(super) encoding: Encoding,
}

/// A request that has been read whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) head: Head,
    pub(super) wire: Bytes,
    /// What its memory is charged to.
    pub(super) account: Account,
}

impl Receiver {
    pub(super) fn new(
        settings: Settings,
        ingest: Arc<dyn IngestOf>,
        intake: Arc<Intake>,
        telemetry: Telemetry,
        draining: CancellationToken,
    ) -> Self {
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let staging = Staging::of(settings.memory.staging, workers);
        Self {
            bodies: Bodies::new(settings.memory.bodies, telemetry.bodies.clone()),
            rates: Rates::new(ingest),
            stagings: Stagings::new(staging.n_large, staging.large_bytes),
            staging,
            told: Told::default(),
            single_tenant: TenantId::single(),
            cut: CancellationToken::new(),
            settings,
            telemetry,
            intake,
            draining,
        }
    }

    /// Whose request this is, before a byte of its body is read.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<TenantId, Refusal> {
        if self.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        if !self.settings.multitenancy {
            return Ok(self.single_tenant.clone());
        }
        let values = headers.get_all(TENANT_HEADER);
        match values.iter().count() {
            0 => return Err(Refusal::TenantMissing),
            1 => {}
            n => return Err(Refusal::TenantRepeated(n)),
        }
        let id: String = values.iter().flat_map(|v| v.as_bytes()).map(|&b| char::from(b)).collect();
        let id = TenantId::parse(&id)?;
        self.intake.admits(&id)?;
        Ok(id)
    }

    /// The whole body as it arrived, within `body_timeout`; `check` bounds it, and says how long the
    /// whole will be if it knows.
    pub(super) async fn read<B>(
        &self,
        head: Head,
        body: &mut B,
        busy: &Busy,
        check: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>,
    ) -> Result<Whole, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let max = self.settings.body_timeout;
        let grows = head.encoding != Encoding::Identity || head.media == Media::Json;
        let mut account = self.bodies.open(&head.tenant, grows);
        let (gives_way, id) = (account.gives_way(), account.id());
        let mut gathered = Gathered::default();
        let read = tokio::select! {
            biased;
            read = timeout(max, gathered.fill(body, &mut account, check)) => {
                read.unwrap_or(Err(Refusal::BodyTimeout(max)))
            }
            () = gives_way.cancelled() => Err(Refusal::GaveWay),
            never = busy.watch(|| self.bodies.arrived(id)) => match never {},
            () = self.cut.cancelled() => Err(Refusal::Draining),
        };
        self.telemetry.body_received(head.protocol, gathered.len(), 0);
        read.map(|()| Whole { head, wire: gathered.freeze(), account })
    }

    /// One line in the log, at most one a minute for each reason.
    pub(super) fn tell(&self, outcome: &Result<Taken, Refusal>) {
        if let Err(refusal) = outcome
            && let Some(reason) = refusal.reason().filter(|reason| *reason != Refused::Draining)
        {
            self.told.tell(reason, refusal);
        }
    }
}
