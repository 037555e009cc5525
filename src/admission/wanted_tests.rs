//! What was wanted, against slow counts: estimates, what is forgotten, what floods do.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::batch::push_label;

const STALE_MS: i64 = 900_000;
const HALF_MS: i64 = STALE_MS / 2;

fn text(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut text = Vec::new();
    labels.iter().for_each(|(name, value)| push_label(&mut text, name, value));
    text
}

impl Wanted {
    fn of_seed(seed: u64) -> Self {
        Self::new([seed, 2, 3, 4], STALE_MS)
    }

    fn spans(&mut self, labels: &[(&str, &str)], spans: u64, at_ms: i64) {
        self.refused(Table::SpanMetrics, Labels::new(&text(labels)), spans, at_ms);
    }

    fn label(&self, service: &str, label: &str) -> Option<&RefusedLabel> {
        let found = self.service(service)?.labels().find(|(_, l)| l.name() == label);
        found.map(|(_, label)| label)
    }

    fn wanted(&self, service: &str, label: &str, admitted: &[&str]) -> u64 {
        let keys = admitted.iter().map(|value| self.key(value));
        self.label(service, label).map_or(0, |label| label.wanted(keys))
    }

    fn overflowed(&self, service: &str) -> u64 {
        self.service(service).map_or(0, RefusedService::overflowed_spans)
    }
}

/// Whether every one of many estimates lies within three standard errors, and they spread around it.
fn assert_estimates(n: u64, estimate: impl Fn(u64) -> u64) {
    let seeds = 40;
    let errors: Vec<f64> = (0..seeds).map(|seed| estimate(seed) as f64 / n as f64 - 1.0).collect();
    let worst = errors.iter().fold(0.0_f64, |most, error| most.max(error.abs()));
    let mean = errors.iter().sum::<f64>() / seeds as f64;
    let sigma = 1.04 / 32.0;
    assert!(worst <= 3.0 * sigma, "of {n}: {errors:?}");
    assert!(mean.abs() <= 3.0 * sigma / (seeds as f64).sqrt(), "of {n}: {mean} on average");
}

#[test]
fn estimates_of_refused_values_are_within_three_standard_errors_over_seeds() {
    for n in [1_000, 20_000] {
        assert_estimates(n, |seed| {
            let mut wanted = Wanted::of_seed(seed);
            for i in 0..n {
                // Spread over the generations, and each value twice.
                let at_ms = HALF_MS * (i * 3 / n) as i64;
                let url = format!("/users/{i}");
                wanted.spans(&[("http.url", &url), ("service", "cart")], 1, at_ms);
                wanted.spans(&[("http.url", &url), ("service", "cart")], 1, at_ms);
            }
            wanted.wanted("cart", "http.url", &[])
        });
    }
}

#[test]
fn few_values_are_counted_exactly() {
    let mut wanted = Wanted::of_seed(1);
    for i in 0..90 {
        wanted.spans(&[("route", &format!("/{i}")), ("service", "cart")], 1, HALF_MS * (i % 2));
        assert_eq!(wanted.wanted("cart", "route", &[]), 1 + i.unsigned_abs());
    }
}

#[test]
fn values_that_are_admitted_are_not_wanted_beyond() {
    for seed in 0..20 {
        let mut wanted = Wanted::of_seed(seed);
        let admitted: Vec<String> = (0..5_000).map(|i| format!("/{i}")).collect();
        let admitted: Vec<&str> = admitted.iter().map(String::as_str).collect();
        for value in &admitted[..2_000] {
            wanted.spans(&[("route", value), ("service", "cart")], 1, 0);
        }
        assert_eq!(wanted.wanted("cart", "route", &admitted), 5_000);
        for i in 0..20_000 {
            wanted.spans(&[("route", &format!("new {i}")), ("service", "cart")], 1, 0);
        }
        let found = wanted.wanted("cart", "route", &admitted) as f64;
        assert!((found / 25_000.0 - 1.0).abs() < 3.0 * 1.04 / 32.0, "{found}");
        assert!(found >= 5_000.0);
    }
}

#[test]
fn spans_of_services_are_exact_and_edges_count_once() {
    let mut wanted = Wanted::of_seed(1);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for i in 0..5_000_u64 {
        let service = format!("service {}", i * i % 997 % 200);
        wanted.spans(&[("service", &service), ("span_name", "GET /")], i, 0);
        *expected.entry(service).or_default() += i;
    }
    let labels = text(&[("client", "service 1"), ("server", "stock")]);
    for table in [Table::EdgeRequests, Table::EdgeServer, Table::EdgeClient, Table::EdgeInfo] {
        wanted.refused(table, Labels::new(&labels), 1_000_000, 0);
    }
    *expected.entry("service 1".to_owned()).or_default() += 1_000_000;
    let found = wanted.services().filter(|service| service.overflowed_spans() > 0);
    let found: BTreeMap<String, u64> =
        found.map(|service| (service.name().to_owned(), service.overflowed_spans())).collect();
    assert_eq!(found, expected);
    assert_eq!(wanted.wanted("service 1", "server", &[]), 1);
    assert_eq!(wanted.wanted("service 1", "client", &[]), 0, "a service has one name");
    assert_eq!(wanted.wanted(OVERFLOW, "client", &[]), 1);
    let n = wanted.wanted(OVERFLOW, "service", &[]) as f64;
    assert!((n / expected.len() as f64 - 1.0).abs() < 0.1, "{n} services");
}

#[test]
fn what_was_refused_is_remembered_for_the_stale_duration_and_half_as_long_again() {
    for start in [0, 1_700_000_000_000] {
        let mut wanted = Wanted::of_seed(1);
        wanted.spans(&[("route", "/old"), ("service", "cart")], 7, start);
        for (at_ms, old) in [
            (STALE_MS, true),
            (STALE_MS + HALF_MS - 1, true),
            (STALE_MS + HALF_MS, false),
            (STALE_MS * 1000, false),
        ] {
            let mut later = wanted.clone();
            later.forget(start + at_ms);
            assert_eq!(later.overflowed("cart"), if old { 7 } else { 0 }, "{at_ms}");
            assert_eq!(later.wanted("cart", "route", &[]), u64::from(old), "{at_ms}");
            assert_eq!(later.is_empty(), !old, "{at_ms}");
            // While others come, it is forgotten likewise.
            let mut busy = wanted.clone();
            for ms in (0..=at_ms.min(STALE_MS * 3)).step_by(10_000).chain([at_ms]) {
                busy.spans(&[("route", "/new"), ("service", "stock")], 1, start + ms);
            }
            assert_eq!(busy.overflowed("cart"), if old { 7 } else { 0 }, "{at_ms}");
            assert_eq!(busy.service("cart").is_some(), old, "{at_ms}");
        }
    }
}

#[test]
fn time_that_goes_back_forgets_nothing() {
    let mut wanted = Wanted::of_seed(1);
    wanted.spans(&[("route", "/a"), ("service", "cart")], 1, STALE_MS * 10);
    wanted.spans(&[("route", "/b"), ("service", "cart")], 1, 5);
    wanted.spans(&[("route", "/c"), ("service", "cart")], 1, i64::MIN);
    assert_eq!((wanted.wanted("cart", "route", &[]), wanted.overflowed("cart")), (3, 3));
}

#[test]
fn a_flood_of_services_is_one_entry_with_their_number_and_the_largest_stay() {
    let mut wanted = Wanted::of_seed(1);
    let n = 100_000;
    for i in 0..n {
        let service = format!("service {i}");
        let at_ms = i * 3 * HALF_MS / n;
        wanted.spans(&[("route", "/"), ("service", &service)], 1, at_ms);
        if i % 50 == 49 {
            wanted.spans(&[("route", &format!("/{i}")), ("service", "large")], 1, at_ms);
        }
    }
    let large = wanted.overflowed("large");
    assert_eq!(large, n.unsigned_abs() / 50, "it stays when generations turn");
    let sum: u64 = wanted.services().map(RefusedService::overflowed_spans).sum();
    let all = n.unsigned_abs() + large;
    assert!(sum <= all && sum > all - 2 * SERVICES_MAX as u64, "{sum} of {all}");
    assert!(wanted.services().count() <= SERVICES_MAX + 1);
    let services = wanted.wanted(OVERFLOW, "service", &[]) as f64;
    assert!((services / n as f64 - 1.0).abs() < 3.0 * 1.04 / 32.0, "{services}");
    let routes = wanted.wanted("large", "route", &[]) as f64;
    assert!((routes / large as f64 - 1.0).abs() < 3.0 * 1.04 / 32.0, "{routes}");
}

#[test]
fn a_flood_of_label_names_is_one_entry_with_their_number() {
    let mut wanted = Wanted::of_seed(1);
    for i in 0..20_000 {
        wanted.spans(&[(&format!("key {i}"), "v"), ("service", "cart")], 1, 0);
    }
    let labels: Vec<&RefusedLabel> =
        wanted.services().flat_map(RefusedService::labels).map(|(_, label)| label).collect();
    assert_eq!(labels.len(), LABELS_OF_SERVICE_MAX + LABELS_OF_REST_MAX);
    let named: BTreeSet<&str> = labels.iter().map(|label| label.name()).collect();
    let n = wanted.wanted(OVERFLOW, OVERFLOW, &[]) + named.len() as u64 - 2;
    assert!((n as f64 / 20_000.0 - 1.0).abs() < 3.0 * 1.04 / 32.0, "{n} names");
}

#[test]
fn labels_with_few_values_make_room_for_those_with_many() {
    let mut wanted = Wanted::of_seed(1);
    for service in 0..1_000 {
        wanted.spans(&[("kind", "a"), ("service", &format!("{service}"))], 1, 0);
    }
    let guilty = |wanted: &mut Wanted, at_ms: i64| {
        for i in 0..500 {
            let labels = [("kind", "b"), ("service", "guilty"), ("url", &*format!("/{i}"))];
            wanted.spans(&labels, 1, at_ms);
        }
    };
    guilty(&mut wanted, 0);
    assert_eq!(wanted.label("guilty", "url").map(RefusedLabel::name), None, "no place is left");
    let beyond = wanted.wanted(OVERFLOW, "url", &[]) as f64;
    assert!((beyond / 500.0 - 1.0).abs() < 0.1, "counted with the others: {beyond}");
    guilty(&mut wanted, HALF_MS);
    let own = wanted.wanted("guilty", "url", &[]) as f64;
    assert!((own / 500.0 - 1.0).abs() < 0.1, "{own}");
}

#[test]
fn the_values_that_were_refused_most_are_known() {
    let mut wanted = Wanted::of_seed(1);
    for i in 0..10_000 {
        wanted.spans(&[("route", &format!("/{i}")), ("service", "cart")], 1, 0);
        wanted.spans(&[("route", "/often"), ("service", "cart")], 3, 0);
    }
    let label = wanted.label("cart", "route").expect("it was refused");
    let (key, _, spans) = label.values().max_by_key(|(.., spans)| *spans).expect("values");
    assert_eq!(key, wanted.key("/often"));
    assert!((20_000..=30_000).contains(&spans), "{spans}");
}

#[test]
fn another_seed_gives_other_hashes() {
    assert_ne!(Wanted::of_seed(1).key("a"), Wanted::of_seed(2).key("a"));
}
