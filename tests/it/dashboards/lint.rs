//! The 17 rules of Grafana's dashboard linter, on a dashboard's JSON.

use serde_json::Value;

use super::promql::{self, RATE_INTERVAL, Selector, Values};

/// What a rule finds in a dashboard: the panel's title, or nothing of a panel, and what is wrong.
pub(crate) type Findings = Vec<(String, String)>;
pub(crate) type Rule = fn(&Value) -> Findings;

/// By the linter's names, which the file of exclusions uses.
pub(crate) const RULES: [(&str, Rule); 17] = [
    ("template-datasource-rule", template_datasource),
    ("template-job-rule", |d| template_label(d, "job", "Job")),
    ("template-instance-rule", |d| template_label(d, "instance", "Instance")),
    ("template-label-promql-rule", template_label_promql),
    ("template-on-time-change-reload-rule", template_reload),
    ("panel-datasource-rule", panel_datasource),
    ("panel-title-description-rule", panel_title_description),
    ("panel-units-rule", panel_units),
    ("panel-no-targets-rule", panel_no_targets),
    ("target-logql-rule", target_logql),
    ("target-logql-auto-rule", target_logql_auto),
    ("target-promql-rule", target_promql),
    ("target-rate-interval-rule", target_rate_interval),
    ("target-job-rule", |d| target_matcher(d, "job")),
    ("target-instance-rule", |d| target_matcher(d, "instance")),
    ("target-counter-agg-rule", target_counter_agg),
    ("uneditable-dashboard", uneditable),
];

/// Panels that show figures, which must say what these are.
const FIGURES: [&str; 6] = ["stat", "singlestat", "graph", "table", "timeseries", "gauge"];
const WITH_QUERIES: [&str; 6] =
    ["stat", "singlestat", "graph", "table", "timeseries", "state-timeline"];
/// Of Grafana's units those that a service's figures may have.
const UNITS: [&str; 25] = [
    "none",
    "string",
    "short",
    "percent",
    "percentunit",
    "bytes",
    "decbytes",
    "bits",
    "Bps",
    "binBps",
    "bps",
    "ns",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "dtdurations",
    "cps",
    "ops",
    "reqps",
    "rps",
    "wps",
    "bool",
    "dateTimeAsIso",
];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["templating"], "list")
}

/// Also those in rows that are folded; rows themselves are no panels of a rule.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels")))
}

fn of_dashboard(wrong: impl IntoIterator<Item = String>) -> Findings {
    wrong.into_iter().map(|wrong| (String::new(), wrong)).collect()
}

/// Of panels of these kinds.
fn of_panels(
    dashboard: &Value,
    kinds: &[&str],
    wrong: impl Fn(&Value) -> Option<String>,
) -> Findings {
    let panels = panels(dashboard).filter(|panel| kinds.contains(&text(panel, "type")));
    panels.filter_map(|panel| Some((text(panel, "title").to_owned(), wrong(panel)?))).collect()
}

/// Of the selectors of each PromQL target; one that does not parse is another rule's.
fn of_selectors(dashboard: &Value, wrong: impl Fn(&Selector) -> Option<String>) -> Findings {
    let values = values(dashboard);
    let of_target = |target: &Value| {
        let parsed = promql::parse(&promql::substituted(text(target, "expr"), &values)).ok()?;
        promql::selectors(&parsed).iter().find_map(&wrong)
    };
    of_panels(dashboard, &WITH_QUERIES, |panel| list(panel, "targets").find_map(of_target))
}

/// With variables as their own names where the rules look for these.
fn values(dashboard: &Value) -> Values {
    let mut values = promql::values_of(dashboard);
    for name in ["job", "instance"] {
        values.entry(name.to_owned()).and_modify(|value| *value = format!("VAR_{name}"));
    }
    values
}

fn template_datasource(dashboard: &Value) -> Findings {
    let sources: Vec<&Value> =
        variables(dashboard).filter(|v| text(v, "type") == "datasource").collect();
    if sources.is_empty() {
        return of_dashboard(["no variable for the data source".to_owned()]);
    }
    let alone = sources.len() == 1;
    let wrong = sources.iter().filter_map(|source| {
        let (kind, name, label) =
            (text(source, "query"), text(source, "name"), text(source, "label"));
        let mut title = kind.to_owned();
        title[..1].make_ascii_uppercase();
        let named = name == format!("{kind}_datasource") || alone && name == "datasource";
        let labelled = label == format!("{title} data source") || alone && label == "Data source";
        (!named || !labelled).then(|| format!("{name} is labelled {label}"))
    });
    of_dashboard(wrong)
}

fn template_label(dashboard: &Value, name: &str, label: &str) -> Findings {
    let Some(variable) = variables(dashboard).find(|v| text(v, "name") == name) else {
        return of_dashboard([format!("no variable {name}")]);
    };
    let source = variable["datasource"]["uid"].as_str().unwrap_or_default();
    let right = source.ends_with("datasource}")
        && source.starts_with("${")
        && text(variable, "type") == "query"
        && text(variable, "label") == label
        && variable["multi"] == true
        && text(variable, "allValue") == ".+";
    of_dashboard((!right).then(|| format!("{name}: {variable}")))
}

fn template_label_promql(dashboard: &Value) -> Findings {
    let call = regex::Regex::new(r"^([a-z_]+)\((.+)\)$").expect("a regex");
    let values = values(dashboard);
    let wrong = |variable: &Value| {
        let query = text(variable, "query");
        let Some(parts) = call.captures(query) else { return Some(format!("no call: {query}")) };
        match &parts[1] {
            "label_values" | "label_names" | "metrics" | "query_result" => {}
            other => return Some(format!("{other} is no function of a variable")),
        }
        let selector = parts[2].rsplit_once(", ").map_or(&parts[2], |(selector, _)| selector);
        promql::parse(&promql::substituted(selector, &values)).err()
    };
    of_dashboard(variables(dashboard).filter(|v| text(v, "type") == "query").filter_map(wrong))
}

fn template_reload(dashboard: &Value) -> Findings {
    let queries = variables(dashboard).filter(|v| text(v, "type") == "query");
    let stale = queries.filter(|variable| variable["refresh"] != 2);
    of_dashboard(stale.map(|variable| format!("{} does not reload", variable["name"])))
}

fn panel_datasource(dashboard: &Value) -> Findings {
    let sources = variables(dashboard).filter(|v| text(v, "type") == "datasource");
    let allowed: Vec<String> = sources.map(|v| format!("${{{}}}", text(v, "name"))).collect();
    of_panels(dashboard, &FIGURES, |panel| {
        let uid = panel["datasource"]["uid"].as_str().unwrap_or_default();
        (!allowed.iter().any(|source| source == uid)).then(|| format!("data source {uid}"))
    })
}

fn panel_title_description(dashboard: &Value) -> Findings {
    of_panels(dashboard, &FIGURES, |panel| {
        let missing = text(panel, "title").is_empty() || text(panel, "description").is_empty();
        missing.then(|| "no title or no description".to_owned())
    })
}

fn panel_units(dashboard: &Value) -> Findings {
    of_panels(dashboard, &FIGURES, |panel| {
        let field = &panel["fieldConfig"];
        let own = |o: &Value| {
            list(o, "properties").find(|p| p["id"] == "unit").map(|p| text(p, "value").to_owned())
        };
        let default = text(&field["defaults"], "unit").to_owned();
        let mut units = list(field, "overrides").filter_map(own).chain([default]);
        units.find(|unit| !UNITS.contains(&unit.as_str())).map(|unit| format!("unit {unit:?}"))
    })
}

fn panel_no_targets(dashboard: &Value) -> Findings {
    of_panels(dashboard, &FIGURES, |panel| {
        list(panel, "targets").next().is_none().then(|| "no targets".to_owned())
    })
}

fn of_loki(dashboard: &Value, wrong: impl Fn(&str) -> bool) -> Findings {
    let is_loki = |target: &&Value| target["datasource"]["type"] == "loki";
    let wrong = |target: &Value| {
        let expr = text(target, "expr");
        wrong(expr).then(|| expr.to_owned())
    };
    let kinds: Vec<&str> = panels(dashboard).map(|panel| text(panel, "type")).collect();
    of_panels(dashboard, &kinds, |panel| list(panel, "targets").filter(is_loki).find_map(wrong))
}

/// As far as a selector of streams goes: no dashboard of ours asks Loki.
fn target_logql(dashboard: &Value) -> Findings {
    let stream =
        regex::Regex::new(r#"\{\s*\w+\s*(=|!=|=~|!~)\s*("[^"]*"|`[^`]*`)"#).expect("a regex");
    of_loki(dashboard, |expr| !stream.is_match(expr))
}

fn target_logql_auto(dashboard: &Value) -> Findings {
    of_loki(dashboard, |expr| expr.split('[').skip(1).any(|range| !range.starts_with("$__auto]")))
}

fn target_promql(dashboard: &Value) -> Findings {
    let values = values(dashboard);
    let parse =
        |target: &Value| promql::parse(&promql::substituted(text(target, "expr"), &values)).err();
    of_panels(dashboard, &WITH_QUERIES, |panel| list(panel, "targets").find_map(parse))
}

fn target_rate_interval(dashboard: &Value) -> Findings {
    of_selectors(dashboard, |selector| {
        let is_rate = matches!(selector.call.as_deref(), Some("rate" | "irate"));
        let other = selector.range.is_some_and(|range| range != RATE_INTERVAL);
        (is_rate && other).then(|| format!("{}: not $__rate_interval", selector.name))
    })
}

fn target_matcher(dashboard: &Value, label: &str) -> Findings {
    of_selectors(dashboard, |selector| {
        let has = selector.has_pattern(label, &format!("VAR_{label}"));
        (!has).then(|| format!("{} without {label}", selector.name))
    })
}

fn target_counter_agg(dashboard: &Value) -> Findings {
    of_selectors(dashboard, |selector| {
        let rated = matches!(selector.call.as_deref(), Some("rate" | "irate" | "increase"));
        let is_rate = rated && selector.range.is_some();
        (selector.name.ends_with("_total") && !is_rate).then(|| selector.name.clone())
    })
}

fn uneditable(dashboard: &Value) -> Findings {
    of_dashboard((dashboard["editable"] != false).then(|| "can be edited".to_owned()))
}
