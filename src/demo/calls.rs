//! Calls that were made: what the ledger books and what spans are made of, each for itself.

use super::topology::{CANARY, Operation, Service, Way};

/// What happened on behalf of one journey.
#[derive(Debug, Clone)]
pub struct Trace {
    pub id: [u8; 16],
    /// So many alike were made.
    pub weight: u32,
    /// The first one is the root; who calls stands before whom it calls.
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub operation: &'static Operation,
    /// `None` where somebody outside or a clock calls.
    pub caller: Option<Instance>,
    /// `None` where no spans are made.
    pub callee: Option<Instance>,
    /// The call for which this one was made.
    pub within: Option<usize>,
    /// Nanoseconds since the root began, as the caller sees them, and as the callee does.
    pub asked: [u64; 2],
    pub served: [u64; 2],
    pub outcome: Outcome,
    /// What it was about, such as a product.
    pub subject: u32,
    /// The name of the span has the subject in it.
    pub subject_in_name: bool,
    /// Of the caller's span, and of the callee's.
    pub span_ids: [[u8; 8]; 2],
    /// What a batch of messages was read from.
    pub messages: Vec<Message>,
}

/// A running copy of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instance {
    pub service: Service,
    pub is_canary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Fine,
    /// A mistake of the caller's: an error for the caller alone.
    Refused,
    Failed,
}

/// One that waits in a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub from: Service,
}

impl Trace {
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        let sent = self.calls.iter().filter(|call| call.operation.way == Way::Send);
        sent.filter_map(|call| {
            let from = call.caller?.service;
            Some(Message { trace_id: self.id, span_id: call.span_ids[0], from })
        })
    }

    /// Nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        self.calls.first().map_or(0, |root| root.asked[1])
    }
}

impl Instance {
    pub(super) fn version(self) -> &'static str {
        if self.is_canary { CANARY.1 } else { self.service.about().version }
    }
}
