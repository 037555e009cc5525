//! What both protocols do with a request: admit it, read its body, and hand it to the intake.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio_util::sync::CancellationToken;

use super::answer::{Media, Refusal};
use super::body::{self, Encoding, Gathered};
use super::{Intake, Settings, Taken, json};
use crate::telemetry::{Protocol, Telemetry};
use crate::tenant::{TENANT_HEADER, TenantId};

/// Largest body that the task that read it also stages, per form. Protobuf as it came costs some
/// 0.3 ns a byte; what must be inflated or is JSON costs ten times as much and more. Beyond that
/// the work would keep other connections waiting for a millisecond, so it goes to a blocking thread;
/// below it the hand-over would cost more than it saves.
const INLINE_PLAIN_MAX: usize = 1 << 20;
const INLINE_DENSE_MAX: usize = 64 << 10;

/// Shared by the connections of all listeners.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) settings: Settings,
    pub(super) telemetry: Telemetry,
    intake: Arc<Intake>,
    single_tenant: TenantId,
    /// New requests are refused from here on.
    pub(super) draining: CancellationToken,
    /// Bodies that are still arriving are cut off.
    pub(super) cut: CancellationToken,
}

/// A request that has been read whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) protocol: Protocol,
    pub(super) tenant: TenantId,
    pub(super) media: Media,
    pub(super) encoding: Encoding,
    pub(super) wire: Bytes,
}

impl Receiver {
    pub(super) fn new(
        settings: Settings,
        intake: Arc<Intake>,
        telemetry: Telemetry,
        draining: CancellationToken,
    ) -> Self {
        Self {
            settings,
            telemetry,
            intake,
            single_tenant: TenantId::single(),
            draining,
            cut: CancellationToken::new(),
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
        Ok(TenantId::parse(&id)?)
    }

    /// The whole body as it arrived, within `body_timeout`; `check` bounds it.
    pub(super) async fn read<B>(
        &self,
        protocol: Protocol,
        body: B,
        check: impl Fn(&[u8]) -> Result<(), Refusal>,
    ) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let timeout = self.settings.body_timeout;
        let mut gathered = Gathered::default();
        let read = tokio::select! {
            read = tokio::time::timeout(timeout, gathered.fill(body, check)) => {
                read.unwrap_or(Err(Refusal::BodyTimeout(timeout)))
            }
            () = self.cut.cancelled() => Err(Refusal::Draining),
        };
        self.telemetry.body_received(protocol, gathered.len(), 0);
        read.map(|()| gathered.freeze())
    }

    pub(super) async fn take(self: &Arc<Self>, whole: Whole) -> Result<Taken, Refusal> {
        let _ack = self.telemetry.ack_seconds.start_timer();
        let plain = whole.encoding == Encoding::Identity && whole.media == Media::Protobuf;
        let inline_max = if plain { INLINE_PLAIN_MAX } else { INLINE_DENSE_MAX };
        if whole.wire.len() <= inline_max {
            return self.stage(whole);
        }
        let receiver = Arc::clone(self);
        match tokio::task::spawn_blocking(move || receiver.stage(whole)).await {
            Ok(outcome) => outcome,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // Only a runtime that is being shut down cancels.
            Err(_) => Err(Refusal::Draining),
        }
    }

    fn stage(&self, whole: Whole) -> Result<Taken, Refusal> {
        let max = self.settings.limits.max_inflated_bytes;
        let inflated = body::inflate(whole.encoding, whole.wire, max)?;
        self.telemetry.body_received(whole.protocol, 0, inflated.len());
        // An empty body is an empty request in either form.
        if whole.media == Media::Json && !inflated.is_empty() {
            let wire = json::to_wire(&inflated).map_err(|e| Refusal::Undecodable(e.to_string()))?;
            return Ok(self.intake.take(&whole.tenant, &wire)?);
        }
        Ok(self.intake.take(&whole.tenant, &inflated)?)
    }
}
