//! The shop's books against the service's, without a port between: what is dropped, counted twice or
//! changed on the way is found.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;

use super::super::settings;
use super::*;
use crate::collect::Catalog;
use crate::demo::{STEP, Settings, Shop, Verdict, request};
use crate::ledger::Tenant;
use crate::stage::{Plan, Stager};

const START: Duration = Duration::from_secs(1_700_000_000);
/// The whole script in so many steps.
const N_STEPS: u32 = 60;
const SHOP: Settings = Settings { seed: 7, rate: 60.0, speed: 60.0 };

/// What becomes of the books when requests are changed on their way.
fn verdict(mut change: impl FnMut(&mut ExportTraceServiceRequest)) -> Verdict {
    let config = settings(&[], &[]).expect("the demo's settings are in order").config;
    let plan = Plan::new(&config.stage, 1).expect("a plan");
    let (mut stager, bounds) = (Stager::default(), config.stage.bounds());
    let tenant = Tenant::new(TenantId::single(), config.ledger.clone(), &bounds, [0; 4]);
    let (mut shop, mut now, mut n_sent) = (Shop::new(SHOP), START, 0);
    for step in 0..=N_STEPS {
        let traces = if step < N_STEPS { shop.step() } else { shop.close() };
        let made = request(&traces, now);
        n_sent += made.n_spans;
        let mut sent = ExportTraceServiceRequest::decode(&*made.body).expect("a request");
        change(&mut sent);
        let body = sent.encode_to_vec();
        tenant.apply(stager.stage(&plan, &body, now).expect("well formed"), now);
        now += STEP;
    }
    let tick = tenant.tick(now + config.ledger.edges.wait);
    let mut catalog = Catalog::new(&config.collect, tenant.id());
    catalog.collect(tick);
    let counted = Counted::of(&catalog.view().expect("a tick"), &tenant.counts());
    Verdict::new((shop.books(), n_sent), (&counted.books, counted.n_spans))
}

/// Changes the spans of the first resource that has one of that kind, once.
fn once(
    kind: SpanKind,
    change: impl Fn(&mut Vec<Span>, usize),
) -> impl FnMut(&mut ExportTraceServiceRequest) {
    let mut is_done = false;
    move |request| {
        let scopes = request.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans);
        for scope in scopes {
            let found = scope.spans.iter().position(|span| span.kind == kind as i32);
            if let Some(at) = found.filter(|_| !is_done) {
                change(&mut scope.spans, at);
                is_done = true;
            }
        }
    }
}

const KINDS: [SpanKind; 5] = [
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
    SpanKind::Internal,
];

#[test]
fn the_service_counts_what_the_shop_made() {
    let verdict = verdict(|_| {});
    assert_eq!(verdict.differences, Vec::<String>::new());
    assert!(verdict.n_sent > 3000 && verdict.n_edges == [26, 26], "{verdict}");
    assert_eq!(
        verdict.to_string(),
        format!(
            "ledger: sent {0} spans, counted {0}, edges 26 of 26, differences 0",
            verdict.n_sent
        )
    );
}

#[test]
fn a_span_that_is_dropped_is_a_difference_whatever_its_kind() {
    for kind in KINDS {
        let verdict = verdict(once(kind, |spans, at| drop(spans.remove(at))));
        let [difference, ..] = &verdict.differences[..] else { panic!("{kind:?}: none") };
        assert_eq!(verdict.n_counted + 1, verdict.n_sent);
        let (sent, counted) = (verdict.n_sent, verdict.n_counted);
        assert_eq!(*difference, format!("spans: sent {sent}, counted {counted}"));
        assert!(verdict.differences.len() > 1, "{kind:?}: {:?}", verdict.differences);
    }
}

#[test]
fn a_span_that_is_counted_twice_is_a_difference_whatever_its_kind() {
    for kind in KINDS {
        let verdict = verdict(once(kind, |spans, at| spans.push(spans[at].clone())));
        assert_eq!(verdict.n_counted, verdict.n_sent + 1);
        // The edges know a copy when they see one.
        assert_eq!(verdict.n_edges, [26, 26], "{kind:?}");
        assert_eq!(verdict.differences.len(), 2, "{kind:?}: {:?}", verdict.differences);
    }
}

#[test]
fn a_status_a_name_a_weight_and_a_link_that_change_are_differences() {
    let differ = |kind, change: fn(&mut Span)| {
        let verdict = verdict(once(kind, |spans, at| change(&mut spans[at])));
        assert_eq!(verdict.n_counted, verdict.n_sent);
        assert!(!verdict.differences.is_empty(), "{kind:?}");
    };
    differ(SpanKind::Server, |span| span.status = Some(failed()));
    differ(SpanKind::Client, |span| span.name.push('s'));
    differ(SpanKind::Server, |span| span.trace_state = "ot=th:8".to_owned());
    differ(SpanKind::Consumer, |span| span.links.clear());
}

fn failed() -> Status {
    Status { code: 2, message: String::new() }
}
