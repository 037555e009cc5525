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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::script::LOOP;
    use super::super::topology::Way;
    use super::*;

    /// Everything that a shop makes while the script plays once.
    fn traces(settings: Settings) -> (Shop, Vec<Trace>) {
        let mut shop = Shop::new(settings);
        let mut traces = Vec::new();
        while shop.script_time() < LOOP {
            traces.extend(shop.step());
        }
        traces.extend(shop.close());
        (shop, traces)
    }

    const FAST: Settings = Settings { seed: 1, rate: 40.0, speed: 20.0 };

    #[test]
    fn the_same_seed_makes_the_same_books_and_another_seed_others() {
        let books = |seed| traces(Settings { seed, ..FAST }).0.books;
        assert_eq!(books(1), books(1));
        assert_ne!(books(1), books(2));
    }

    #[test]
    fn the_first_second_has_every_service_and_every_edge() {
        let mut shop = Shop::new(Settings { rate: 0.001, ..FAST });
        (0..10).for_each(|_| drop(shop.step()));
        let services: BTreeSet<&String> = shop.books.spans.keys().map(|[name, ..]| name).collect();
        assert_eq!(services.len(), 14, "{services:?}");
        let (whole, _) = traces(FAST);
        assert!(shop.books.edges.len() >= 24, "{:?}", shop.books.edges);
        assert_eq!(whole.books.edges.len(), 26, "{:?}", whole.books.edges);
    }

    #[test]
    fn the_rate_is_that_of_all_traces_that_are_made() {
        let (_, traces) = traces(FAST);
        let journeys =
            traces.iter().filter(|trace| matches!(trace.calls[0].operation.way, Way::Http { .. }));
        let n: f64 = journeys.map(|trace| f64::from(trace.weight)).sum();
        let expected = FAST.rate * LOOP.as_secs_f64() / FAST.speed;
        assert!((n / expected - 1.0).abs() < 0.15, "{n}, expected some {expected}");
    }

    #[test]
    fn a_trace_is_booked_as_often_as_it_weighs() {
        let (shop, traces) = traces(FAST);
        let of = |name: &str| {
            let calls = shop.books.spans.iter().filter(|([_, found, ..], _)| found == name);
            calls.map(|(_, n)| n).sum::<f64>()
        };
        let n_sent = traces.iter().filter(|trace| trace.weight == 4).count();
        assert!(n_sent > 10, "{n_sent}");
        assert_eq!(of("GET /suggest"), 4.0 * n_sent as f64);
    }

    #[test]
    fn every_reader_reads_every_message_once() {
        let (shop, traces) = traces(FAST);
        let n_sent = traces.iter().flat_map(Trace::messages).count() as f64;
        assert!(n_sent > 20.0);
        for reader in ["fraud", "accounting", "email"] {
            let edge = ["checkout", reader, "messaging_system"].map(str::to_owned);
            assert_eq!(shop.books.edges[&edge][0], n_sent, "{reader}");
        }
        let batches = traces.iter().map(|trace| trace.calls[0].messages.len());
        assert!(batches.clone().max().is_some_and(|most| (2..=BATCH_MAX).contains(&most)));
    }

    /// What the demo's settings have as `wait`, with room for a busy machine.
    #[test]
    fn readers_never_lag_for_longer_than_the_service_waits() {
        for reader in &READERS {
            assert!(reader.lag < reader.lag_behind && reader.lag_behind + STEP < STEP * 10);
        }
    }

    #[test]
    fn each_fault_shows_where_the_script_says_and_nowhere_else() {
        let (mut shop, mut shares) = (Shop::new(Settings { speed: 2.0, ..FAST }), Vec::new());
        for at in super::super::script::SCENES.iter().skip(1).map(|scene| scene.from).chain([LOOP])
        {
            let before = shop.books.clone();
            while shop.script_time() < at {
                shop.step();
            }
            let figures = |edge: [&str; 2]| {
                let of = |books: &Books| {
                    let mut found = books
                        .edges
                        .iter()
                        .filter(|([client, server, _], _)| [client, server] == edge);
                    found.next().map_or([0.0; 2], |(_, figures)| *figures)
                };
                let [now, then] = [of(&shop.books), of(&before)];
                [now[0] - then[0], now[1] - then[1]]
            };
            let [payments, declined] = figures(["checkout", "payment"]);
            let [asked, missing] = figures(["catalog", "valkey"]);
            let [behind, _] = figures(["catalog", "catalog-db"]);
            shares.push([declined / payments, missing / asked, behind / asked]);
        }
        for (scene, [declined, missing, behind]) in shares.into_iter().enumerate() {
            let expected = [if scene == 2 { 0.26 } else { 0.01 }, f64::from(scene == 3)];
            assert!((declined - expected[0]).abs() < 0.08, "scene {scene}: {declined}");
            assert_eq!(missing, expected[1], "scene {scene}");
            let expected = if scene == 3 { 1.0 } else { 0.15 };
            assert!((behind - expected).abs() < 0.06, "scene {scene}: {behind}");
        }
    }

    #[test]
    fn a_canary_is_slow_and_ids_stand_in_names_while_the_script_says() {
        let (_, traces) = traces(FAST);
        let calls: Vec<_> = traces.iter().flat_map(|trace| &trace.calls).collect();
        let mean_ms = |is_canary: bool| {
            let of_checkout = calls.iter().filter(|call| {
                call.operation.name == "shop.Checkout/PlaceOrder"
                    && call.callee.is_some_and(|callee| callee.is_canary == is_canary)
            });
            let all: Vec<u64> = of_checkout.map(|call| call.served[1] - call.served[0]).collect();
            all.iter().sum::<u64>() as f64 / all.len() as f64 / 1e6
        };
        assert!(mean_ms(true) > 1.8 * mean_ms(false), "{} {}", mean_ms(true), mean_ms(false));
        let with_ids = calls.iter().filter(|call| call.subject_in_name).count();
        assert!(with_ids > 5 && with_ids < calls.len() / 10, "{with_ids}");
    }
}
