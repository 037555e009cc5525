//! Relabelling against a real Prometheus: the same steps over the same series, and the same label sets
//! arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use spanmill::clock::Clock;
use spanmill::config::Inputs;
use spanmill::remote_write::client::{Answer, Client};
use spanmill::remote_write::relabel::{RelabelConfig, apply};
use spanmill::telemetry::Telemetry;

use crate::support::prometheus::Prometheus;
use crate::support::receiver::{Receiver, State, answer, compress, series, write_request};
use crate::support::settings;
use crate::support::stored::{Labels, labels_of};

/// One step, as a user writes it; keys that are left out have Prometheus' defaults.
type Step = &'static [(&'static str, &'static str)];

/// Each case is the steps of one endpoint. Line ends are left out: before 3.0 a dot did not match them.
const CASES: &[&[Step]] = &[
    &[],
    &[&[("action", "keep"), ("source_labels", "service"), ("regex", "shop|cart")]],
    &[&[("action", "keep"), ("source_labels", "service"), ("regex", "sho")]],
    &[&[("action", "keep"), ("source_labels", "service kind"), ("regex", "shop;.+")]],
    &[&[
        ("action", "Keep"),
        ("source_labels", "service kind"),
        ("separator", ""),
        ("regex", "shop[a-z]*"),
    ]],
    &[&[("action", "drop"), ("source_labels", "none"), ("regex", ".+")]],
    &[&[("action", "drop"), ("source_labels", "service"), ("regex", "(?i)SHOP")]],
    &[&[("action", "drop"), ("source_labels", "version"), ("regex", r"\d+\.\d+")]],
    &[&[("action", "drop"), ("source_labels", "text"), ("regex", r"\w+\s\w+.*")]],
    &[&[("action", "keep"), ("source_labels", "text"), ("regex", r".*\bz.*|[^\w]*")]],
    &[&[("action", "keep"), ("source_labels", "text"), ("regex", r"a\-b|\<.*|[[:alpha:]]+\ \w+")]],
    &[&[("action", "keepequal"), ("source_labels", "service"), ("target_label", "peer")]],
    &[&[("action", "dropequal"), ("source_labels", "service"), ("target_label", "peer")]],
    &[&[("source_labels", "service"), ("target_label", "app")]],
    &[&[("source_labels", "none"), ("target_label", "kind")]],
    &[&[("target_label", "kind"), ("replacement", "")]],
    &[&[("target_label", "region"), ("replacement", "eu")]],
    &[&[
        ("source_labels", "version"),
        ("regex", r"(\d+)\.(?P<minor>.*)"),
        ("target_label", "v"),
        ("replacement", "${minor}-$1-$minor"),
    ]],
    &[&[
        ("source_labels", "version"),
        ("regex", r"(.).*"),
        ("target_label", "v"),
        ("replacement", "$1x ${1}x $$1 $9 ${ $"),
    ]],
    &[&[
        ("source_labels", "version"),
        ("regex", r"(.).*"),
        ("target_label", "v"),
        ("replacement", "${1.a} ${} $01 $0 ${01}|$1\u{e9}"),
    ]],
    &[&[
        ("source_labels", "service version"),
        ("regex", "(.*);(.*)"),
        ("target_label", "${1}_v"),
        ("replacement", "is $2"),
    ]],
    &[&[("source_labels", "text"), ("target_label", "x_$1")]],
    &[&[("source_labels", "version"), ("target_label", "$1")]],
    &[&[("source_labels", "service kind"), ("separator", "/"), ("target_label", "service")]],
    &[&[
        ("action", "hashmod"),
        ("source_labels", "service text"),
        ("target_label", "shard"),
        ("modulus", "7"),
    ]],
    &[&[
        ("action", "hashmod"),
        ("source_labels", "none"),
        ("target_label", "shard"),
        ("modulus", "18446744073709551615"),
    ]],
    &[
        &[("action", "labelmap"), ("regex", "k8s_(.+)")],
        &[("action", "labeldrop"), ("regex", "k8s_.+")],
    ],
    &[&[("action", "labelmap"), ("regex", "(k)(8)s_(.+)"), ("replacement", "$1${2}_$3")]],
    &[&[("action", "labelmap"), ("regex", "k8s_.+|service"), ("replacement", "kind")]],
    &[&[("action", "labeldrop"), ("regex", "k8s|kin|kind")]],
    &[&[("action", "labelkeep"), ("regex", "__name__|service")]],
    &[&[("action", "labeldrop"), ("regex", ".*")]],
    &[&[("action", "labeldrop"), ("regex", "__name__")]],
    &[&[("action", "lowercase"), ("source_labels", "service text"), ("target_label", "low")]],
    &[&[("action", "uppercase"), ("source_labels", "text"), ("target_label", "text")]],
    &[&[("action", "uppercase"), ("source_labels", "none"), ("target_label", "service")]],
    &[
        &[("source_labels", "service"), ("target_label", "tmp")],
        &[
            ("source_labels", "tmp kind"),
            ("regex", "shop;(.*)"),
            ("target_label", "kind"),
            ("replacement", "$1"),
        ],
        &[("action", "keep"), ("source_labels", "tmp"), ("regex", "s.*")],
        &[("action", "labeldrop"), ("regex", "tmp")],
    ],
];

fn inputs() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("kind", "server"), ("peer", "cart"), ("service", "shop"), ("version", "1.10")],
        vec![("k8s_node", "n"), ("k8s_pod", "p"), ("service", "cart"), ("peer", "cart")],
        vec![("Upper", "1"), ("service", "Shop"), ("text", "Stra\u{df}e \u{130} \u{3a3}\u{e4}z")],
        vec![("service", "sho"), ("text", "two words"), ("version", "\u{661}.\u{662}")],
        vec![("text", "a-b"), ("version", "x_y")],
        vec![("kind", "8"), ("text", "\u{e4}")],
    ]
}

/// As the program reads it from a configuration.
fn config(step: Step) -> RelabelConfig {
    let entry = json!({ "url": "http://h", "write_relabel_configs": [written(step)] });
    let inputs = Inputs { set: vec![format!("remote_write=[{entry}]")], ..Inputs::default() };
    let loaded = spanmill::config::load(&inputs);
    let mut config = loaded.unwrap_or_else(|problems| panic!("{step:?}: {problems}")).config;
    config.remote_write.endpoints.remove(0).write_relabel_configs.remove(0)
}

/// As JSON, which is YAML too.
fn written(step: Step) -> Value {
    let value = |key: &str, text: &str| match key {
        "source_labels" => json!(text.split(' ').collect::<Vec<_>>()),
        "modulus" => json!(text.parse::<u64>().expect("a number")),
        _ => json!(text),
    };
    step.iter().map(|(key, text)| ((*key).to_owned(), value(key, text))).collect()
}

fn prometheus_config(receiver: &Receiver) -> String {
    let endpoint = |(case, steps): (usize, &&[Step])| {
        json!({
            "url": format!("http://{}/{case}", receiver.address()),
            "write_relabel_configs": steps.iter().map(|step| written(step)).collect::<Vec<_>>(),
            "queue_config": { "max_shards": 1, "batch_send_deadline": "100ms" },
            "metadata_config": { "send": false },
        })
    };
    let endpoints: Vec<Value> = CASES.iter().enumerate().map(endpoint).collect();
    json!({ "remote_write": endpoints }).to_string()
}

/// What arrived for a case: the label sets, and the number of samples.
fn arrived(state: &State, case: usize) -> (BTreeSet<Labels>, usize) {
    let path = format!("/{case}");
    let requests = state.requests.iter().filter(|request| request.path == path);
    let series: Vec<_> = requests.flat_map(|request| &request.write.timeseries).collect();
    (series.iter().map(|s| labels_of(s)).collect(), series.iter().map(|s| s.samples.len()).sum())
}

#[tokio::test]
async fn prometheus_makes_the_same_of_the_same_steps() {
    let receiver = Receiver::start().await;
    // Nothing is stored: relabelled series may well collide.
    receiver.otherwise(answer(204));
    let prometheus = Prometheus::start(&prometheus_config(&receiver)).await;

    let mut expected: BTreeMap<usize, (BTreeSet<Labels>, usize)> = BTreeMap::new();
    let n_rounds = 2;
    for (case, steps) in CASES.iter().enumerate() {
        let configs: Vec<RelabelConfig> = steps.iter().map(|step| config(step)).collect();
        let (sets, n_samples) = expected.entry(case).or_default();
        for input in inputs() {
            let mut labels = labels_of(&series("m", &input, &[]));
            if apply(&configs, &mut labels) {
                sets.insert(labels);
                *n_samples += n_rounds;
            }
        }
    }

    // The second round tells that whatever the first one made has arrived: each queue keeps its order.
    let clock = Arc::new(Clock::default());
    let settings = settings(&prometheus.url());
    let client = Client::new(&settings, &Telemetry::new(), Arc::clone(&clock)).expect("good");
    for round in 0..n_rounds {
        let now = clock.now_unix_ms() + round as i64;
        let all = inputs().into_iter().map(|labels| series("m", &labels, &[(now, 1.0)]));
        assert_eq!(client.send(compress(&write_request(all)), None, 0).await, Answer::Accepted);
    }
    receiver
        .wait_until("the samples of all cases", |state| {
            expected.iter().all(|(case, (_, n_samples))| arrived(state, *case).1 >= *n_samples)
        })
        .await;
    let state = receiver.state();
    for (case, expected) in &expected {
        assert_eq!(arrived(&state, *case), *expected, "{:?}", CASES[*case]);
    }
}
