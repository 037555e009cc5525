//! The laws of sending: whatever an endpoint does, what it stores in the end is the truth.

use std::collections::BTreeSet;
use std::time::Duration;

use spanmill::collect::{Settings, StaleMarkers};
use spanmill::ledger::Naming;
use spanmill::remote_write::EndpointSettings;
use spanmill::remote_write::relabel::{Action, RelabelConfig, compile_regex};
use spanmill::telemetry::Dropped;
use spanmill::tenant::TenantId;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support;
use crate::support::corpus;
use crate::support::pipeline::{
    CALLS, INTERVAL_MS, Pipeline, SERIES_EACH, START_MS, collect_settings, naming,
};
use crate::support::process::{Config, Spanmill};
use crate::support::receiver::{
    Behaviour, Gate, Received, Receiver, State, answer, close_unanswered, store,
};
use crate::support::send::{Encoding, Protocol, Sender};
use crate::support::stored::{Series, is_marker};

/// Longer than any test: a request that failed is not repeated before the next tick.
const NEVER: Duration = Duration::from_secs(100_000);

fn endpoint(receiver: &Receiver, name: &str) -> EndpointSettings {
    EndpointSettings {
        name: name.to_owned(),
        min_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(5),
        ..support::settings(&receiver.url())
    }
}

/// Failed requests wait for the next tick.
fn impatient(receiver: &Receiver, name: &str) -> EndpointSettings {
    EndpointSettings { min_backoff: NEVER, max_backoff: NEVER, ..endpoint(receiver, name) }
}

/// What every test asks of an endpoint in the end: the totals of the ledger, and a zero before the
/// first value of each life of a series. Answers how long before, in ms.
fn assert_truth(state: &State, pipeline: &Pipeline) -> BTreeSet<i64> {
    let mut gaps = BTreeSet::new();
    for (service, expected) in &pipeline.truth {
        let increase = state.stored.increase(&[("__name__", CALLS), ("service", service)]);
        assert_eq!(increase, *expected, "{service}: {}", show(state, service));
        for (name, factor) in
            [("traces_spanmetrics_latency_count", 1.0), ("traces_spanmetrics_latency_sum", 0.5)]
        {
            let increase = state.stored.increase(&[("__name__", name), ("service", service)]);
            assert_eq!(increase, expected * factor, "{name} of {service}");
        }
        for (le, expected) in [("0.1", 0.0), ("1", *expected), ("+Inf", *expected)] {
            let increase = state.stored.increase(&[("le", le), ("service", service)]);
            assert_eq!(increase, expected, "bucket {le} of {service}");
        }
    }
    for (labels, series) in state.stored.select(&[]) {
        for (i, sample) in series.samples.iter().enumerate() {
            let begins = i == 0 || is_marker(&series.samples[i - 1]);
            if begins {
                assert_eq!(sample.value, 0.0, "a life without a zero: {labels:?} {series:?}");
                let next = series.samples.get(i + 1).expect("a zero has a value behind it");
                gaps.insert(next.timestamp - sample.timestamp);
            }
        }
    }
    gaps
}

fn show(state: &State, service: &str) -> String {
    let calls = state.stored.select(&[("__name__", CALLS), ("service", service)]);
    let requests: Vec<_> = state.requests.iter().map(|r| (r.status, r.stored)).collect();
    format!("{calls:?}; requests: {requests:?}")
}

fn calls<'a>(state: &'a State, service: &str) -> &'a Series {
    let series = state.stored.series(&[("__name__", CALLS), ("service", service)]);
    series.unwrap_or_else(|| panic!("{service} is not there"))
}

fn markers_of(state: &State, service: &str) -> BTreeSet<(usize, Vec<i64>)> {
    let all = state.stored.select(&[("service", service)]);
    assert_eq!(all.len(), SERIES_EACH, "{service}");
    all.into_iter().map(|(_, series)| (series.markers().len(), series.markers())).collect()
}

/// Timestamps of values, zeros and markers aside.
fn value_times(series: &Series) -> Vec<i64> {
    let values = series.samples.iter().filter(|s| !is_marker(s) && s.value != 0.0);
    values.map(|s| s.timestamp).collect()
}

fn tick_ms(n: i64) -> i64 {
    START_MS + n * INTERVAL_MS
}

// ---------------------------------------------------------------------------------------------
// An endpoint that is down

#[tokio::test]
async fn an_outage_of_twenty_intervals_costs_resolution_and_nothing_else() {
    let (down, up) = (Receiver::start().await, Receiver::start().await);
    let mut pipeline = Pipeline::short_lived(collect_settings());
    pipeline.open(endpoint(&down, "down"));
    pipeline.open(endpoint(&up, "up"));
    pipeline.add("steady", 5);
    pipeline.add("ends-before-it-is-told", 3);
    pipeline.tick_delivered().await;

    down.go_down().await;
    for n in 1..=20 {
        pipeline.add("steady", n);
        pipeline.add(&format!("guest-{n}"), n);
        // Comes and goes: several lives.
        if n % 4 == 1 {
            pipeline.add("returns", n);
        }
        pipeline.tick();
        pipeline.delivered("up").await;
    }
    down.come_back();
    pipeline.add("steady", 1);
    pipeline.tick_delivered().await;
    pipeline.add("steady", 1);
    pipeline.tick_delivered().await;

    let (state, undisturbed) = (down.state(), up.state());
    for state in [&state, &undisturbed] {
        assert_eq!(assert_truth(state, &pipeline), [1].into());
    }
    for n in 1_u32..=20 {
        let guest = format!("guest-{n}");
        let ended = tick_ms(i64::from(n) + 2);
        assert_eq!(markers_of(&state, &guest), markers_of(&undisturbed, &guest), "{guest}");
        assert_eq!(markers_of(&state, &guest), [(1, vec![ended])].into(), "{guest}");
    }
    assert_eq!(calls(&state, "returns").markers(), calls(&undisturbed, "returns").markers());
    assert_eq!(calls(&state, "returns").markers().len(), 5);
    assert_eq!(calls(&state, "ends-before-it-is-told").markers(), [tick_ms(2)]);
    assert_eq!(pipeline.dropped("down", Dropped::EndedListFull), 0);
    assert_eq!(pipeline.dropped("down", Dropped::FinalError), 0);
    // The other one got each tick, at once and as a whole.
    let all: Vec<i64> = (1..=23).map(tick_ms).collect();
    assert_eq!(value_times(calls(&undisturbed, "steady")), all);
    assert!(undisturbed.requests.iter().all(|request| request.status == Some(204)));
}

// ---------------------------------------------------------------------------------------------
// No answer

/// Ways in which a request ends so that nobody knows what became of it.
fn silences() -> [Behaviour; 4] {
    [close_unanswered(false), close_unanswered(true), answer(500), answer(500).but_stores()]
}

#[tokio::test]
async fn births_without_an_answer_are_neither_lost_nor_told_twice() {
    for behaviour in silences() {
        for replaced_by_the_next_tick in [false, true] {
            let receiver = Receiver::start().await;
            let mut pipeline = Pipeline::long_lived(collect_settings());
            let settings =
                if replaced_by_the_next_tick { impatient } else { endpoint }(&receiver, "one");
            pipeline.open(settings);
            pipeline.add("old", 2);
            pipeline.tick_delivered().await;

            // Old and new label sets are in one request.
            receiver.script([behaviour.clone()]);
            pipeline.add("old", 3);
            pipeline.add("new", 5);
            pipeline.tick();
            receiver.wait_until("the request", |state| state.requests.len() >= 2).await;
            if !replaced_by_the_next_tick {
                pipeline.delivered("one").await;
            }
            pipeline.add("new", 7);
            pipeline.add("newer", 1);
            pipeline.tick_delivered().await;
            pipeline.add("new", 1);
            pipeline.tick_delivered().await;

            let what = format!("{behaviour:?}, replaced: {replaced_by_the_next_tick}");
            let state = receiver.state();
            assert_truth(&state, &pipeline);
            // The first value is where it belongs, unless the tick has been replaced unstored.
            let times = value_times(calls(&state, "new"));
            assert_eq!(times[times.len() - 2..], [tick_ms(3), tick_ms(4)], "{what}");
            let last: Vec<_> = state.requests.iter().rev().take(1).map(|r| r.status).collect();
            assert_eq!(last, [Some(204)], "{what}: the last tick is one request");
        }
    }
}

#[tokio::test]
async fn a_birth_is_known_after_many_ticks_without_an_answer() {
    for behaviour in silences() {
        let receiver = Receiver::start().await;
        let mut pipeline = Pipeline::long_lived(collect_settings());
        pipeline.open(impatient(&receiver, "one"));
        let n_silent = 4;
        receiver.script(std::iter::repeat_n(behaviour.clone(), n_silent));
        for n in 0..n_silent {
            pipeline.add("first", 2);
            pipeline.add(&format!("later-{n}"), 1);
            pipeline.tick();
            let n_before = n + 1;
            receiver
                .wait_until("the tick's first request", |state| state.requests.len() >= n_before)
                .await;
        }
        pipeline.add("first", 2);
        pipeline.tick_delivered().await;
        assert_truth(&receiver.state(), &pipeline);
    }
}

#[tokio::test]
async fn an_end_without_an_answer_is_told_once() {
    for behaviour in silences() {
        for owes_its_last_value in [false, true] {
            let receiver = Receiver::start().await;
            let n_requests = || receiver.state().requests.len();
            let mut pipeline = Pipeline::short_lived(collect_settings());
            pipeline.open(impatient(&receiver, "one"));
            pipeline.add("steady", 1);
            pipeline.add("guest", 4);
            pipeline.tick_delivered().await;
            if owes_its_last_value {
                receiver.script([answer(503)]);
                pipeline.add("steady", 1);
                pipeline.add("guest", 2);
                pipeline.tick();
                pipeline.answered("one", "503", 1).await;
            }
            pipeline.add("steady", 1);
            receiver.script([behaviour.clone()]);
            // The end first, by itself; then the living.
            let n = n_requests() + 2;
            pipeline.tick();
            let end_ms = pipeline.now_ms;
            receiver.wait_until("both requests", |state| state.requests.len() >= n).await;
            pipeline.add("steady", 1);
            pipeline.tick_delivered().await;
            let n = n_requests() + 1;
            pipeline.add("steady", 1);
            pipeline.tick_delivered().await;
            let what = format!("{behaviour:?}, owes its value: {owes_its_last_value}");
            assert_eq!(n_requests(), n, "nothing of the end is left: {what}");
            let state = receiver.state();
            assert_truth(&state, &pipeline);
            assert_eq!(markers_of(&state, "guest"), [(1, vec![end_ms])].into(), "{what}");
            assert_eq!(pipeline.dropped("one", Dropped::FinalError), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn a_last_value_arrives_though_nobody_knows_whether_its_birth_did() {
    for behaviour in silences() {
        for end_is_silent_too in [false, true] {
            let receiver = Receiver::start().await;
            let mut pipeline = Pipeline::short_lived(collect_settings());
            pipeline.open(impatient(&receiver, "one"));
            // Its birth gets no answer, then the endpoint takes nothing for a while.
            receiver.script([behaviour.clone(), answer(429), answer(429)]);
            for n in 1..=3 {
                pipeline.add("guest", 4);
                pipeline.tick();
                receiver.wait_until("the request", |state| state.requests.len() >= n).await;
            }
            if end_is_silent_too {
                receiver.script([behaviour.clone()]);
                pipeline.tick();
                receiver.wait_until("the end", |state| state.requests.len() >= 4).await;
            }
            pipeline.add("other", 1);
            pipeline.tick_delivered().await;
            let state = receiver.state();
            assert_truth(&state, &pipeline);
            let markers = [(1, vec![tick_ms(4)])].into();
            assert_eq!(markers_of(&state, "guest"), markers, "{behaviour:?}");
        }
    }
}

#[tokio::test]
async fn a_label_set_that_comes_back_waits_for_its_own_end() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::short_lived(collect_settings());
    pipeline.open(impatient(&receiver, "one"));
    receiver.go_down().await;
    pipeline.add("returns", 4);
    for _ in 0..3 {
        pipeline.tick();
    }
    pipeline.answered("one", "error", 1).await;
    // The request with the end fails, the one with the living would not.
    receiver.script([answer(503)]);
    receiver.come_back();
    pipeline.add("returns", 2);
    pipeline.add("other", 1);
    pipeline.tick();
    receiver
        .wait_until("the living", |state| !state.stored.select(&[("service", "other")]).is_empty())
        .await;
    pipeline.add("returns", 2);
    pipeline.add("other", 1);
    pipeline.tick_delivered().await;
    assert_truth(&receiver.state(), &pipeline);
}

// ---------------------------------------------------------------------------------------------
// 400

fn is_bucket(labels: &[(String, String)], service: &str, le: &str) -> bool {
    let has = |name: &str, value: &str| labels.iter().any(|(n, v)| n == name && v == value);
    has("service", service) && has("le", le)
}

/// `ceil(log2(n))` to find the bad one, the rest, and the bad one again if nothing was taken before it.
fn bisection(n_series: usize) -> usize {
    n_series.next_power_of_two().ilog2() as usize + 2
}

/// Every series but the bad ones has a value of this tick.
fn assert_all_have(state: &State, at_ms: i64, n_series: usize) {
    let all = state.stored.select(&[]);
    assert_eq!(all.len(), n_series);
    for (labels, series) in all {
        let last = series.samples.last().map(|s| s.timestamp);
        assert_eq!(last, Some(at_ms), "{labels:?}");
    }
}

#[tokio::test]
async fn a_bad_series_harms_only_itself_from_the_first_tick_on() {
    const N: usize = 20;
    for bad in 0..N {
        let receiver = Receiver::start().await;
        let mut pipeline = Pipeline::long_lived(collect_settings());
        pipeline.open(endpoint(&receiver, "one"));
        let bad_service = format!("s{bad}");
        let le = if bad % 2 == 0 { "+Inf" } else { "0.1" };
        receiver.refuse_series(move |labels| is_bucket(labels, &bad_service, le));
        let all = |pipeline: &mut Pipeline| (0..N).for_each(|n| pipeline.add(&format!("s{n}"), 3));
        all(&mut pipeline);
        pipeline.tick_delivered().await;
        let n_series = N * SERIES_EACH;
        assert_all_have(&receiver.state(), tick_ms(1), n_series - 1);
        let n_requests = receiver.state().requests.len();
        assert!(n_requests <= 1 + bisection(n_series), "{bad}: {n_requests} requests");
        assert_eq!(pipeline.dropped("one", Dropped::FinalError), 2, "its zero and its value");

        all(&mut pipeline);
        pipeline.tick_delivered().await;
        assert_all_have(&receiver.state(), tick_ms(2), n_series - 1);
        assert_eq!(receiver.state().requests.len(), n_requests + 1, "it is left out");
    }
}

#[tokio::test]
async fn a_series_that_turns_bad_is_left_out_until_its_next_birth() {
    const N: usize = 9;
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::short_lived(collect_settings());
    pipeline.open(endpoint(&receiver, "one"));
    let add = |pipeline: &mut Pipeline, range: std::ops::Range<usize>| {
        range.for_each(|n| pipeline.add(&format!("s{n}"), 3));
    };
    add(&mut pipeline, 0..N);
    pipeline.tick_delivered().await;
    receiver.refuse_series(|labels| is_bucket(labels, "s4", "1"));
    add(&mut pipeline, 0..N);
    pipeline.tick_delivered().await;
    let n_requests = receiver.state().requests.len();
    assert!(n_requests <= 2 + bisection(N * SERIES_EACH), "{n_requests} requests");
    assert_eq!(pipeline.dropped("one", Dropped::FinalError), 1);

    // It ends: neither it nor any label set that ends after it takes harm.
    receiver.refuse_series(|_| false);
    add(&mut pipeline, 0..4);
    add(&mut pipeline, 5..N);
    pipeline.tick_delivered().await;
    add(&mut pipeline, 0..N);
    pipeline.tick_delivered().await;
    add(&mut pipeline, 0..N);
    pipeline.tick_delivered().await;
    let state = receiver.state();
    let bad = state.stored.series(&[("service", "s4"), ("le", "1")]).expect("it was born twice");
    assert_eq!(value_times(bad), [tick_ms(1), tick_ms(4), tick_ms(5)]);
    assert_all_have(&state, tick_ms(5), N * SERIES_EACH);
}

#[tokio::test]
async fn without_markers_a_left_out_series_is_forgotten_with_its_label_set() {
    let receiver = Receiver::start().await;
    let settings = Settings { stale_markers: StaleMarkers::Off, ..collect_settings() };
    let mut pipeline = Pipeline::short_lived(settings);
    pipeline.open(impatient(&receiver, "one"));
    receiver.refuse_series(|labels| is_bucket(labels, "bad", "1"));
    pipeline.add("bad", 1);
    pipeline.add("good", 1);
    pipeline.tick_delivered().await;
    pipeline.add("good", 1);
    pipeline.tick_delivered().await;
    // The next one to end owes its last value.
    receiver.script([answer(503)]);
    pipeline.add("good", 1);
    pipeline.tick();
    pipeline.answered("one", "503", 1).await;
    pipeline.tick();
    pipeline.delivered("one").await;
    assert_eq!(receiver.state().stored.increase(&[("service", "good"), ("le", "1")]), 3.0);
}

#[tokio::test]
async fn two_bad_series_in_a_request_harm_only_themselves() {
    const N: usize = 12;
    let buckets = (0..N).flat_map(|n| ["0.1", "1", "+Inf"].map(|le| (format!("s{n}"), le)));
    let buckets: Vec<(String, &str)> = buckets.collect();
    for (i, j) in [(0, 1), (0, 2), (0, 35), (3, 4), (5, 30), (34, 35), (17, 18)] {
        let receiver = Receiver::start().await;
        let mut pipeline = Pipeline::long_lived(collect_settings());
        pipeline.open(endpoint(&receiver, "one"));
        let bad = [buckets[i].clone(), buckets[j].clone()];
        receiver.refuse_series(move |labels| bad.iter().any(|(s, le)| is_bucket(labels, s, le)));
        for n in 1..=2 {
            (0..N).for_each(|n| pipeline.add(&format!("s{n}"), 3));
            pipeline.tick_delivered().await;
            assert_all_have(&receiver.state(), tick_ms(n), N * SERIES_EACH - 2);
        }
        let n_requests = receiver.state().requests.len();
        assert!(n_requests <= 2 + 2 * (1 + bisection(N * SERIES_EACH)), "{n_requests}");
        assert_eq!(pipeline.dropped("one", Dropped::FinalError), 4);
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_for_a_while_gets_all_of_it_afterwards() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::short_lived(collect_settings());
    let settings =
        EndpointSettings { max_samples_per_send: 30, max_shards: 1, ..endpoint(&receiver, "one") };
    pipeline.open(settings);
    pipeline.add("guest", 1);
    (0..6).for_each(|n| pipeline.add(&format!("s{n}"), 3));
    pipeline.tick_delivered().await;
    // It begins in the middle of a tick, while the guest ends.
    receiver.script([store(), store()]);
    receiver.otherwise(answer(400));
    (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
    pipeline.tick();
    pipeline.answered("one", "400", 1).await;
    (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
    pipeline.tick();
    pipeline.answered("one", "400", 20).await;
    receiver.otherwise(store());
    (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
    pipeline.tick_delivered().await;
    assert_truth(&receiver.state(), &pipeline);
    assert_eq!(calls(&receiver.state(), "guest").markers(), [tick_ms(2)]);
}

#[tokio::test]
async fn births_in_doubt_beside_a_bad_series_keep_their_first_value() {
    for behaviour in silences() {
        let receiver = Receiver::start().await;
        let mut pipeline = Pipeline::long_lived(collect_settings());
        pipeline.open(impatient(&receiver, "one"));
        receiver.script([behaviour.clone()]);
        (0..5).for_each(|n| pipeline.add(&format!("s{n}"), 3));
        pipeline.tick();
        receiver.wait_until("the births", |state| state.requests.len() == 1).await;
        receiver.refuse_series(|labels| is_bucket(labels, "s2", "1"));
        (0..5).for_each(|n| pipeline.add(&format!("s{n}"), 4));
        pipeline.tick_delivered().await;
        let state = receiver.state();
        for n in 0..5 {
            let service = format!("s{n}");
            let increase = |le| state.stored.increase(&[("service", &service), ("le", le)]);
            let expected = if n == 2 { [0.0, 7.0] } else { [7.0, 7.0] };
            let found = [increase("1"), increase("+Inf")];
            // What was stored before it turned bad stays.
            let stored_before = n == 2 && found == [3.0, 7.0];
            assert!(found == expected || stored_before, "{service}: {found:?}, {behaviour:?}");
        }
    }
}

#[tokio::test]
async fn a_bisection_without_an_answer_loses_and_repeats_nothing() {
    // The request is refused, and one part of it gets no answer.
    for behaviour in silences() {
        for n_answered in 0..4 {
            let receiver = Receiver::start().await;
            let mut pipeline = Pipeline::long_lived(collect_settings());
            pipeline.open(impatient(&receiver, "one"));
            receiver.script([answer(400)]);
            receiver.script(std::iter::repeat_n(store(), n_answered));
            receiver.script([behaviour.clone()]);
            // Powers of two: parts end where label sets do, until one is left.
            (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
            pipeline.tick();
            receiver.wait_until("the parts", |state| state.requests.len() >= n_answered + 2).await;
            (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
            pipeline.tick_delivered().await;
            let state = receiver.state();
            if n_answered < 3 {
                assert_truth(&state, &pipeline);
            } else {
                // Within a label set: no series of it counts twice.
                let total = state.stored.increase(&[("__name__", CALLS)]);
                assert_eq!(total, 48.0, "{behaviour:?}");
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Endpoints that are slow, busy or hung

#[tokio::test]
async fn a_busy_endpoint_is_asked_again_when_it_said() {
    for status in [429, 503] {
        let receiver = Receiver::start().await;
        let mut pipeline = Pipeline::long_lived(collect_settings());
        pipeline.open(endpoint(&receiver, "one"));
        receiver.script([answer(status).header("retry-after", 1), answer(status)]);
        pipeline.add("a", 5);
        let start = Instant::now();
        pipeline.tick_delivered().await;
        assert!(start.elapsed() >= Duration::from_secs(1), "{status}: {:?}", start.elapsed());
        let attempts = |state: &State| -> Vec<String> {
            state.requests.iter().map(|r| r.header("retry-attempt").to_owned()).collect()
        };
        assert_eq!(attempts(&receiver.state()), ["", "1", "2"]);
        // A newer tick is not held up by what the endpoint said about the one before.
        receiver.script([answer(status).header("retry-after", 300)]);
        pipeline.add("a", 1);
        pipeline.tick();
        receiver.wait_until("the request", |state| state.requests.len() == 4).await;
        pipeline.tick_delivered().await;
        assert_eq!(assert_truth(&receiver.state(), &pipeline), [1].into());
    }
}

#[tokio::test]
async fn a_request_that_times_out_is_repeated_and_counts_once() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    let mut pipeline = Pipeline::long_lived(collect_settings());
    let remote_timeout = Duration::from_millis(200);
    pipeline.open(EndpointSettings { remote_timeout, ..endpoint(&receiver, "one") });
    receiver.script([store().held(&gate), answer(503).held(&gate)]);
    pipeline.add("a", 5);
    pipeline.tick_delivered().await;
    pipeline.add("a", 5);
    pipeline.tick_delivered().await;
    assert_eq!(assert_truth(&receiver.state(), &pipeline), [1].into());
    gate.open();
}

#[tokio::test]
async fn a_hung_endpoint_does_not_delay_another() {
    let (hung, other) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::new();
    hung.otherwise(store().held(&gate));
    let mut pipeline = Pipeline::short_lived(collect_settings());
    pipeline.open(endpoint(&hung, "hung"));
    pipeline.open(endpoint(&other, "other"));
    for n in 1..=5 {
        pipeline.add("steady", 1);
        pipeline.add(&format!("guest-{n}"), 1);
        pipeline.tick();
        pipeline.delivered("other").await;
    }
    assert_eq!(
        value_times(calls(&other.state(), "steady")),
        (1..=5).map(tick_ms).collect::<Vec<_>>()
    );
    gate.open();
    pipeline.add("steady", 1);
    pipeline.tick_delivered().await;
    for receiver in [&hung, &other] {
        assert_truth(&receiver.state(), &pipeline);
    }
}

/// Law: whatever has restarted several times since the last tick got there gets there with the next one, in
/// the order of its lives, however many requests it takes.
#[tokio::test]
async fn histograms_that_restarted_several_times_are_told_in_one_tick() {
    const N: usize = 30;
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::long_lived(collect_settings());
    let max_samples_per_send = 3 * 2 * SERIES_EACH;
    let settings = endpoint(&receiver, "one");
    pipeline.open(EndpointSettings { max_samples_per_send, max_shards: 4, ..settings });
    let add = |pipeline: &mut Pipeline| (0..N).for_each(|n| pipeline.add(&format!("s{n}"), 1));
    add(&mut pipeline);
    pipeline.tick_delivered().await;
    for _ in 0..5 {
        add(&mut pipeline);
        pipeline.restart_histograms();
    }
    add(&mut pipeline);
    pipeline.tick_delivered().await;
    let state = receiver.state();
    assert_eq!(state.stored.violations(), [""; 0]);
    for n in 0..N {
        assert_eq!(calls(&state, &format!("s{n}")).last(), Some(7.0));
        let count =
            [("__name__", "traces_spanmetrics_latency_count"), ("service", &format!("s{n}"))];
        let series = state.stored.series(&count).expect("a histogram");
        assert_eq!((series.markers().len(), series.increase()), (5, 7.0), "{n}");
    }
}

#[tokio::test]
async fn an_endpoint_slower_than_the_interval_gets_every_label_set_in_turn() {
    const N: usize = 12;
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::short_lived(collect_settings());
    let one_label_set = 2 * SERIES_EACH;
    let settings = endpoint(&receiver, "slow");
    let max_samples_per_send = one_label_set;
    pipeline.open(EndpointSettings { max_samples_per_send, max_shards: 1, ..settings });
    let add = |pipeline: &mut Pipeline, tick: usize| {
        (0..N).for_each(|n| pipeline.add(&format!("s{n}"), 1));
        // Something ends at every tick.
        pipeline.add(&format!("guest-{tick}"), 1);
    };
    let mut held = Gate::new();
    receiver.script([store().held(&held)]);
    add(&mut pipeline, 0);
    pipeline.tick();
    for n in 1..=4 * N {
        receiver.wait_until("a request", |state| state.requests.len() == n).await;
        // The next tick is there before this request is answered.
        let next = Gate::new();
        receiver.script([store().held(&next)]);
        add(&mut pipeline, n);
        pipeline.tick();
        held.open();
        held = next;
    }
    let n_requests = |state: &State| -> Vec<usize> {
        let of = |n| calls(state, &format!("s{n}")).samples.len();
        (0..N).map(of).collect()
    };
    let seen = n_requests(&receiver.state());
    assert!(seen.iter().all(|n| *n >= 2), "samples of each label set: {seen:?}");
    held.open();
    add(&mut pipeline, 0);
    pipeline.tick_delivered().await;
    assert_truth(&receiver.state(), &pipeline);
}

// ---------------------------------------------------------------------------------------------
// What is sent

fn rule(action: Action, source: &str, regex: &str) -> RelabelConfig {
    let regex = compile_regex(regex).expect("a valid pattern");
    RelabelConfig { source_labels: vec![source.to_owned()], regex, ..RelabelConfig::new(action) }
}

/// Two ticks of two services through some rules: what is stored, and how many samples were dropped.
async fn relabelled(rules: Vec<RelabelConfig>) -> (Vec<(String, String, usize)>, u64) {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::long_lived(collect_settings());
    pipeline.open(EndpointSettings { write_relabel_configs: rules, ..endpoint(&receiver, "one") });
    for _ in 0..2 {
        pipeline.add("cart", 1);
        pipeline.add("shop", 1);
        pipeline.tick_delivered().await;
    }
    let state = receiver.state();
    let all = state.stored.select(&[]).into_iter().map(|(labels, series)| {
        let get = |name| labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v).to_owned();
        let name = get("__name__").replace("traces_spanmetrics_", "");
        (name + &get("le"), get("service") + &get("app"), series.samples.len())
    });
    (all.collect(), pipeline.dropped("one", Dropped::Relabel))
}

#[tokio::test]
async fn relabelling_drops_renames_and_replaces_and_counts_what_it_drops() {
    let name = "__name__";
    let (stored, dropped) = relabelled(vec![rule(Action::Drop, name, ".*_latency_.*")]).await;
    let both = [("calls_total", "cart", 3), ("calls_total", "shop", 3)];
    let owned = |(a, b, n): &(&str, &str, usize)| ((*a).to_owned(), (*b).to_owned(), *n);
    assert_eq!(stored, both.iter().map(owned).collect::<Vec<_>>());
    // Five series of each, with their zeros at the first tick.
    assert_eq!(dropped, 2 * 5 * 3);

    let mut rename = rule(Action::Replace, name, "traces_spanmetrics_(calls)_total");
    (rename.target_label, rename.replacement) = (name.to_owned(), "${1}".to_owned());
    let (stored, dropped) = relabelled(vec![rename]).await;
    assert_eq!((stored.len(), dropped), (2 * SERIES_EACH, 0));
    assert_eq!(stored[0], owned(&("calls", "cart", 3)));

    let mut replace = rule(Action::Replace, "service", "cart");
    (replace.target_label, replace.replacement) = ("app".to_owned(), "basket".to_owned());
    let mut drop_label = rule(Action::LabelDrop, "", "service");
    drop_label.source_labels.clear();
    let keep = rule(Action::Keep, "app", ".+");
    let (stored, dropped) = relabelled(vec![replace, drop_label, keep]).await;
    assert!(stored.iter().all(|(_, app, n)| app == "basket" && *n == 3), "{stored:?}");
    assert_eq!((stored.len(), dropped), (SERIES_EACH, 3 * SERIES_EACH as u64));

    let (stored, dropped) = relabelled(vec![rule(Action::Drop, name, ".*")]).await;
    assert_eq!((stored.len(), dropped), (0, 2 * 3 * SERIES_EACH as u64));
}

#[tokio::test]
async fn a_bisection_counts_relabelled_samples_once() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::long_lived(collect_settings());
    let rules = vec![rule(Action::Drop, "__name__", ".*_latency_sum")];
    pipeline.open(EndpointSettings { write_relabel_configs: rules, ..endpoint(&receiver, "one") });
    receiver.refuse_series(|labels| is_bucket(labels, "s3", "1"));
    (0..8).for_each(|n| pipeline.add(&format!("s{n}"), 3));
    pipeline.tick_delivered().await;
    assert_eq!(pipeline.dropped("one", Dropped::Relabel), 16);
    assert_eq!(pipeline.dropped("one", Dropped::FinalError), 2);
}

#[tokio::test]
async fn external_instance_and_tenant_labels_are_on_every_series_and_win() {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let receiver = Receiver::start().await;
    let naming = Naming {
        external_labels: vec![label("Zone", "eu"), label("service", "external")],
        instance_label: "__metrics_gen_instance".to_owned(),
        inject_tenant_id_as: "tenant".to_owned(),
        ..naming()
    };
    let mut pipeline = Pipeline::new(collect_settings(), naming, Duration::from_secs(20));
    pipeline.open(endpoint(&receiver, "one"));
    pipeline.add("own", 5);
    pipeline.tick_delivered().await;
    let state = receiver.state();
    let all = state.stored.select(&[
        ("Zone", "eu"),
        ("service", "external"),
        ("__metrics_gen_instance", "here"),
        ("tenant", "team-a"),
    ]);
    assert_eq!((all.len(), state.stored.n_series()), (SERIES_EACH, SERIES_EACH));
}

#[tokio::test]
async fn requests_carry_the_tenant_unless_a_header_of_that_name_is_configured() {
    let receiver = Receiver::start().await;
    let tenant = || Some(TenantId::parse("team-a").expect("a tenant"));
    for (name, tenant, headers, expected) in [
        ("off", None, vec![], ""),
        ("on", tenant(), vec![], "team-a"),
        ("fixed", tenant(), vec![("x-scope-orgid".to_owned(), "all".to_owned())], "all"),
    ] {
        let mut pipeline = Pipeline::long_lived(collect_settings());
        let settings = EndpointSettings { headers, ..endpoint(&receiver, name) };
        pipeline.open_for(settings, tenant);
        pipeline.add(name, 1);
        pipeline.tick_delivered().await;
        let state = receiver.state();
        let found = state.requests.last().map(|r: &Received| r.header("x-scope-orgid").to_owned());
        assert_eq!(found.as_deref(), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn all_samples_of_a_tick_carry_its_time_and_zeros_lie_a_millisecond_before() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::long_lived(collect_settings());
    pipeline.open(endpoint(&receiver, "one"));
    for n in 1..=3 {
        (0..n).for_each(|i| pipeline.add(&format!("s{i}"), 1));
        pipeline.tick_delivered().await;
    }
    let state = receiver.state();
    for n in 0..3 {
        let times: Vec<i64> = (n + 1..=3).map(tick_ms).collect();
        let service = format!("s{n}");
        for (labels, series) in state.stored.select(&[("service", &service)]) {
            let found: Vec<i64> = series.samples.iter().map(|s| s.timestamp).collect();
            let zero = tick_ms(n + 1) - 1;
            let expected: Vec<i64> = std::iter::once(zero).chain(times.iter().copied()).collect();
            assert_eq!(found, expected, "{labels:?}");
        }
    }
}

#[tokio::test]
async fn what_is_added_between_ticks_is_told_though_it_is_stale_at_the_next_one() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::new(collect_settings(), naming(), Duration::from_secs(5));
    pipeline.open(endpoint(&receiver, "one"));
    for n in 1..=3 {
        pipeline.add("guest", n);
        pipeline.tick_delivered().await;
    }
    pipeline.tick_delivered().await;
    assert_eq!(assert_truth(&receiver.state(), &pipeline), [1].into());
    assert_eq!(calls(&receiver.state(), "guest").markers(), [tick_ms(4)]);
}

#[tokio::test]
async fn exemplars_rise_by_a_millisecond_and_are_never_later_than_their_tick() {
    let receiver = Receiver::start().await;
    let mut pipeline = Pipeline::long_lived(collect_settings());
    pipeline.open(endpoint(&receiver, "one"));
    let ends = [
        (tick_ms(1) - 5000, tick_ms(1) - 5000),
        // The same again, and an earlier one.
        (tick_ms(1) - 5000, tick_ms(1) - 4999),
        (tick_ms(1) - 9000, tick_ms(1) - 4998),
        // In the future.
        (tick_ms(9), tick_ms(4)),
        // Older than an hour.
        (tick_ms(0) - 3_600_000, tick_ms(5)),
        (tick_ms(6) - 1, tick_ms(6) - 1),
    ];
    for (end_ms, _) in ends {
        pipeline.add_ended_at("a", 1, end_ms);
        pipeline.tick_delivered().await;
    }
    let state = receiver.state();
    for on in [("__name__", CALLS), ("le", "1")] {
        let series = state.stored.series(&[("service", "a"), on]).expect("it is there");
        let times: Vec<i64> = series.exemplars.iter().map(|e| e.timestamp).collect();
        assert_eq!(times, ends.map(|(_, expected)| expected), "{on:?}");
        let first = &series.exemplars[0];
        let labels: Vec<_> = first.labels.iter().map(|l| (l.name.as_str(), &*l.value)).collect();
        let trace_id = "07".repeat(16);
        assert_eq!(labels, [("traceID", &*trace_id), ("span_id", "0808080808080808")]);
        assert_eq!(first.value, 0.5);
    }
}

// ---------------------------------------------------------------------------------------------
// Shutdown

#[tokio::test]
async fn the_end_at_shutdown_is_a_tick_of_its_own_after_the_final_one() {
    let receiver = Receiver::start().await;
    let settings = Settings { stale_markers: StaleMarkers::Shutdown, ..collect_settings() };
    let mut pipeline = Pipeline::long_lived(settings);
    pipeline.open(endpoint(&receiver, "one"));
    pipeline.add("a", 1);
    pipeline.tick_delivered().await;
    // A busy endpoint gets it nevertheless.
    receiver.script([answer(503), answer(503)]);
    pipeline.add("a", 1);
    pipeline.add("b", 1);
    pipeline.tick();
    pipeline.end_all();
    let (truth, end_ms) = (pipeline.truth.clone(), pipeline.now_ms);
    pipeline.close().await;
    assert_eq!(end_ms, tick_ms(2) + 3);
    let state = receiver.state();
    for (service, expected) in truth {
        let calls = calls(&state, &service);
        assert_eq!(calls.increase(), expected, "{service}");
        assert_eq!(value_times(calls).last(), Some(&tick_ms(2)), "{service}");
        assert_eq!(markers_of(&state, &service), [(1, vec![end_ms])].into(), "{service}");
    }
}

#[tokio::test]
async fn without_markers_none_is_ever_sent() {
    let receiver = Receiver::start().await;
    let settings = Settings { stale_markers: StaleMarkers::Off, ..collect_settings() };
    let mut pipeline = Pipeline::short_lived(settings);
    pipeline.open(impatient(&receiver, "one"));
    pipeline.add("guest", 1);
    pipeline.tick_delivered().await;
    receiver.script([answer(503)]);
    pipeline.add("guest", 1);
    pipeline.add("other", 1);
    pipeline.tick();
    pipeline.answered("one", "503", 1).await;
    pipeline.tick_delivered().await;
    let state = receiver.state();
    assert_truth(&state, &pipeline);
    assert!(state.stored.select(&[]).iter().all(|(_, series)| series.markers().is_empty()));
}

#[tokio::test]
async fn the_final_tick_is_not_spread_over_time() {
    let receiver = Receiver::start().await;
    let settings = Settings { collection_interval: NEVER, ..collect_settings() };
    let mut pipeline = Pipeline::long_lived(settings);
    pipeline.open(EndpointSettings { max_samples_per_send: 1, ..endpoint(&receiver, "one") });
    (0..20).for_each(|n| pipeline.add(&format!("s{n}"), 1));
    pipeline.tick();
    receiver.wait_until("the first of the requests", |state| state.requests.len() == 1).await;
    pipeline.add("s19", 1);
    pipeline.tick();
    let truth = pipeline.truth.clone();
    timeout(Duration::from_secs(10), pipeline.close()).await.expect("nothing is waited for");
    let state = receiver.state();
    for (service, expected) in truth {
        assert_eq!(calls(&state, &service).increase(), expected, "{service}");
    }
}

#[tokio::test]
async fn closing_gives_an_endpoint_two_seconds_to_answer_well() {
    let mut all = JoinSet::new();
    for behaviour in [None, Some(answer(503)), Some(answer(429).header("retry-after", 300))] {
        for has_something_ended in [false, true] {
            all.spawn(close_with_trouble(behaviour.clone(), has_something_ended));
        }
    }
    all.join_all().await;
}

/// `None`: the endpoint is down.
async fn close_with_trouble(behaviour: Option<Behaviour>, has_something_ended: bool) {
    let receiver = Receiver::start().await;
    match &behaviour {
        None => receiver.go_down().await,
        Some(behaviour) => receiver.otherwise(behaviour.clone()),
    }
    let mut pipeline = Pipeline::long_lived(collect_settings());
    pipeline.open(endpoint(&receiver, "one"));
    pipeline.add("a", 1);
    pipeline.tick();
    if has_something_ended {
        pipeline.end_all();
    }
    let start = Instant::now();
    let closed = timeout(Duration::from_secs(10), pipeline.close()).await;
    let took = start.elapsed();
    assert!(closed.is_ok(), "{behaviour:?}");
    let expected = Duration::from_millis(1500)..Duration::from_secs(4);
    assert!(expected.contains(&took), "{took:?}, {behaviour:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_endpoint_keeps_the_program_for_eleven_seconds_and_no_longer() {
    let (hung, other) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::new();
    hung.otherwise(store().held(&gate));
    let mut spanmill = Spanmill::start(&Config {
        collection_interval: "10m",
        run: "hung".to_owned(),
        remote_write: vec![hung.url(), other.url()],
    })
    .await;
    let bodies = corpus::named("py-shop-grpc").bodies();
    let (addr, protocol) = (spanmill.ports.http, Protocol::HttpProtobuf);
    let mut sender = Sender::connect(addr, protocol, Encoding::Identity).await;
    let answer = sender.send(&bodies[0]).await.expect("an answer");
    assert!(answer.is_ok(), "{answer:?}");
    let start = Instant::now();
    spanmill.terminate();
    let status = spanmill.exit_status().await;
    assert_eq!(status.code(), Some(0), "stderr: {}", spanmill.stderr());
    assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
    assert!(other.state().stored.increase(&[("__name__", CALLS)]) > 0.0);
    gate.open();
}
