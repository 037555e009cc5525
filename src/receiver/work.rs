//! From a request that has been read whole to one that has been counted: inflated, converted, staged,
//! applied. Each step that needs memory waits for it first; large work is done on blocking threads, by
//! a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::answer::{Media, Refusal};
use super::bodies::Account;
use super::inflate::{Inflater, Step};
use super::request::{Head, Receiver, Whole};
use super::stagings::Place;
use super::{TakeError, Taken, json};
use crate::stage::StageError;
use crate::telemetry::Refused;

/// Largest bodies that the task that read them also stages. Protobuf as it came costs some 0.3 ns a
/// byte; what must be inflated or is JSON costs ten times as much and more. Beyond that the work would
/// keep other connections waiting for a millisecond, so it goes to a blocking thread; below it the
/// hand-over would cost more than it saves.
const INLINE_PLAIN_MAX: usize = 1 << 20;
const INLINE_INFLATED_MAX: usize = 512 << 10;
const INLINE_WIRE_MAX: usize = 128 << 10;
const INLINE_JSON_MAX: usize = 64 << 10;

/// One request's work, which stops where it needs something.
struct Work {
    receiver: Arc<Receiver>,
    head: Head,
    account: Account,
    state: State,
    /// What the next step needs has been reserved.
    reserved: bool,
    /// `None`: done here and now, if it is small.
    place: Option<Place>,
}

enum State {
    Inflating {
        inflater: Inflater,
        wire_bytes: usize,
    },
    Inflated(Bytes),
    /// In protobuf.
    Staging(Bytes),
    Taken,
}

enum Pause {
    Done(Taken),
    /// It needs this many bytes of the pool.
    Room(usize),
    /// It is too large to be done here.
    Large,
}

impl Receiver {
    pub(super) async fn take(self: &Arc<Self>, whole: Whole) -> Result<Taken, Refusal> {
        let _ack = self.telemetry.ack_seconds.start_timer();
        let tenant = whole.head.tenant.clone();
        let outcome = self.work(whole).await;
        if let Err(refusal) = &outcome
            && refusal.reason() == Some(Refused::Tenant)
        {
            self.rates.forget(&tenant);
        }
        outcome
    }

    async fn work(self: &Arc<Self>, whole: Whole) -> Result<Taken, Refusal> {
        let mut work = Work::new(Arc::clone(self), whole)?;
        loop {
            let (back, pause) = if work.place.is_some() {
                blocking(work).await?
            } else {
                let pause = work.go_on();
                (work, pause)
            };
            work = back;
            match pause? {
                Pause::Done(taken) => return Ok(taken),
                Pause::Room(bytes) => {
                    work.account.reserve(bytes).await?;
                    work.reserved = true;
                }
                Pause::Large => work.place = Some(self.stagings.place(&work.head.tenant).await),
            }
        }
    }
}

async fn blocking(mut work: Work) -> Result<(Work, Result<Pause, Refusal>), Refusal> {
    let task = Handle::current().spawn_blocking(move || {
        let pause = work.go_on();
        (work, pause)
    });
    match task.await {
        Ok(outcome) => Ok(outcome),
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        // Only a runtime that is being shut down cancels.
        Err(_) => Err(Refusal::Draining),
    }
}

impl Work {
    fn new(receiver: Arc<Receiver>, whole: Whole) -> Result<Self, Refusal> {
        let Whole { head, wire, account } = whole;
        let max = receiver.settings.limits.max_inflated_bytes;
        let wire_bytes = wire.len();
        let state = match Inflater::new(head.encoding, wire.clone(), max)? {
            Some(inflater) => State::Inflating { inflater, wire_bytes },
            None => State::Inflated(wire),
        };
        Ok(Self { receiver, head, account, state, reserved: false, place: None })
    }

    fn go_on(&mut self) -> Result<Pause, Refusal> {
        loop {
            let (needs, inline) = self.needs();
            if !inline && self.place.is_none() {
                return Ok(Pause::Large);
            }
            if needs > 0 && !std::mem::take(&mut self.reserved) {
                self.account.grown();
                if !self.account.try_reserve(needs)? {
                    return Ok(Pause::Room(needs));
                }
            }
            match std::mem::replace(&mut self.state, State::Taken) {
                State::Inflating { inflater, wire_bytes } => self.inflate(inflater, wire_bytes)?,
                State::Inflated(body) => self.inflated(body)?,
                State::Staging(body) => match self.stage(&body) {
                    Err(TakeError::TooLarge(StageError::TooMuchText { .. }))
                        if self.place.is_none() =>
                    {
                        self.state = State::Staging(body);
                        return Ok(Pause::Large);
                    }
                    outcome => return Ok(Pause::Done(outcome?)),
                },
                State::Taken => return Err(Refusal::Draining),
            }
        }
    }

    /// Bytes of the pool that the next step takes, and whether it is small enough to be done here.
    fn needs(&self) -> (usize, bool) {
        match &self.state {
            State::Inflating { inflater, wire_bytes } => {
                // Many small pieces may inflate to nothing.
                let is_small = *wire_bytes <= INLINE_WIRE_MAX;
                (inflater.wants(), is_small && inflater.wants() <= INLINE_INFLATED_MAX)
            }
            State::Inflated(body) if self.is_json(body) => {
                (json::bytes_max(body), body.len() <= INLINE_JSON_MAX)
            }
            State::Inflated(body) | State::Staging(body) => (0, body.len() <= INLINE_PLAIN_MAX),
            State::Taken => (0, true),
        }
    }

    /// An empty body is an empty request in either form.
    fn is_json(&self, body: &Bytes) -> bool {
        self.head.media == Media::Json && !body.is_empty()
    }

    fn inflate(&mut self, mut inflater: Inflater, wire_bytes: usize) -> Result<(), Refusal> {
        match inflater.step()? {
            Step::Whole { inflated, freed } => {
                drop(inflater);
                self.account.release(freed + wire_bytes);
                self.state = State::Inflated(inflated);
            }
            Step::More { freed } | Step::Again { freed } => {
                self.account.release(freed);
                self.state = State::Inflating { inflater, wire_bytes };
            }
        }
        Ok(())
    }

    fn inflated(&mut self, body: Bytes) -> Result<(), Refusal> {
        self.receiver.telemetry.body_received(self.head.protocol, 0, body.len());
        self.receiver.rates.bytes(&self.head.tenant, body.len())?;
        if !self.is_json(&body) {
            self.state = State::Staging(body);
            return Ok(());
        }
        let wire = json::to_wire(&body).map_err(|e| Refusal::Undecodable(e.to_string()))?;
        let freed = body.len() + json::bytes_max(&body) - wire.capacity();
        drop(body);
        self.account.release(freed);
        self.state = State::Staging(wire.into());
        Ok(())
    }

    fn stage(&mut self, body: &[u8]) -> Result<Taken, TakeError> {
        let Self { receiver, head, place, .. } = self;
        let tenant = &head.tenant;
        let admit = |n_spans| Ok(receiver.rates.spans(tenant, n_spans)?);
        match place {
            Some(place) => receiver.intake.take_with(place.stager(), tenant, body, admit),
            None => receiver.intake.take_here(receiver.staging.inline_bytes, tenant, body, admit),
        }
    }
}
