//! Attributes by the semantic conventions: of services that have moved to the stable ones, and of those
//! that have not.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::calls::{Call, Instance, Outcome};
use super::topology::{Node, Way};

pub(super) type Attributes = Vec<(&'static str, Value)>;

/// Of the resource.
pub(super) fn resource(instance: Instance) -> Attributes {
    let about = instance.service.about();
    let version = instance.version();
    let pod = format!("{}-{}", about.name, version.replace('.', "-"));
    let environment = match about.old_conventions {
        true => "deployment.environment",
        false => "deployment.environment.name",
    };
    [
        ("service.name", about.name),
        ("service.namespace", about.namespace),
        ("service.version", version),
        ("service.instance.id", &pod),
        (environment, "demo"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", about.language),
        ("k8s.cluster.name", "shop"),
        ("k8s.namespace.name", about.namespace),
        ("k8s.pod.name", &pod),
    ]
    .map(|(key, value)| (key, text(value)))
    .into()
}

/// Of the span that `of` makes of a call, as the one who calls or the one who is called.
pub(super) fn attributes(call: &Call, of: Instance, calls: bool) -> Attributes {
    let old = of.service.about().old_conventions;
    let name = |was, is| if old { was } else { is };
    let operation = call.operation;
    let server = match operation.node {
        Node::Service(service) => service.about().name,
        Node::Database { name, .. } | Node::Peer(name) => name,
        Node::Topic(_) => "kafka",
    };
    let mut found = Vec::new();
    match operation.way {
        Way::Http { method, route } => {
            found.push((name("http.method", "http.request.method"), text(method)));
            let status = name("http.status_code", "http.response.status_code");
            found.push((status, Value::IntValue(status_code(call.outcome))));
            if calls {
                let url =
                    format!("http://{server}{route}").replace("{id}", &call.subject.to_string());
                found.push((name("http.url", "url.full"), text(&url)));
            } else {
                found.push(("http.route", text(route)));
            }
        }
        Way::Rpc { service, method } => {
            found.push(("rpc.system", text("grpc")));
            found.push(("rpc.service", text(service)));
            found.push(("rpc.method", text(method)));
            let code = if call.outcome == Outcome::Fine { 0 } else { 9 };
            found.push(("rpc.grpc.status_code", Value::IntValue(code)));
        }
        Way::Query { collection, operation: verb } => {
            if let Node::Database { system, .. } = operation.node {
                found.push((name("db.system", "db.system.name"), text(system)));
            }
            found.push((name("db.operation", "db.operation.name"), text(verb)));
            found.push((name("db.sql.table", "db.collection.name"), text(collection)));
        }
        Way::Send | Way::Receive => {
            let does = if operation.way == Way::Send { "send" } else { "process" };
            found.push(("messaging.system", text("kafka")));
            found.push(("messaging.destination.name", text("orders")));
            found.push((name("messaging.operation", "messaging.operation.type"), text(does)));
            if !call.messages.is_empty() {
                let n = i64::try_from(call.messages.len()).unwrap_or(i64::MAX);
                found.push(("messaging.batch.message_count", Value::IntValue(n)));
            }
        }
        Way::Smtp | Way::Schedule => {}
    }
    if calls {
        found.push((name("net.peer.name", "server.address"), text(server)));
        // Nobody else would say who it was.
        let has_no_spans = matches!(operation.node, Node::Peer(_));
        if has_no_spans || (old && matches!(operation.node, Node::Database { .. })) {
            found.push(("peer.service", text(server)));
        }
    }
    if call.outcome == Outcome::Failed && !old {
        found.push(("error.type", text(error_type(operation.way))));
    }
    found
}

fn status_code(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Fine => 200,
        Outcome::Refused => 404,
        Outcome::Failed => 500,
    }
}

fn error_type(way: Way) -> &'static str {
    match way {
        Way::Http { .. } => "500",
        Way::Rpc { .. } => "FAILED_PRECONDITION",
        Way::Query { .. } => "timeout",
        Way::Smtp | Way::Send | Way::Receive | Way::Schedule => "_OTHER",
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}
