//! Objective and error budget, from the recording rules.

use super::expr::RANGE;
use super::links::{ANY, SERVICE, SLO, objective, query, sources, to_dashboard, to_traces, top};
use super::model::{Dashboard, Panel, alerts, series, stat, table};

/// Recording rules: share of entry spans with an error, by service.
const RATIO: &str = "service:spanmill_error_ratio:rate";
const RULES: &str = "the recording rules of grafana-dashboards/prometheus";
const BUDGET_STEPS: &[f64] = &[0.5, 0.1];
const BURN_STEPS: &[f64] = &[1.0, 6.0];

pub(super) fn slo() -> Dashboard {
    let about = "How much of what may fail has failed, and how long the rest will do.";
    let services = "label_values(service:spanmill_calls:rate5m, service)";
    Dashboard::new(SLO, "Spanmill / SLO and error budget", about)
        .variables(sources())
        .variables([query("service", "Service", services, ANY), objective(), top()])
        .row("Now", budget_now())
        .row("Budget and burn", budget_series())
        .row("Services", vec![budgets()])
        .folded_row("Who burns it, and alerts", vec![burners(), alerts().size(12, 9)])
}

fn ratio(window: &str) -> String {
    format!("{RATIO}{window}{{service=~\"$service\"}}")
}

/// Times that the budget would be spent in 30 days at this rate.
fn burn(window: &str) -> String {
    format!("{} / (1 - $slo)", ratio(window))
}

fn left() -> String {
    format!("1 - {}", burn("30d"))
}

/// At the rate of the last hour.
fn exhausted() -> String {
    format!("clamp_min({}, 0) * 30 * 86400 / ({} > 0)", left(), burn("1h"))
}

fn budget_now() -> Vec<Panel> {
    let wide = |panel: Panel| panel.size(6, 5).needs(RULES);
    vec![
        wide(
            stat("Good requests, 30 days", "percentunit")
                .query("worst", format!("1 - max({})", ratio("30d")))
                .must()
                .about(
"Of the worst service chosen: share of entry spans without an error.",
),
        ),
        wide(
            stat("Budget left", "percentunit")
                .query("least", format!("min({})", left()))
                .must()
                .steps(BUDGET_STEPS)
                .about(
"Of the service with the least: the errors that 30 days may still have. Below 0 \
 the objective is missed.",
),
        ),
        wide(
            stat("Burn rate, 1 hour", "none")
                .query("worst", format!("max({})", burn("1h")))
                .must()
                .steps(BURN_STEPS)
                .about("1 spends the budget in exactly 30 days, 14.4 in two."),
        ),
        wide(
            stat("Time to exhaustion", "s")
                .query("least", format!("min({})", exhausted()))
                .about("At the rate of the last hour; nothing while nothing fails."),
        ),
    ]
}

fn budget_series() -> Vec<Panel> {
    let burns = series("Burn rates", "none").needs(RULES).steps(BURN_STEPS).about(
        "Of the worst service, over four windows. A short window alone is a spike, both \
         together page.",
    );
    vec![
        series("Budget left", "percentunit")
            .query("{{service}}", format!("bottomk($top, {})", left()))
            .must()
            .needs(RULES)
            .about(
                "The services with the least. Falls while errors come faster than the objective \
                 allows.",
            ),
        ["5m", "1h", "6h", "3d"]
            .iter()
            .fold(burns, |panel, window| panel.query(window, format!("max({})", burn(window))))
            .must(),
    ]
}

fn budgets() -> Panel {
    let table = table("Budgets")
        .needs(RULES)
        .about("One row a service, those with the least budget last; sort by any column.")
        .column("Budget left", "percentunit", left())
        .column("Good, 30 days", "percentunit", format!("1 - {}", ratio("30d")));
    [("Burn 5m", "5m"), ("Burn 1h", "1h"), ("Burn 6h", "6h"), ("Burn 3d", "3d")]
        .iter()
        .fold(table, |table, (title, window)| table.column(title, "none", burn(window)))
        .must()
        .column("Exhausted in", "s", exhausted())
        .link("service", "Service", to_dashboard(SERVICE, "service", "service"))
}

fn burners() -> Panel {
    let entry = r#"@service=~"$service",@kind=~"@SERVER|@CONSUMER""#;
    let bad = RANGE.sum("@service, @span", "@calls", &format!("{entry},@status=\"@ERROR\""));
    let all = RANGE.sum("@service", "@calls", entry);
    let traces = r#"{ resource.service.name = "FIELD:service" && name = "FIELD:span""#;
    let traces = format!("{traces} && status = error }}");
    table("Operations that burn most")
        .size(12, 9)
        .column(
            "Burn",
            "none",
            format!("topk($top, {bad} / on (@service) group_left () ({all} > 0) / (1 - $slo))"),
        )
        .link("@span", "Failed traces", to_traces(&traces))
        .about("What each operation's errors add to its service's burn rate over the time range.")
}
