//! What Grafana and Prometheus are given: dashboards, rules, provisioning.

/// The 17 rules of Grafana's dashboard linter.
mod lint;
/// Every expression asked of a real Prometheus that Spanmill writes to.
mod live;
/// The node graph, as far as it goes without Grafana.
mod node_graph;
/// Expressions with their variables, parsed.
mod promql;
/// Rules and alerts, by promtool.
mod rules;
/// Files that name each other.
mod shipped;
/// YAML as JSON.
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spanmill::dashboards::{TEMPO, all, all_files};

use crate::support::command;
use lint::{Findings, RULES, Rule};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana-dashboards")
}

/// A file of `grafana-dashboards/`.
fn read(path: &str) -> String {
    let path = folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn dashboards() -> Vec<Value> {
    all(&TEMPO).iter().map(spanmill::dashboards::Dashboard::json).collect()
}

fn titled(title: &str) -> Value {
    let found = dashboards().into_iter().find(|dashboard| dashboard["title"] == title);
    found.unwrap_or_else(|| panic!("no dashboard {title}"))
}

/// Paths of files below a folder, relative to it.
fn files_below(root: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(root).expect("below it");
                found.insert(path.to_str().expect("an ASCII path").to_owned());
            }
        }
    }
    found
}

#[test]
fn the_committed_files_are_what_the_program_writes() {
    let files = all_files();
    let paths: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(paths, files_below(&folder()), "what is written, and what is committed");
    for file in &files {
        let renew = "renew it: cargo run -- dashboards --dir grafana-dashboards";
        assert!(read(&file.path) == file.text, "{} is not what is made; {renew}", file.path);
    }
}

#[tokio::test]
async fn the_command_writes_every_file_and_says_where_it_can_not() {
    let target = tempfile::tempdir().expect("a folder");
    let dir = target.path().join("made/for/it");
    let written = command::spanmill(&["dashboards", "--dir", dir.to_str().expect("a path")]).await;
    assert_eq!((written.code, written.stderr.as_str()), (Some(0), ""), "{written:?}");
    assert_eq!(files_below(&dir), files_below(&folder()));

    let file = target.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let refused = command::spanmill(&["dashboards", "--dir", file.to_str().expect("a path")]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let says = format!("can't write {}", file.display());
    assert!(refused.stderr.starts_with(&says), "{refused:?}");
}

#[test]
fn titles_uids_ids_and_places_are_told_apart() {
    let dashboards = dashboards();
    let uids: BTreeSet<&str> = dashboards.iter().filter_map(|d| d["uid"].as_str()).collect();
    assert_eq!(uids.len(), 7, "{uids:?}");
    for dashboard in &dashboards {
        let panels: Vec<&Value> = lint::panels(dashboard).collect();
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{}", dashboard["title"]);
        let shown = panels.iter().filter(|panel| panel["type"] != "row").count();
        assert!(shown <= 25, "{}: {shown} panels", dashboard["title"]);
        let mut taken = BTreeSet::new();
        for panel in &panels {
            let place = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            assert!(place("x") + place("w") <= 24, "{panel}");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
                }
            }
        }
    }
}

/// Every expression that Grafana would ask, with where it stands.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let values = promql::values_of(dashboard);
    let title = dashboard["title"].as_str().expect("a title");
    let targets = lint::panels(dashboard).flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations").iter();
    let annotations = annotations.map(|a| (a["name"].clone(), a["expr"].clone()));
    let substituted = |(place, expr): (Value, Value)| {
        let expr = promql::substituted(expr.as_str().expect("an expression"), &values);
        (format!("{title}, {}", place.as_str().expect("a title")), expr)
    };
    targets.chain(annotations).map(substituted).collect()
}

#[test]
fn every_expression_parses_and_has_all_its_names_and_variables() {
    // What Prometheus itself takes as a reference to a group of a pattern may stay.
    let left = regex::Regex::new(r"@|\$[a-z_]|\$\{[a-z_]").expect("a regex");
    let mut n_expressions = 0;
    for dashboard in dashboards() {
        for (place, expr) in expressions(&dashboard) {
            n_expressions += 1;
            if let Err(error) = promql::parse(&expr) {
                panic!("{place}: {error}");
            }
            assert!(!left.is_match(&expr), "{place}: {expr}");
        }
    }
    assert!(n_expressions > 150, "{n_expressions}");
}

#[test]
fn a_variable_that_is_used_is_there() {
    let used = regex::Regex::new(r"\$\{?([a-z]\w*)").expect("a regex");
    for dashboard in dashboards() {
        let values = promql::values_of(&dashboard);
        let text = dashboard["panels"].to_string();
        for found in used.captures_iter(&text) {
            assert!(values.contains_key(&found[1]), "{}: ${}", dashboard["title"], &found[1]);
        }
    }
}

/// Links of cells, with what they stand on: the panel's title and the field.
fn links(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in lint::panels(dashboard) {
        for own in panel["fieldConfig"]["overrides"].as_array().into_iter().flatten() {
            for property in yaml::list(own, "/properties").iter().filter(|p| p["id"] == "links") {
                let place = format!("{}, {}", panel["title"], own["matcher"]["options"]);
                let urls =
                    yaml::list(property, "/value").iter().map(|link| yaml::text(link, "/url"));
                found.extend(urls.map(|url| (place.clone(), url.to_owned())));
            }
        }
    }
    found
}

#[test]
fn links_lead_to_variables_of_dashboards_and_to_traces() {
    let dashboards = dashboards();
    let target =
        regex::Regex::new(r"^/d/([a-z-]+)\?.*&var-(\w+)=\$\{__data\.fields").expect("a regex");
    let value = regex::Regex::new(r"\$\{[^}]*\}").expect("a regex");
    let (mut n_dashboards, mut n_traces) = (0, 0);
    for (place, url) in dashboards.iter().flat_map(links) {
        if let Some(found) = target.captures(&url) {
            let there = dashboards.iter().find(|d| d["uid"] == found[1]);
            let there = there.unwrap_or_else(|| panic!("{place}: no dashboard {}", &found[1]));
            assert!(promql::values_of(there).contains_key(&found[2]), "{place}: {url}");
            n_dashboards += 1;
            continue;
        }
        // As Grafana opens it, with a value for each variable and field.
        let panes = url.strip_prefix("/explore?schemaVersion=1&panes=");
        let panes = value.replace_all(panes.unwrap_or_else(|| panic!("{place}: {url}")), "a%20b");
        let decoded = percent_encoding::percent_decode_str(&panes).decode_utf8().expect("text");
        let panes: Value =
            serde_json::from_str(&decoded).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(yaml::text(&panes, "/a/queries/0/queryType"), "traceql", "{place}");
        let query = yaml::text(&panes, "/a/queries/0/query");
        assert!(query.starts_with("{ resource.service.name = \"a b\" "), "{place}: {query}");
        assert!(!query.contains(['@', '$']), "{place}: {query}");
        n_traces += 1;
    }
    assert!(n_dashboards >= 8 && n_traces >= 8, "{n_dashboards} and {n_traces}");
}

// === The linter ===

/// Whether an exclusion of the file is of this finding.
fn is_excluded(exclusion: &Value, dashboard: &Value, panel: &str) -> bool {
    let Some(entries) = exclusion["entries"].as_array() else { return true };
    entries.iter().any(|entry| {
        entry["dashboard"] == dashboard["title"] && entry["panel"].as_str().unwrap_or("") == panel
    })
}

#[test]
fn the_linter_finds_nothing_but_what_is_excluded_for_a_reason() {
    let exclusions = yaml::file("dashboards/.lint")["exclusions"].clone();
    for (rule, exclusion) in exclusions.as_object().expect("exclusions by rule") {
        assert!(RULES.iter().any(|(name, _)| name == rule), "{rule} is no rule");
        assert!(!yaml::text(exclusion, "/reason").is_empty(), "{rule} without a reason");
    }
    let (mut left, mut used) = (Vec::new(), BTreeSet::new());
    for dashboard in dashboards() {
        for (name, rule) in RULES {
            for (panel, wrong) in rule(&dashboard) {
                match exclusions.get(name) {
                    Some(exclusion) if is_excluded(exclusion, &dashboard, &panel) => {
                        used.insert(name);
                    }
                    _ => left.push(format!("{} / {panel}: {name}: {wrong}", dashboard["title"])),
                }
            }
        }
    }
    assert!(left.is_empty(), "{} findings:\n{}", left.len(), left.join("\n"));
    assert_eq!(used.len(), exclusions.as_object().expect("a map").len(), "used: {used:?}");
}

/// The exclusions are of what is remote-written; what is scraped has both labels.
#[test]
fn what_is_scraped_is_chosen_by_job_and_instance() {
    for dashboard in [titled("Spanmill / Pipeline health"), titled("Spanmill / Cardinality")] {
        for name in ["target-job-rule", "target-instance-rule"] {
            let wrong = |(_, wrong): &(String, String)| !wrong.starts_with("traces_");
            let found: Findings = rule(name)(&dashboard).into_iter().filter(wrong).collect();
            assert_eq!(found, Findings::new());
        }
    }
}

fn rule(name: &str) -> Rule {
    RULES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no rule {name}")).1
}

/// One bad dashboard a rule, made from a good one.
#[test]
fn each_rule_finds_what_breaks_it() {
    type Spoil = fn(&mut Value);
    /// The first panel with figures: behind the first row.
    fn panel(dashboard: &mut Value) -> &mut Value {
        &mut dashboard["panels"][1]
    }
    fn expr(dashboard: &mut Value, expr: &str) {
        panel(dashboard)["targets"][0]["expr"] = json!(expr);
    }
    fn variable<'a>(dashboard: &'a mut Value, name: &str) -> &'a mut Value {
        let list = dashboard["templating"]["list"].as_array_mut().expect("variables");
        list.iter_mut().find(|v| v["name"] == name).expect("a variable")
    }
    fn loki(dashboard: &mut Value, query: &str) {
        expr(dashboard, query);
        panel(dashboard)["targets"][0]["datasource"] = json!({ "type": "loki", "uid": "loki" });
    }
    let mine = r#"{job=~"$job",instance=~"$instance"}"#;
    let good = titled("Spanmill / Pipeline health");
    let spoils: [(&str, Spoil); 17] = [
        ("template-datasource-rule", |d| {
            variable(d, "prometheus_datasource")["name"] = json!("ds");
        }),
        ("template-job-rule", |d| variable(d, "job")["multi"] = json!(false)),
        ("template-instance-rule", |d| variable(d, "instance")["allValue"] = json!("")),
        ("template-label-promql-rule", |d| {
            variable(d, "job")["query"] = json!("label_values(up{, job)");
        }),
        ("template-on-time-change-reload-rule", |d| variable(d, "job")["refresh"] = json!(1)),
        ("panel-datasource-rule", |d| panel(d)["datasource"]["uid"] = json!("P1809F7CD0C75ACF3")),
        ("panel-title-description-rule", |d| panel(d)["description"] = json!("")),
        ("panel-units-rule", |d| panel(d)["fieldConfig"]["defaults"]["unit"] = json!("parsecs")),
        ("panel-no-targets-rule", |d| panel(d)["targets"] = json!([])),
        ("target-logql-rule", |d| loki(d, "sum(rate({app=[$__auto]))")),
        ("target-logql-auto-rule", |d| loki(d, r#"sum(rate({app="a"}[5m]))"#)),
        ("target-promql-rule", |d| expr(d, "sum(rate(a_total[$__rate_interval])")),
        ("target-rate-interval-rule", |d| expr(d, "rate(a_total[5m])")),
        ("target-job-rule", |d| expr(d, r#"up{instance=~"$instance"}"#)),
        ("target-instance-rule", |d| expr(d, r#"up{job=~"$job",instance="$instance"}"#)),
        ("target-counter-agg-rule", |d| expr(d, "sum(a_total)")),
        ("uneditable-dashboard", |d| d["editable"] = json!(true)),
    ];
    assert_eq!(spoils.map(|(name, _)| name), RULES.map(|(name, _)| name));
    for (name, spoil) in spoils {
        assert_eq!(rule(name)(&good), Findings::new(), "{name} before");
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_eq!(rule(name)(&bad).len(), 1, "{name}: {:?}", rule(name)(&bad));
    }
    // What is right is not found either.
    let mut right = good;
    expr(&mut right, &format!("rate(a_total{mine}[$__rate_interval])"));
    for (name, rule) in RULES {
        assert_eq!(rule(&right), Findings::new(), "{name}");
    }
}
