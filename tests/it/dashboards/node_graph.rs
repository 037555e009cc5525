//! The node graph takes its figures from fields by name: the panel makes those that it reads.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{lint, titled, yaml};
use crate::support::oracle::Labels;
use yaml::{list, text};

/// Of the panel's answers.
pub(crate) const QUERIES: [&str; 9] = [
    "nodes_all",
    "nodes_rate",
    "nodes_latency",
    "nodes_failed",
    "nodes_ok",
    "edges_rate",
    "edges_latency",
    "edges_failed",
    "edges_thickness",
];

pub(crate) fn panel() -> Value {
    let dashboard = titled("Spanmill / Service graph");
    let panel = lint::panels(&dashboard).find(|panel| panel["type"] == "nodeGraph");
    panel.expect("a node graph").clone()
}

/// Fields that calculations make, by the frame that they are made in.
fn made(panel: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for step in list(panel, "/transformations") {
        if step["id"] == "calculateField" {
            let fields = made.entry(text(step, "/filter/options").to_owned()).or_default();
            assert!(fields.insert(text(step, "/options/alias").to_owned()), "{step}");
        }
    }
    made
}

#[test]
fn each_answer_is_joined_and_becomes_a_field_that_the_graph_knows() {
    let panel = panel();
    let queries: Vec<&str> = list(&panel, "/targets").iter().map(|t| text(t, "/refId")).collect();
    assert_eq!(queries, QUERIES);
    let nodes = format!("joinByField-{}", QUERIES[..5].join("-"));
    let edges = format!("joinByField-{}", QUERIES[5..].join("-"));
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected: BTreeMap<String, BTreeSet<String>> = [
        (nodes, fields(&["mainstat", "secondarystat", "arc__failed", "arc__ok"])),
        (edges, fields(&["mainstat", "secondarystat", "detail__failed", "thickness"])),
    ]
    .into();
    assert_eq!(made(&panel), expected);
    for step in list(&panel, "/transformations") {
        if step["id"] != "calculateField" {
            continue;
        }
        // The value of an answer that is in the frame of that name.
        let [value] = list(step, "/options/reduce/include") else { panic!("one value: {step}") };
        let answer = value.as_str().and_then(|v| v.strip_prefix("Value #")).expect("a value");
        assert!(text(step, "/filter/options").contains(answer), "{step}");
    }
    let arcs = list(&panel, "/options/nodes/arcs").iter().map(|arc| text(arc, "/field"));
    assert_eq!(arcs.collect::<BTreeSet<_>>(), BTreeSet::from(["arc__failed", "arc__ok"]));
}

/// What the panel would throw at, or draw wrong, of answers by their names.
pub(crate) fn wrong(answers: &BTreeMap<&str, BTreeMap<Labels, f64>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let label = |labels: &Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
    let ids = |query: &str| -> BTreeMap<String, f64> {
        answers[query].iter().map(|(labels, value)| (label(labels, "id"), *value)).collect()
    };
    let nodes = ids("nodes_all");
    for (name, answer) in answers {
        let ends = if *name == "edges_rate" { vec!["id", "source", "target"] } else { vec!["id"] };
        for labels in answer.keys() {
            let names: Vec<&str> = labels.keys().map(String::as_str).collect();
            if names != ends {
                wrong.push(format!("{name} has {labels:?}"));
            }
        }
    }
    for labels in answers["edges_rate"].keys() {
        for end in ["source", "target"].map(|end| label(labels, end)) {
            if !nodes.contains_key(&end) {
                wrong.push(format!("{end} is no node"));
            }
        }
    }
    let edges = ids("edges_rate");
    let of = |name: &&str, kind: &str| name.starts_with(kind);
    for (kind, known) in [("nodes", &nodes), ("edges", &edges)] {
        for name in answers.keys().filter(|name| of(name, kind)) {
            let strange = ids(name).into_keys().filter(|id| !known.contains_key(id));
            wrong.extend(strange.map(|id| format!("{name}: {id} is unknown")));
        }
    }
    let (failed, ok) = (ids("nodes_failed"), ids("nodes_ok"));
    for id in nodes.keys() {
        let arcs = failed.get(id).unwrap_or(&f64::NAN) + ok.get(id).unwrap_or(&f64::NAN);
        if arcs.is_nan() || (arcs - 1.0).abs() > 1e-9 {
            wrong.push(format!("{id}: arcs sum to {arcs}"));
        }
    }
    wrong
}

#[test]
fn answers_that_the_graph_can_not_draw_are_found() {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let node = |id: &str, value: f64| (labels(&[("id", id)]), value);
    let edge =
        |from: &str, to: &str| (labels(&[("id", "e"), ("source", from), ("target", to)]), 1.0);
    let good = || -> BTreeMap<&str, BTreeMap<Labels, f64>> {
        let mut good: BTreeMap<_, BTreeMap<_, _>> =
            QUERIES.iter().map(|name| (*name, BTreeMap::new())).collect();
        good.insert("nodes_all", [node("a", 1.0), node("b", 1.0)].into());
        good.insert("nodes_failed", [node("a", 0.25), node("b", 0.0)].into());
        good.insert("nodes_ok", [node("a", 0.75), node("b", 1.0)].into());
        good.insert("edges_rate", [edge("a", "b")].into());
        good.insert("edges_failed", [node("e", 0.0)].into());
        good
    };
    assert_eq!(wrong(&good()), Vec::<String>::new());
    let with = |name, answer: BTreeMap<Labels, f64>| {
        let mut bad = good();
        bad.insert(name, answer);
        bad
    };
    for bad in [
        with("edges_rate", [edge("a", "c")].into()),
        with("nodes_failed", [node("a", 0.25)].into()),
        with("nodes_ok", [node("a", 0.5), node("b", 1.0)].into()),
        with("nodes_rate", [node("c", 1.0)].into()),
        with("edges_failed", [node("f", 1.0)].into()),
        with("edges_latency", [edge("a", "b")].into()),
    ] {
        assert_eq!(wrong(&bad).len(), 1, "{bad:?}: {:?}", wrong(&bad));
    }
}
