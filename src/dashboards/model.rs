//! Dashboards as plain data, and the small builders that make them.

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Dashboard {
    pub uid: &'static str,
    pub title: &'static str,
    pub(super) description: &'static str,
    pub(super) tags: &'static [&'static str],
    pub variables: Vec<Variable>,
    pub annotations: Vec<Annotation>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub title: &'static str,
    /// Below the fold: asked for when it is opened.
    pub(super) collapsed: bool,
    pub panels: Vec<Panel>,
}

#[derive(Debug, Clone)]
pub struct Annotation {
    pub name: &'static str,
    pub expr: String,
    pub(super) title: String,
}

#[derive(Debug, Clone)]
pub enum Variable {
    /// `prometheus` or `tempo`.
    Datasource(&'static str),
    Query {
        name: &'static str,
        label: &'static str,
        query: String,
        /// What all of them together are; empty where one is chosen.
        all: &'static str,
    },
    /// The first value holds until another is chosen.
    Custom {
        name: &'static str,
        label: &'static str,
        /// What is shown, and what it stands for.
        values: Vec<(String, String)>,
    },
}

/// What a panel is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stat,
    Series,
    Table,
    Heatmap,
    BarChart,
    Timeline,
    NodeGraph,
    Alerts,
}

#[derive(Debug, Clone)]
pub struct Panel {
    pub title: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: &'static str,
    pub queries: Vec<Query>,
    /// Settings beyond the defaults without which it stays empty.
    pub(super) needs: &'static str,
    pub(super) width: u8,
    pub(super) height: u8,
    pub(super) steps: &'static [f64],
    pub(super) mappings: Vec<Value>,
    pub(super) columns: Vec<Column>,
    pub(super) links: Vec<Link>,
    pub(super) transformations: Vec<Value>,
}

#[derive(Debug, Clone)]
pub struct Query {
    pub ref_id: String,
    pub expr: String,
    pub(super) legend: String,
    /// At the end of the time range, not at each step of it.
    pub is_instant: bool,
    /// Whether it has an answer wherever a few services have had traffic for a minute, with the
    /// settings that the panel needs.
    pub must_have_data: bool,
}

/// A value of a table's rows.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
}

/// From the cells of a field to another place.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) field: String,
    pub(super) title: &'static str,
    pub(super) url: String,
}

// === impl Dashboard ===

impl Dashboard {
    pub(super) fn new(uid: &'static str, title: &'static str, description: &'static str) -> Self {
        let (variables, annotations, rows) = (Vec::new(), Vec::new(), Vec::new());
        Self { uid, title, description, tags: &["spanmill"], variables, annotations, rows }
    }

    pub(super) fn variables(mut self, variables: impl IntoIterator<Item = Variable>) -> Self {
        self.variables.extend(variables);
        self
    }

    pub(super) fn row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push(Row { title, collapsed: false, panels });
        self
    }

    pub(super) fn folded_row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push(Row { title, collapsed: true, panels });
        self
    }

    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }
}

// === impl Panel ===

pub(super) fn panel(kind: Kind, title: &'static str, unit: &'static str) -> Panel {
    let (width, height) = match kind {
        Kind::Stat => (4, 4),
        Kind::Table | Kind::Alerts => (24, 9),
        Kind::NodeGraph => (24, 16),
        _ => (12, 8),
    };
    let (queries, columns, links) = (Vec::new(), Vec::new(), Vec::new());
    let (mappings, transformations) = (Vec::new(), Vec::new());
    let (about, needs, steps) = ("", "", &[][..]);
    Panel {
        title,
        about,
        kind,
        unit,
        queries,
        needs,
        width,
        height,
        steps,
        mappings,
        columns,
        links,
        transformations,
    }
}

pub(super) fn stat(title: &'static str, unit: &'static str) -> Panel {
    panel(Kind::Stat, title, unit)
}

pub(super) fn series(title: &'static str, unit: &'static str) -> Panel {
    panel(Kind::Series, title, unit)
}

pub(super) fn table(title: &'static str) -> Panel {
    panel(Kind::Table, title, "short")
}

/// Of a classic histogram's buckets: a native one would need a panel of another form.
pub(super) fn heatmap(title: &'static str, buckets: &str, filter: &str) -> Panel {
    let increase = format!("sum by (le) (increase({buckets}{{{filter}}}[$__rate_interval]))");
    panel(Kind::Heatmap, title, "s").query("{{le}}", increase)
}

/// Those that fire now of Spanmill's own.
pub(super) fn alerts() -> Panel {
    panel(Kind::Alerts, "Alerts that fire", "short").about(
        "Alerts of grafana-dashboards/prometheus that fire or are about to; runbooks.md \
         has what to do.",
    )
}

impl Panel {
    /// What it means, and what to do when it is red.
    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(super) fn query(mut self, legend: &str, expr: impl Into<String>) -> Self {
        let letter = |at: usize| char::from(b'A' + u8::try_from(at).unwrap_or(25)).to_string();
        let ref_id = letter(self.queries.len());
        let (expr, legend) = (expr.into(), legend.to_owned());
        let is_instant = matches!(self.kind, Kind::Table | Kind::NodeGraph | Kind::BarChart);
        self.queries.push(Query { ref_id, expr, legend, is_instant, must_have_data: false });
        self
    }

    /// Whose frame transformations and the node graph know by this name.
    pub(super) fn frame(mut self, ref_id: &str, expr: impl Into<String>) -> Self {
        self = self.query("", expr);
        if let Some(last) = self.queries.last_mut() {
            ref_id.clone_into(&mut last.ref_id);
        }
        self
    }

    /// A column of a table: one value a row.
    pub(super) fn column(
        mut self,
        title: &'static str,
        unit: &'static str,
        expr: impl Into<String>,
    ) -> Self {
        self.columns.push(Column { title, unit });
        self.query(title, expr)
    }

    /// All queries so far have data wherever there is traffic.
    pub(super) fn must(mut self) -> Self {
        self.queries.iter_mut().for_each(|query| query.must_have_data = true);
        self
    }

    pub(super) fn needs(mut self, needs: &'static str) -> Self {
        self.needs = needs;
        self
    }

    pub(super) fn size(mut self, width: u8, height: u8) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Where green turns to yellow, and to red; downwards where they fall.
    pub(super) fn steps(mut self, steps: &'static [f64]) -> Self {
        self.steps = steps;
        self
    }

    pub(super) fn link(mut self, field: &str, title: &'static str, url: String) -> Self {
        self.links.push(Link { field: field.to_owned(), title, url });
        self
    }

    /// Values as words, each with its colour.
    pub(super) fn words(mut self, words: &[(u8, &str, &str)]) -> Self {
        for (at, (value, text, color)) in words.iter().enumerate() {
            let shown = json!({ "text": text, "color": color, "index": at });
            self.mappings.push(json!({ "type": "value", "options": { value.to_string(): shown } }));
        }
        self
    }

    pub(super) fn transform(mut self, id: &str, options: Value) -> Self {
        self.transformations.push(json!({ "id": id, "options": options }));
        self
    }

    /// Of the frames that match alone.
    pub(super) fn filtered(mut self, frames: Value, id: &str, options: Value) -> Self {
        self.transformations.push(json!({ "id": id, "filter": frames, "options": options }));
        self
    }
}
