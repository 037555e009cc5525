//! Edges that no corpus has, made by hand: each a trace of its own, with what it gives by either rule.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind::{Client, Consumer, Producer, Server};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

#[derive(Debug)]
struct Odd {
    /// In the order of arrival.
    spans: Vec<ResourceSpans>,
    /// Client, server, type, whether it failed, and the latencies of both sides in milliseconds.
    plain: &'static [&'static str],
    in_order: &'static [&'static str],
}

/// All of them, a request each.
pub(crate) fn requests() -> Vec<Request> {
    let odd = all().into_iter().enumerate();
    odd.map(|(at, odd)| Request { resource_spans: of_trace(odd.spans, at + 1) }).collect()
}

fn of_trace(mut spans: Vec<ResourceSpans>, trace: usize) -> Vec<ResourceSpans> {
    let id = u128::try_from(trace).expect("few").to_be_bytes();
    let made = spans.iter_mut().flat_map(|r| &mut r.scope_spans).flat_map(|s| &mut s.spans);
    made.for_each(|span| span.trace_id = id.to_vec());
    spans
}

/// Calling spans take 200 ms, called ones 100 ms. A parent of 0 is none.
fn span(service: &str, kind: SpanKind, id: u64, parent: u64) -> ResourceSpans {
    let calls = matches!(kind, Client | Producer);
    let made = Span {
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        kind: kind.into(),
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: if calls { 1_200_000_000 } else { 1_100_000_000 },
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![made], ..ScopeSpans::default() }];
    let resource =
        Resource { attributes: pairs(&[("service.name", service)]), ..Resource::default() };
    ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }
}

fn failed(mut spans: ResourceSpans) -> ResourceSpans {
    let status = Status { code: StatusCode::Error.into(), ..Status::default() };
    spans.scope_spans[0].spans[0].status = Some(status);
    spans
}

fn with(attributes: &[(&str, &str)], mut spans: ResourceSpans) -> ResourceSpans {
    spans.scope_spans[0].spans[0].attributes = pairs(attributes);
    spans
}

fn on_resource(attributes: &[(&str, &str)], mut spans: ResourceSpans) -> ResourceSpans {
    spans.resource.get_or_insert_default().attributes.extend(pairs(attributes));
    spans
}

fn pairs(attributes: &[(&str, &str)]) -> Vec<KeyValue> {
    let pair = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue((*value).to_owned())) }),
        ..KeyValue::default()
    };
    attributes.iter().map(pair).collect()
}

fn all() -> Vec<Odd> {
    [mixed_kinds(), several_called(), roots(), lone_callers(), databases(), without()]
        .into_iter()
        .flatten()
        .collect()
}

/// The same by both rules.
fn both(spans: Vec<ResourceSpans>, edges: &'static [&'static str]) -> Odd {
    Odd { spans, plain: edges, in_order: edges }
}

/// The side that comes last decides on the type.
fn mixed_kinds() -> Vec<Odd> {
    vec![
        both(
            vec![span("mixed-1", Producer, 1, 0), span("b", Server, 2, 1)],
            &["mixed-1 -> b () ok 200 100"],
        ),
        both(
            vec![span("b", Server, 2, 1), span("mixed-2", Producer, 1, 0)],
            &["mixed-2 -> b (messaging_system) ok 200 100"],
        ),
        both(
            vec![span("mixed-3", Client, 1, 0), failed(span("b", Consumer, 2, 1))],
            &["mixed-3 -> b (messaging_system) failed 200 100"],
        ),
        both(
            vec![span("b", Consumer, 2, 1), failed(span("mixed-4", Client, 1, 0))],
            &["mixed-4 -> b () failed 200 100"],
        ),
        both(
            vec![span("itself", Client, 1, 0), span("itself", Server, 2, 1)],
            &["itself -> itself () ok 200 100"],
        ),
    ]
}

fn several_called() -> Vec<Odd> {
    let first = || failed(span("first", Server, 2, 1));
    let second = || span("second", Server, 3, 1);
    vec![
        both(
            vec![span("several-1", Client, 1, 0), first(), second()],
            &["several-1 -> first () failed 200 100"],
        ),
        Odd {
            spans: vec![first(), second(), span("several-2", Client, 1, 0)],
            plain: &["several-2 -> first () failed 200 100"],
            in_order: &["several-2 -> second () failed 200 100"],
        },
        Odd {
            spans: vec![second(), span("several-3", Client, 1, 0), first()],
            plain: &["several-3 -> second () ok 200 100"],
            in_order: &["several-3 -> second () ok 200 100"],
        },
    ]
}

fn roots() -> Vec<Odd> {
    vec![
        both(vec![span("root-1", Server, 1, 0)], &["user -> root-1 (virtual_node) ok - 100"]),
        both(
            vec![failed(span("root-2", Consumer, 1, 0))],
            &["user -> root-2 (virtual_node) failed - 100"],
        ),
        both(
            vec![with(&[("peer.service", "browser")], span("root-3", Server, 1, 0))],
            &["browser -> root-3 (virtual_node) ok - 100"],
        ),
        Odd {
            spans: vec![failed(span("root-4", Server, 1, 0)), span("root-5", Server, 2, 0)],
            plain: &[
                "user -> root-4 (virtual_node) failed - 100",
                "user -> root-5 (virtual_node) ok - 100",
            ],
            in_order: &["user -> root-5 (virtual_node) failed - 100"],
        },
    ]
}

fn lone_callers() -> Vec<Odd> {
    let called = [("peer.service", "mail")];
    vec![
        both(
            vec![with(&called, span("lone-1", Client, 1, 0))],
            &["lone-1 -> mail (virtual_node) ok 200 -"],
        ),
        both(
            vec![failed(with(&called, span("lone-2", Producer, 1, 0)))],
            &["lone-2 -> mail (virtual_node) failed 200 -"],
        ),
        both(vec![span("lone-3", Client, 1, 0)], &[]),
        both(vec![on_resource(&called, span("lone-4", Client, 1, 0))], &[]),
        both(vec![with(&called, span("lone-5", Server, 2, 1))], &[]),
        both(
            vec![with(&called, span("met", Client, 1, 0)), span("post", Server, 2, 1)],
            &["met -> post () ok 200 100"],
        ),
    ]
}

fn databases() -> Vec<Odd> {
    let sql = ("db.system", "sql");
    let call = |attributes: &[(&str, &str)]| vec![with(attributes, span("db-1", Client, 1, 0))];
    let port = ("network.peer.port", "5432");
    let address = ("network.peer.address", "10.0.0.1");
    vec![
        both(call(&[sql]), &["db-1 -> sql (database) ok 200 200"]),
        both(call(&[sql, ("db.name", "shop")]), &["db-1 -> shop (database) ok 200 200"]),
        both(call(&[sql, address]), &["db-1 -> 10.0.0.1 (database) ok 200 200"]),
        both(call(&[sql, port, address]), &["db-1 -> 10.0.0.1:5432 (database) ok 200 200"]),
        both(
            call(&[sql, address, ("server.address", "db.shop")]),
            &["db-1 -> db.shop (database) ok 200 200"],
        ),
        both(
            call(&[("server.address", "db.shop"), ("peer.service", "pg"), sql]),
            &["db-1 -> pg (database) ok 200 200"],
        ),
        // A name that is there and empty is no node; what is left is a client with a peer.
        both(call(&[("server.address", ""), sql]), &["db-1 -> sql (virtual_node) ok 200 -"]),
        both(
            vec![on_resource(
                &[("db.name", "whole")],
                with(&[("db.name", "own")], failed(span("db-2", Producer, 1, 0))),
            )],
            &["db-2 -> whole (database) failed 200 200"],
        ),
        both(
            vec![with(&[sql], span("db-3", Client, 1, 0)), span("b", Server, 2, 1)],
            &["db-3 -> sql (database) ok 200 200"],
        ),
        Odd {
            spans: vec![failed(span("b", Server, 2, 1)), with(&[sql], span("db-4", Client, 1, 0))],
            plain: &["db-4 -> sql (database) ok 200 200"],
            in_order: &["db-4 -> sql (database) failed 200 200"],
        },
        both(vec![with(&[sql], span("db-5", Server, 2, 1))], &[]),
    ]
}

fn without() -> Vec<Odd> {
    let mut backwards = span("backwards", Client, 1, 0);
    backwards.scope_spans[0].spans[0].end_time_unix_nano = 0;
    vec![
        both(vec![span("", Client, 1, 0), span("nameless-1", Server, 2, 1)], &[]),
        both(vec![span("nameless-2", Client, 1, 0), span("", Server, 2, 1)], &[]),
        both(
            vec![
                span("between-1", Client, 1, 0),
                span("between-1", SpanKind::Internal, 2, 1),
                span("between-2", Server, 3, 2),
            ],
            &[],
        ),
        both(vec![span("caller", Server, 1, 9), span("called", Server, 2, 1)], &[]),
        both(vec![backwards, span("b", Server, 2, 1)], &["backwards -> b () ok 0 100"]),
    ]
}

mod tests {
    use super::*;
    use crate::support::graph::{self, Edge, Graph, Names};

    #[test]
    fn each_gives_what_stands_beside_it() {
        for (at, odd) in all().into_iter().enumerate() {
            let text = format!("{:?}", odd.spans);
            let request = Request { resource_spans: of_trace(odd.spans, at + 1) };
            let sides = graph::sides(&[request]);
            assert_eq!(lines(&graph::pair_plainly(&sides)), odd.plain, "{text}");
            assert_eq!(lines(&graph::pair_in_order(&sides)), odd.in_order, "{text}");
        }
    }

    fn lines(graph: &Graph) -> Vec<String> {
        graph.edges.iter().map(line).collect()
    }

    fn line(([client, server, kind], edge): (&Names, &Edge)) -> String {
        assert_eq!(edge.requests, 1, "one request an odd edge");
        let result = if edge.failed == 0 { "ok" } else { "failed" };
        let [from, to] = [&edge.client, &edge.server].map(|side| match side.count {
            0 => "-".to_owned(),
            _ => (side.sum * 1e3).to_string(),
        });
        format!("{client} -> {server} ({kind}) {result} {from} {to}")
    }
}
