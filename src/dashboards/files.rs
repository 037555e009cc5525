//! What `spanmill dashboards` writes: dashboards as they are made, the rest as it is committed.

use super::names::TEMPO;

/// Below the folder that the user names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// Pairs of a path and the text that the repository has there.
macro_rules! shipped {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../grafana-dashboards/", $path)))),*]
    };
}

/// In `grafana-dashboards/`, besides the dashboards.
const SHIPPED: [(&str, &str); 12] = shipped![
    "README.md",
    "compose.yaml",
    "dashboards/.lint",
    "prometheus/alerts.yml",
    "prometheus/prometheus.yml",
    "prometheus/recording.yml",
    "prometheus/tests/alerts_test.yml",
    "provisioning/dashboards/spanmill.yaml",
    "provisioning/datasources/spanmill.yaml",
    "runbooks.md",
    "spanmill.yaml",
    "tempo.yaml",
];

pub fn all_files() -> Vec<File> {
    let dashboards = super::all(&TEMPO).into_iter().map(|dashboard| File {
        path: format!("dashboards/{}.json", dashboard.uid),
        text: format!("{:#}\n", dashboard.json()),
    });
    let shipped = SHIPPED.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() });
    dashboards.chain(shipped).collect()
}
