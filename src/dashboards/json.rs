//! A dashboard as the JSON that Grafana imports (the classic model, schema 41).

use serde_json::{Value, json};

use super::model::{Dashboard, Kind, Panel, Query, Variable};
use super::names::Names;

const GRID: u8 = 24;
const HEADER: u8 = 1;
const OK: &str = "green";
const WARN: &str = "yellow";
const BAD: &str = "red";

impl Dashboard {
    /// Names filled in; what is written is what is asked.
    pub fn named(mut self, names: &Names) -> Self {
        let fill = |text: &mut String| *text = names.fill(text);
        for variable in &mut self.variables {
            match variable {
                Variable::Datasource(_) => {}
                Variable::Query { query, .. } => fill(query),
                Variable::Custom { values, .. } => values.iter_mut().for_each(|(_, v)| fill(v)),
            }
        }
        for annotation in &mut self.annotations {
            fill(&mut annotation.expr);
            fill(&mut annotation.title);
        }
        for panel in self.rows.iter_mut().flat_map(|row| &mut row.panels) {
            for query in &mut panel.queries {
                fill(&mut query.expr);
                fill(&mut query.legend);
            }
            for link in &mut panel.links {
                fill(&mut link.field);
                fill(&mut link.url);
            }
        }
        self
    }

    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "schemaVersion": 41,
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "links": [{
                "title": "Spanmill",
                "type": "dashboards",
                "tags": ["spanmill"],
                "asDropdown": true,
                "includeVars": true,
                "keepTime": true,
            }],
            "templating": { "list": self.variables.iter().map(variable).collect::<Vec<_>>() },
            "annotations": { "list": self.annotations_json() },
            "panels": self.panels_json(),
        })
    }

    fn annotations_json(&self) -> Vec<Value> {
        let one = |annotation: &super::model::Annotation| {
            json!({
                "name": annotation.name,
                "datasource": prometheus(),
                "enable": true,
                "iconColor": "blue",
                "expr": annotation.expr,
                "step": "60s",
                "titleFormat": annotation.title,
            })
        };
        self.annotations.iter().map(one).collect()
    }

    /// Rows of 24 columns, filled from the left; a collapsed row holds its panels.
    fn panels_json(&self) -> Vec<Value> {
        let (mut panels, mut y, mut id) = (Vec::new(), 0_u32, 0_u32);
        for row in &self.rows {
            let row_y = y;
            y += u32::from(HEADER);
            let (mut x, mut lowest, mut inside) = (0, y, Vec::new());
            for panel in &row.panels {
                if x + panel.width > GRID {
                    (x, y) = (0, lowest);
                }
                id += 1;
                let place = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height });
                inside.push(panel_json(panel, id, place));
                x += panel.width;
                lowest = lowest.max(y + u32::from(panel.height));
            }
            y = lowest;
            id += 1;
            let (inner, after) =
                if row.collapsed { (inside, Vec::new()) } else { (Vec::new(), inside) };
            panels.push(json!({
                "id": id,
                "type": "row",
                "title": row.title,
                "collapsed": row.collapsed,
                "gridPos": { "x": 0, "y": row_y, "w": GRID, "h": HEADER },
                "panels": inner,
            }));
            panels.extend(after);
        }
        panels
    }
}

fn variable(variable: &Variable) -> Value {
    match variable {
        Variable::Datasource(kind) => {
            let label = if *kind == "tempo" { "Tempo" } else { "Prometheus" };
            json!({
                "name": format!("{kind}_datasource"),
                "label": format!("{label} data source"),
                "type": "datasource",
                "query": kind,
                "refresh": 1,
            })
        }
        Variable::Query { name, label, query, all } => json!({
            "name": name,
            "label": label,
            "type": "query",
            "datasource": prometheus(),
            "query": query,
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": !all.is_empty(),
            "includeAll": !all.is_empty(),
            "allValue": all,
            "current": match *all {
                "" => json!({}),
                _ => json!({ "text": "All", "value": "$__all" }),
            },
        }),
        Variable::Custom { name, label, values } => {
            let options = values.iter().enumerate();
            let pair = |(text, value): &(String, String)| {
                if text == value { text.clone() } else { format!("{text} : {value}") }
            };
            json!({
                "name": name,
                "label": label,
                "type": "custom",
                "query": values.iter().map(pair).collect::<Vec<_>>().join(","),
                "options": options.clone().map(option).collect::<Vec<_>>(),
                "current": options.clone().map(option).next(),
                "includeAll": false,
                "multi": false,
            })
        }
    }
}

/// One of a list; the first is chosen.
fn option((at, (text, value)): (usize, &(String, String))) -> Value {
    json!({ "text": text, "value": value, "selected": at == 0 })
}

fn prometheus() -> Value {
    json!({ "type": "prometheus", "uid": "${prometheus_datasource}" })
}

fn panel_json(panel: &Panel, id: u32, place: Value) -> Value {
    let targets: Vec<Value> = panel.queries.iter().map(|query| target(panel, query)).collect();
    let transformations = [table_transformations(panel), panel.transformations.clone()].concat();
    json!({
        "id": id,
        "type": plugin(panel.kind),
        "title": panel.title,
        "description": description(panel),
        "datasource": prometheus(),
        "gridPos": place,
        "targets": targets,
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
        "options": options(panel),
        "transformations": transformations,
    })
}

fn plugin(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Series => "timeseries",
        Kind::Table => "table",
        Kind::Heatmap => "heatmap",
        Kind::BarChart => "barchart",
        Kind::Timeline => "state-timeline",
        Kind::NodeGraph => "nodeGraph",
        Kind::Alerts => "alertlist",
    }
}

/// What it means, what it reads and what it needs.
fn description(panel: &Panel) -> String {
    let mut text = panel.about.to_owned();
    let metrics = metrics(panel);
    if !metrics.is_empty() {
        text.push_str(&format!(" Reads {}.", metrics.join(", ")));
    }
    if !panel.needs.is_empty() {
        text.push_str(&format!(" Needs {}.", panel.needs));
    }
    text
}

/// Names of metrics in the expressions, by how they begin.
fn metrics(panel: &Panel) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let begins = |word: &&str| {
        ["traces_", "spanmill_", "service:", "process_"].iter().any(|start| word.starts_with(start))
    };
    let words = panel.queries.iter().flat_map(|query| query.expr.split(|c| !is_word(c)));
    let mut names: Vec<String> = words.filter(begins).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn target(panel: &Panel, query: &Query) -> Value {
    let format = match panel.kind {
        Kind::Heatmap => "heatmap",
        Kind::Table | Kind::NodeGraph | Kind::BarChart => "table",
        _ => "time_series",
    };
    json!({
        "refId": query.ref_id,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": query.is_instant,
        "range": !query.is_instant,
        "format": format,
        "exemplar": matches!(panel.kind, Kind::Heatmap | Kind::Series) && panel.unit == "s",
        "datasource": prometheus(),
    })
}

fn defaults(panel: &Panel) -> Value {
    let no_value = match panel.needs {
        "" => "nothing in this time range".to_owned(),
        needs => format!("nothing here: needs {needs}"),
    };
    let custom = match panel.kind {
        Kind::Series => json!({ "fillOpacity": 10, "showPoints": "never", "spanNulls": false }),
        Kind::Timeline => json!({ "fillOpacity": 80 }),
        Kind::Table => json!({ "filterable": true }),
        _ => json!({}),
    };
    let mut defaults = json!({
        "unit": panel.unit,
        "noValue": no_value,
        "custom": custom,
        "mappings": panel.mappings,
    });
    if !panel.steps.is_empty() {
        defaults["thresholds"] = thresholds(panel.steps);
        if panel.kind != Kind::Series {
            defaults["color"] = json!({ "mode": "thresholds" });
        } else {
            defaults["custom"]["thresholdsStyle"] = json!({ "mode": "dashed" });
        }
    }
    if matches!(panel.unit, "reqps" | "s") && panel.kind == Kind::Series {
        defaults["min"] = json!(0);
    }
    defaults
}

/// Rising steps are worse and worse, falling ones better and better.
fn thresholds(steps: &[f64]) -> Value {
    let falls = steps.len() > 1 && steps[0] > steps[1];
    let (colors, mut steps) =
        (if falls { [BAD, WARN, OK] } else { [OK, WARN, BAD] }, steps.to_vec());
    steps.sort_by(f64::total_cmp);
    let begins = std::iter::once(Value::Null).chain(steps.into_iter().map(Value::from));
    let all = begins.zip(colors).map(|(value, color)| json!({ "value": value, "color": color }));
    json!({ "mode": "absolute", "steps": all.collect::<Vec<_>>() })
}

fn overrides(panel: &Panel) -> Vec<Value> {
    let property = |id: &str, value: Value| json!({ "id": id, "value": value });
    let by_name = |name: &str, properties| matching("byName", name, properties);
    let columns = panel.columns.iter().map(|column| {
        let mut properties = vec![property("unit", json!(column.unit))];
        if column.title.contains("rror") || column.title.contains("ailed") {
            let cell = json!({ "type": "color-text" });
            properties.push(property("custom.cellOptions", cell));
            properties.push(property("thresholds", thresholds(&[0.01, 0.05])));
            properties.push(property("color", json!({ "mode": "thresholds" })));
        }
        by_name(column.title, properties)
    });
    let mut fields: Vec<&str> = panel.links.iter().map(|link| link.field.as_str()).collect();
    fields.dedup();
    let links = fields.into_iter().map(|field| {
        let of_field = panel.links.iter().filter(|link| link.field == field);
        let links = of_field.map(|link| json!({ "title": link.title, "url": link.url }));
        by_name(field, vec![property("links", links.collect())])
    });
    let dashed = json!({ "fill": "dash", "dash": [6, 6] });
    let ghost = (panel.kind == Kind::Series).then(|| {
        let properties =
            vec![property("custom.lineStyle", dashed), property("custom.fillOpacity", json!(0))];
        matching("byRegexp", "/ ago$|^objective$|^limit/", properties)
    });
    columns.chain(links).chain(ghost).collect()
}

fn matching(id: &str, what: &str, properties: Vec<Value>) -> Value {
    json!({ "matcher": { "id": id, "options": what }, "properties": properties })
}

/// Answers side by side in one row for each label set, with the columns' titles.
fn table_transformations(panel: &Panel) -> Vec<Value> {
    if panel.columns.is_empty() {
        return Vec::new();
    }
    let renamed = panel.queries.iter().zip(&panel.columns).map(|(query, column)| {
        let value = format!("Value #{}", query.ref_id);
        (if panel.queries.len() > 1 { value } else { "Value".to_owned() }, json!(column.title))
    });
    let organize = json!({
        "excludeByName": { "Time": true },
        "renameByName": renamed.collect::<serde_json::Map<_, _>>(),
    });
    let first = panel.columns.first().map(|column| column.title);
    vec![
        json!({ "id": "merge", "options": {} }),
        json!({ "id": "organize", "options": organize }),
        json!({ "id": "sortBy", "options": { "sort": [{ "field": first, "desc": true }] } }),
    ]
}

fn options(panel: &Panel) -> Value {
    let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match panel.kind {
        Kind::Stat => json!({ "reduceOptions": last, "graphMode": "area", "colorMode": "value" }),
        Kind::Series => json!({
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::Heatmap => json!({
            "calculate": false,
            "yAxis": { "unit": "s" },
            "color": { "scheme": "Oranges", "mode": "scheme" },
            "exemplars": { "color": "rgba(255,0,255,0.7)" },
        }),
        Kind::NodeGraph => json!({
            "layoutAlgorithm": "layered",
            "nodes": {
                "mainStatUnit": "reqps",
                "secondaryStatUnit": "s",
                "arcs": [
                    { "field": "arc__ok", "color": OK },
                    { "field": "arc__failed", "color": BAD },
                ],
            },
            "edges": { "mainStatUnit": "reqps", "secondaryStatUnit": "s" },
        }),
        Kind::Alerts => json!({
            "alertName": "Spanmill",
            "viewMode": "list",
            "sortOrder": 3,
            "stateFilter": { "firing": true, "pending": true, "error": true },
        }),
        Kind::BarChart => json!({ "showValue": "never", "xTickLabelRotation": -45 }),
        Kind::Table | Kind::Timeline => json!({}),
    }
}
