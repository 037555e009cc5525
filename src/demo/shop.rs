//! The shop at work: step by step of its own time it makes journeys, its readers read, and the ledger
//! books.

use std::collections::VecDeque;
use std::time::Duration;

use rand_distr::{Distribution, Poisson};

use super::calls::{Message, Trace};
use super::ledger::Books;
use super::script::{Conditions, scene, traffic};
use super::topology::{JOURNEYS, Journey, READERS, SCHEDULED};
use super::traces::Maker;

/// Of the shop's time, which runs as the clock does.
pub const STEP: Duration = Duration::from_millis(100);
/// Messages that a reader takes at once.
const BATCH_MAX: usize = 10;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub seed: u64,
    /// Traces a second, on average; at most [`RATE_MAX`].
    pub rate: f64,
    /// So many seconds of the script in a second.
    pub speed: f64,
}

pub const RATE_MAX: f64 = 10_000.0;

#[derive(Debug)]
pub struct Shop {
    settings: Settings,
    maker: Maker,
    books: Books,
    n_steps: u64,
    /// What each reader has not read yet, and in which step it came.
    unread: [VecDeque<(u64, Message)>; READERS.len()],
}

impl Shop {
    pub fn new(settings: Settings) -> Self {
        let maker = Maker::new(settings.seed);
        Self { settings, maker, books: Books::default(), n_steps: 0, unread: Default::default() }
    }

    /// Time of the script.
    pub fn script_time(&self) -> Duration {
        let steps = u32::try_from(self.n_steps).unwrap_or(u32::MAX);
        (STEP * steps).mul_f64(self.settings.speed)
    }

    /// What was made so far.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The traces of the next step, each to be sent once. The first step has one of every journey.
    pub fn step(&mut self) -> Vec<Trace> {
        let at = self.script_time();
        let conditions = &scene(at).conditions;
        let mut traces = Vec::new();
        for Journey { operation, share, weight } in &JOURNEYS {
            let mean =
                self.settings.rate * traffic(at) * STEP.as_secs_f64() * share / f64::from(*weight);
            for _ in 0..self.draw(mean).max(u64::from(self.n_steps == 0)) {
                traces.push(self.maker.make(operation, *weight, Vec::new(), conditions));
            }
        }
        let (operation, every) = SCHEDULED;
        if self.n_steps.is_multiple_of(every) {
            traces.push(self.maker.make(operation, 1, Vec::new(), conditions));
        }
        traces.extend(self.read(conditions, |waited, lag| waited >= lag));
        self.take(&traces);
        self.n_steps += 1;
        traces
    }

    /// The end: readers read what is left.
    pub fn close(&mut self) -> Vec<Trace> {
        let traces = self.read(&scene(self.script_time()).conditions, |_, _| true);
        self.take(&traces);
        traces
    }

    /// How many come where so many come on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, far below what a float holds exactly"
    )]
    fn draw(&mut self, mean: f64) -> u64 {
        let counts = Poisson::new(mean);
        counts.map_or(0, |counts| counts.sample(self.maker.random()) as u64)
    }

    /// Each reader takes what has waited for long enough, in batches.
    fn read(
        &mut self,
        conditions: &Conditions,
        is_due: impl Fn(Duration, Duration) -> bool,
    ) -> Vec<Trace> {
        let mut traces = Vec::new();
        for (reader, unread) in READERS.iter().zip(&mut self.unread) {
            let lag = if conditions.readers_lag { reader.lag_behind } else { reader.lag };
            let waited = |came: u64| STEP * u32::try_from(self.n_steps - came).unwrap_or(u32::MAX);
            let n_due = unread.partition_point(|(came, _)| is_due(waited(*came), lag));
            let due: Vec<Message> = unread.drain(..n_due).map(|(_, message)| message).collect();
            for batch in due.chunks(BATCH_MAX) {
                traces.push(self.maker.make(reader.operation, 1, batch.to_vec(), conditions));
            }
        }
        traces
    }

    /// Into the books, and what was published into the topic.
    fn take(&mut self, traces: &[Trace]) {
        for trace in traces {
            (0..trace.weight).for_each(|_| self.books.book(trace));
            for message in trace.messages() {
                self.unread.iter_mut().for_each(|unread| unread.push_back((self.n_steps, message)));
            }
        }
    }
}
