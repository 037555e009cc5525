//! The layers: defaults < a command's own < file < environment < `--set`, and the endpoints of `--remote-write`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{ConfigError, Source, Value};

use super::node::{Body, Map, Node};
use super::problem::{Origin, Place, Problems};
use super::{check, schema, values, yaml};

const PREFIX: &str = "SPANMILL__";
/// No key has as many; a bound, because nodes are walked by recursion.
const MAX_SEGMENTS: usize = 16;

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// What a command has instead of the defaults; empty = nothing.
    pub built_in: &'static str,
    /// `None` = no file.
    pub file: Option<PathBuf>,
    /// All of the environment; `SPANMILL__A__B` counts, its keys in lower case.
    pub environment: Vec<(OsString, OsString)>,
    /// `a.b=value`; later ones win.
    pub set: Vec<String>,
    /// Endpoints besides those of the other layers.
    pub remote_write: Vec<String>,
}

/// All layers in one: complete, and well formed where `problems` has nothing to say.
pub(crate) fn merge(inputs: &Inputs, problems: &mut Problems) -> Node {
    let mut builder = config::Config::builder().add_source(Layer(schema::defaults(schema::ROOT)));
    let origin = problems.origin(Origin::Named("built in".to_owned()));
    if !inputs.built_in.is_empty()
        && let Some(root) = yaml::parse(inputs.built_in, origin, problems)
    {
        builder = builder.add_source(Layer::checked(root, problems));
    }
    let file = inputs.file.as_deref().and_then(|path| read_file(path, problems));
    if let Some(root) = file.and_then(|(origin, text)| yaml::parse(&text, origin, problems)) {
        builder = builder.add_source(Layer::checked(root, problems));
    }
    let environment = environment(&inputs.environment, problems);
    let set = inputs.set.iter().filter_map(|text| assignment(text, problems)).collect::<Vec<_>>();
    for root in environment.into_iter().chain(set) {
        builder = builder.add_source(Layer::checked(root, problems));
    }
    let merged = builder.build().and_then(|config| config.collect());
    let mut tree = match merged {
        Ok(table) => Node::from_value(Value::from(table)),
        Err(error) => {
            problems.add(Place::default(), "", error);
            Node::default()
        }
    };
    append_endpoints(&mut tree, &inputs.remote_write, problems);
    tree
}

/// One layer as `config` takes it.
#[derive(Debug, Clone)]
struct Layer(Node);

impl Layer {
    fn checked(root: Node, problems: &mut Problems) -> Self {
        let place = root.place;
        Self(Node::new(place, Body::Map(check::check(root, problems))))
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, ConfigError> {
        self.0.to_value().into_table()
    }
}

fn read_file(path: &Path, problems: &mut Problems) -> Option<(usize, String)> {
    let origin = problems.origin(Origin::File(path.to_owned()));
    match std::fs::read(path) {
        Ok(bytes) => Some((origin, text_of(bytes, origin, problems)?)),
        Err(error) => {
            let error = error.to_string().to_lowercase();
            let place = Place { origin, line: 0, column: 0 };
            problems.add(place, "", format!("can't be read: {error}"));
            None
        }
    }
}

/// What a file says, if it is text.
pub(super) fn text_of(bytes: Vec<u8>, origin: usize, problems: &mut Problems) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let mut place = Place { origin, line: 0, column: 0 };
            let (before, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
            let before = String::from_utf8_lossy(before);
            let line = before.rsplit('\n').next().unwrap_or_default();
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            place.line = number(before.split('\n').count());
            place.column = number(line.chars().count() + 1);
            problems.add(place, "", "found bytes that are not UTF-8");
            None
        }
    }
}

/// One root for each variable, in the order of their names.
fn environment(variables: &[(OsString, OsString)], problems: &mut Problems) -> Vec<Node> {
    let ours: BTreeMap<&str, &OsString> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let root = |(name, value): (&str, &OsString)| {
        let origin = problems.origin(Origin::Named(format!("environment {name}")));
        let path = name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
        let Some(value) = value.to_str() else {
            let place = Place { origin, line: 0, column: 0 };
            problems.add(place, &path, "found bytes that are not UTF-8, expected YAML");
            return None;
        };
        nested(&path, value, origin, problems)
    };
    ours.into_iter().filter_map(root).collect()
}

fn assignment(text: &str, problems: &mut Problems) -> Option<Node> {
    let (path, value) = text.split_once('=').unwrap_or((text, ""));
    let origin = problems.origin(Origin::Named(format!("--set {path}")));
    if path.trim().is_empty() || !text.contains('=') {
        let place = Place { origin, line: 0, column: 0 };
        let found = values::shown(text);
        problems.add(place, "", format!("found {found}, expected key=value"));
        return None;
    }
    nested(path.trim(), value, origin, problems)
}

/// `a.b` and a value as `{a: {b: value}}`. An empty value is empty text.
fn nested(path: &str, value: &str, origin: usize, problems: &mut Problems) -> Option<Node> {
    let place = Place { origin, line: 0, column: 0 };
    if path.split('.').count() > MAX_SEGMENTS {
        problems.add(place, "", "found too many parts, expected a key such as registry.instance");
        return None;
    }
    let node = match value.trim().is_empty() {
        true => Node::text(place, ""),
        false => yaml::parse(value, origin, problems)?,
    };
    Some(path.rsplit('.').fold(node, |node, key| {
        Node::new(place, Body::Map(Map::from([(key.to_owned(), (place, node))])))
    }))
}

/// A list of another layer would replace the file's: these come on top.
fn append_endpoints(tree: &mut Node, urls: &[String], problems: &mut Problems) {
    let Some(key) = schema::ROOT.iter().find(|key| key.name == "remote_write") else { return };
    for url in urls {
        let origin = problems.origin(Origin::Named("--remote-write".to_owned()));
        let place = Place { origin, line: 0, column: 0 };
        let entry = Map::from([("url".to_owned(), (place, Node::text(place, url)))]);
        let list = Node::new(place, Body::List(vec![Node::new(place, Body::Map(entry))]));
        let added = check::check_list(key, list, problems);
        let Body::Map(root) = &mut tree.body else { return };
        let (_, endpoints) = root.entry(key.name.to_owned()).or_default();
        match &mut endpoints.body {
            Body::List(list) => list.extend(added),
            other => *other = Body::List(added),
        }
    }
}
