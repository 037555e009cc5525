//! Makes traces: walks an operation's steps, with chance and the script's conditions.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};

use super::calls::{Call, Instance, Message, Outcome, Trace};
use super::script::Conditions;
use super::topology::{CANARY, Fault, Node, Operation, Service, Step};

/// Of what is read from the cache.
const MISSES: f64 = 0.15;
/// The canary's own work, compared with that of the version before it.
const CANARY_SLOWER: f64 = 5.0;
/// A cache that is down is given up after so long.
const CACHE_TIMEOUT_MS: f64 = 25.0;
/// The longest own work, compared with the median.
const SLOWEST: f64 = 20.0;
const NETWORK_MS: std::ops::Range<f64> = 0.2..1.2;
const SUBJECTS: std::ops::Range<u32> = 100_000..1_000_000;

/// The same seed makes the same traces.
#[derive(Debug)]
pub(super) struct Maker {
    random: StdRng,
}

struct Making<'a> {
    random: &'a mut StdRng,
    conditions: &'a Conditions,
    subject: u32,
    calls: Vec<Call>,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// A journey, or what a reader makes of messages.
    pub(super) fn make(
        &mut self,
        operation: &'static Operation,
        weight: u32,
        messages: Vec<Message>,
        conditions: &Conditions,
    ) -> Trace {
        let random = &mut self.random;
        let (id, subject) = (random.random(), random.random_range(SUBJECTS));
        let mut making = Making { random, conditions, subject, calls: Vec::new() };
        making.call(operation, None, 0);
        let mut calls = making.calls;
        calls[0].messages = messages;
        Trace { id, weight, calls }
    }
}

impl Making<'_> {
    /// Answers when the caller has the answer, and what it is.
    fn call(
        &mut self,
        operation: &'static Operation,
        within: Option<usize>,
        begin: u64,
    ) -> (u64, Outcome) {
        let caller = within.and_then(|index| self.calls[index].callee);
        let callee = match operation.node {
            Node::Service(service) => Some(self.instance(service)),
            _ => None,
        };
        let index = self.calls.len();
        self.calls.push(Call {
            operation,
            caller,
            callee,
            within,
            asked: [begin; 2],
            served: [begin; 2],
            outcome: Outcome::Fine,
            subject: self.subject,
            subject_in_name: self.conditions.ids_in_names && operation.fault == Some(Fault::Ids),
            span_ids: [self.random.random(), self.random.random()],
            messages: Vec::new(),
        });
        let between = caller.and(callee).map_or(0.0, |_| self.random.random_range(NETWORK_MS));
        let work = nanoseconds(self.own_ms(operation, callee) / 2.0);
        let served = begin + nanoseconds(between);
        let mut at = served + work;
        let mut outcome = self.own_outcome(operation);
        if outcome == Outcome::Fine {
            (at, outcome) = self.steps(operation, index, at);
        }
        let call = &mut self.calls[index];
        call.served = [served, at + work];
        call.asked[1] = call.served[1] + nanoseconds(between);
        call.outcome = outcome;
        (call.asked[1], outcome)
    }

    /// What it takes from others; ends with the first failure.
    fn steps(
        &mut self,
        operation: &'static Operation,
        within: usize,
        mut at: u64,
    ) -> (u64, Outcome) {
        for step in operation.steps {
            let outcome;
            (at, outcome) = self.step(step, within, at);
            if outcome != Outcome::Fine {
                return (at, outcome);
            }
        }
        (at, Outcome::Fine)
    }

    fn step(&mut self, step: &'static Step, within: usize, at: u64) -> (u64, Outcome) {
        let within = Some(within);
        match *step {
            Step::Ask(operation) | Step::Publish(operation) => self.call(operation, within, at),
            Step::Try(operation, n_tries) => {
                let mut last = (at, Outcome::Failed);
                for _ in 0..n_tries {
                    last = self.call(operation, within, last.0);
                    if last.1 != Outcome::Failed {
                        break;
                    }
                }
                last
            }
            Step::AskAll(operations) => {
                let ends = operations.iter().map(|operation| self.call(operation, within, at).0);
                (ends.max().unwrap_or(at), Outcome::Fine)
            }
            Step::Cached { cache, behind } => match self.call(cache, within, at) {
                (at, Outcome::Fine) if !self.random.random_bool(MISSES) => (at, Outcome::Fine),
                (at, _) => self.call(behind, within, at),
            },
        }
    }

    fn instance(&mut self, service: Service) -> Instance {
        let is_canary = service == CANARY.0 && self.random.random_bool(self.conditions.canary);
        Instance { service, is_canary }
    }

    fn own_ms(&mut self, operation: &Operation, callee: Option<Instance>) -> f64 {
        if operation.fault == Some(Fault::Cache) && self.conditions.cache_is_down {
            return CACHE_TIMEOUT_MS;
        }
        // A sigma that is finite and not negative makes a distribution.
        let factor = LogNormal::new(0.0, operation.spread).map_or(1.0, |d| d.sample(self.random));
        let slower =
            if callee.is_some_and(|callee| callee.is_canary) { CANARY_SLOWER } else { 1.0 };
        operation.own_ms * slower * factor.min(SLOWEST)
    }

    fn own_outcome(&mut self, operation: &Operation) -> Outcome {
        let more = match operation.fault {
            Some(Fault::Payment) => self.conditions.payment_errors,
            Some(Fault::Cache) if self.conditions.cache_is_down => 1.0,
            _ => 0.0,
        };
        let chance: f64 = self.random.random();
        if chance < operation.failing + more {
            Outcome::Failed
        } else if chance > 1.0 - operation.refusing {
            Outcome::Refused
        } else {
            Outcome::Fine
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "own work is some milliseconds, and not negative"
)]
fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6) as u64
}
