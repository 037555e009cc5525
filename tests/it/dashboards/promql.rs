//! Expressions as Grafana would ask them, parsed, and what they select.

use std::collections::BTreeMap;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr};
use serde_json::Value;

/// Values of variables by name.
pub(crate) type Values = BTreeMap<String, String>;

/// Of `$__rate_interval` where it must be told from any other duration.
pub(crate) const RATE_INTERVAL: Duration = Duration::from_secs(11_277_964);

/// What a selector asks for, and of what function it is the argument.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range: Option<Duration>,
    pub(crate) call: Option<String>,
}

impl Selector {
    /// Whether a label must match a pattern that is exactly this.
    pub(crate) fn has_pattern(&self, label: &str, pattern: &str) -> bool {
        let is_it =
            |m: &Matcher| m.name == label && m.value == pattern && matches!(m.op, MatchOp::Re(_));
        self.matchers.iter().any(is_it)
    }
}

/// The time range is a minute, the rate interval long enough to be told apart.
pub(crate) fn values_of(dashboard: &Value) -> Values {
    let seconds = format!("{}s", RATE_INTERVAL.as_secs());
    let built_in = [("__rate_interval", seconds.as_str()), ("__range", "1m"), ("__range_s", "60")];
    let mut values: Values =
        built_in.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name").to_owned();
        let chosen = variable["current"]["value"].as_str().unwrap_or("");
        let all = variable["allValue"].as_str().unwrap_or("");
        let value = if chosen == "$__all" { all } else { chosen };
        values.insert(name, if value.is_empty() { ".+".to_owned() } else { value.to_owned() });
    }
    values
}

/// `$name`, `${name}` and `${name:format}` with their values; what is no variable stays.
pub(crate) fn substituted(expr: &str, values: &Values) -> String {
    let variable = regex::Regex::new(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})").expect("a regex");
    let value = |found: &regex::Captures<'_>| {
        let name = found.get(1).or_else(|| found.get(2)).expect("either").as_str();
        values.get(name).cloned().unwrap_or_else(|| found[0].to_owned())
    };
    variable.replace_all(expr, value).into_owned()
}

pub(crate) fn parse(expr: &str) -> Result<Expr, String> {
    parser::parse(expr).map_err(|error| format!("{expr}: {error}"))
}

pub(crate) fn selectors(expr: &Expr) -> Vec<Selector> {
    let mut found = Vec::new();
    walk(expr, None, &mut found);
    found
}

fn walk(expr: &Expr, call: Option<&str>, found: &mut Vec<Selector>) {
    let mut select = |vs: &parser::VectorSelector, range| {
        let matchers = vs.matchers.matchers.clone();
        let named = |m: &&Matcher| m.name == "__name__";
        let name = vs.name.clone().or_else(|| matchers.iter().find(named).map(|m| m.value.clone()));
        let (name, call) = (name.unwrap_or_default(), call.map(str::to_owned));
        found.push(Selector { name, matchers, range, call });
    };
    match expr {
        Expr::VectorSelector(vs) => select(vs, None),
        Expr::MatrixSelector(ms) => select(&ms.vs, Some(ms.range)),
        Expr::Aggregate(aggregate) => {
            walk(&aggregate.expr, None, found);
            if let Some(parameter) = &aggregate.param {
                walk(parameter, None, found);
            }
        }
        Expr::Unary(unary) => walk(&unary.expr, None, found),
        Expr::Paren(paren) => walk(&paren.expr, None, found),
        Expr::Subquery(subquery) => walk(&subquery.expr, None, found),
        Expr::Binary(binary) => {
            walk(&binary.lhs, None, found);
            walk(&binary.rhs, None, found);
        }
        Expr::Call(call) => {
            call.args.args.iter().for_each(|arg| walk(arg, Some(call.func.name), found));
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}
