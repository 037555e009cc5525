//! Recording rules and alerts: promtool's word on them, expressions, runbooks.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{folder, promql, read, yaml};
use crate::support::command;
use crate::support::process::tool;

const FILES: [&str; 2] = ["prometheus/recording.yml", "prometheus/alerts.yml"];
const TESTS: &str = "prometheus/tests/alerts_test.yml";

/// Of both files, in their order.
pub(crate) fn all_rules() -> Vec<Value> {
    let groups = FILES.map(|file| yaml::list(&yaml::file(file), "/groups").to_vec());
    let groups = groups.into_iter().flatten();
    groups.flat_map(|group| yaml::list(&group, "/rules").to_vec()).collect()
}

/// What the recording rules make.
pub(crate) fn recorded() -> BTreeSet<String> {
    let rules = all_rules();
    rules.iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect()
}

fn alerts() -> Vec<(String, Value)> {
    let named = |rule: Value| Some((rule["alert"].as_str()?.to_owned(), rule));
    all_rules().into_iter().filter_map(named).collect()
}

async fn promtool(arguments: &[&str]) -> command::Output {
    let mut promtool = Command::new(tool("promtool"));
    let paths = arguments.iter().skip(2).map(|path| folder().join(path));
    promtool.args(&arguments[..2]).args(paths);
    command::run(promtool, "").await
}

#[tokio::test]
async fn promtool_takes_the_rules() {
    let checked = promtool(&["check", "rules", FILES[0], FILES[1]]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let config = promtool(&["check", "config", "prometheus/prometheus.yml"]).await;
    assert_eq!(config.code, Some(0), "{config:?}");
}

#[tokio::test]
async fn each_alert_fires_and_stays_silent_as_its_tests_say() {
    let tested = promtool(&["test", "rules", TESTS]).await;
    assert_eq!(tested.code, Some(0), "{tested:?}");
    let cases = yaml::file(TESTS);
    let of_cases = yaml::list(&cases, "/tests").iter();
    let checks: Vec<&Value> =
        of_cases.flat_map(|case| yaml::list(case, "/promql_expr_test")).collect();
    for (alert, _) in alerts() {
        let asked = format!("alertname=\"{alert}\"");
        let mine: Vec<_> =
            checks.iter().filter(|check| yaml::text(check, "/expr").contains(&asked)).collect();
        let silent =
            mine.iter().filter(|check| yaml::list(check, "/exp_samples").is_empty()).count();
        assert!(silent > 0 && silent < mine.len(), "{alert}: {silent} silent of {}", mine.len());
    }
}

#[test]
fn every_expression_of_a_rule_parses() {
    let rules = all_rules();
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in rules {
        promql::parse(yaml::text(&rule, "/expr")).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn each_alert_has_a_runbook_a_dashboard_and_a_severity() {
    let uids: Vec<String> =
        super::dashboards().iter().map(|d| yaml::text(d, "/uid").to_owned()).collect();
    let runbooks = read("runbooks.md");
    let headings: BTreeSet<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, headings, "alerts, and headings of runbooks.md");
    assert_eq!(names.len(), alerts.len(), "an alert's name twice");
    for (name, alert) in &alerts {
        let url = yaml::text(alert, "/annotations/runbook_url");
        assert_eq!(url, format!("runbooks.md#{}", name.to_lowercase()));
        let dashboard = yaml::text(alert, "/annotations/dashboard_url");
        let uid = dashboard.strip_prefix("/d/").and_then(|rest| rest.split('?').next());
        assert!(uids.iter().any(|known| Some(known.as_str()) == uid), "{name}: {dashboard}");
        assert!(["page", "ticket"].contains(&yaml::text(alert, "/labels/severity")), "{name}");
        for text in ["/annotations/summary", "/annotations/description"] {
            assert!(!yaml::text(alert, text).is_empty(), "{name}");
        }
    }
}
