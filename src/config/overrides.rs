//! The overrides file: what single tenants have of their own, laid over the configuration key by key.
//!
//! It is read whole and compared by its bytes, so that a file that was replaced, or a link that points
//! elsewhere, is a change, and one that was only touched is none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::check::{check_keys, described, join};
use super::node::{Body, Map, Node};
use super::print::print_overrides;
use super::problem::{Origin, Place, Problems};
use super::schema::{self, Key, Kind, key, section};
use super::{layers, schema_processors, values, yaml};
use crate::tenant::TenantId;

/// Stands for every tenant, below those that are named.
pub(super) const EVERY: &str = "*";

/// Bounds of the file.
const BYTES_MAX: usize = 4 << 20;
const TENANTS_MAX: usize = 5000;

/// What a tenant may have of its own.
const TENANT: &[Key] = &[
    section("processors", schema_processors::PROCESSORS, ""),
    section("registry", schema::REGISTRY, ""),
    section("limits", schema::LIMITS, ""),
    key("remote_write_headers", Kind::Headers, "{}", "Besides those of each endpoint; these win."),
];

/// What all tenants share, though it stands among what they do not.
pub(super) const SHARED: [&str; 5] = [
    "limits.memory",
    "limits.max_tenants",
    "limits.max_connections",
    "limits.max_connections_per_ip",
    "limits.max_streams_per_connection",
];
const INSTANCE: &str = "registry.instance";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `None` = there is none.
    pub file: Option<PathBuf>,
    pub poll_interval: Duration,
}

/// What the file holds, or why it can't be read; nothing where there is no file.
pub(super) type Content = Option<Result<Arc<[u8]>, String>>;

/// What is laid over the configuration, by tenant.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) every: Option<Node>,
    pub(super) named: BTreeMap<TenantId, Node>,
}

impl Settings {
    /// A file is relative to the configuration's folder.
    pub(super) fn of(tree: &Node, problems: &Problems) -> Self {
        let file = tree.at("overrides.file");
        let folder = match problems.origin_of(file.place) {
            Some(Origin::File(path)) => path.parent().map(PathBuf::from).unwrap_or_default(),
            _ => PathBuf::new(),
        };
        let path = Some(file.as_text()).filter(|path| !path.is_empty());
        Self {
            file: path.map(|path| folder.join(path)),
            poll_interval: tree.at("overrides.poll_interval").duration(),
        }
    }

    pub(super) fn read(&self) -> Content {
        let path = self.file.as_ref()?;
        let read = || {
            // nothing that could be waited for
            if !std::fs::metadata(path)?.is_file() {
                return Err(std::io::Error::other("found no file there"));
            }
            let mut bytes = Vec::new();
            File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        Some(match read() {
            Ok(bytes) if bytes.len() > BYTES_MAX => {
                Err(format!("found more than {BYTES_MAX} bytes, expected at most so many"))
            }
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("can't be read: {}", error.to_string().to_lowercase())),
        })
    }
}

/// Every problem is reported; what is wrong is taken out.
pub(super) fn parse(settings: &Settings, content: &Content, problems: &mut Problems) -> Overrides {
    let (Some(path), Some(content)) = (&settings.file, content) else {
        return Overrides::default();
    };
    let origin = problems.origin(Origin::File(path.clone()));
    let start = Place { origin, line: 0, column: 0 };
    let bytes = match content {
        Ok(bytes) => bytes,
        Err(message) => {
            problems.add(start, "", message);
            return Overrides::default();
        }
    };
    let root = layers::text_of(bytes.to_vec(), origin, problems)
        .and_then(|text| yaml::parse(&text, origin, problems));
    root.map(|root| tenants(root, problems)).unwrap_or_default()
}

/// `tenants: { NAME: { .. } }`. A file without the key is half written rather than without tenants.
fn tenants(root: Node, problems: &mut Problems) -> Overrides {
    let place = root.place;
    let mut map = match root.body {
        Body::Map(map) => map,
        Body::Nothing => Map::new(),
        _ => {
            let message = format!("found {}, expected the key tenants", described(&root));
            problems.add(place, "", message);
            return Overrides::default();
        }
    };
    let tenants = map.remove("tenants");
    for (name, (place, _)) in &map {
        problems.add(*place, name, "unknown key, expected tenants");
    }
    let Some((_, tenants)) = tenants else {
        problems.add(place, "tenants", "found nothing, expected {} where no tenant has its own");
        return Overrides::default();
    };
    let Body::Map(map) = tenants.body else {
        let message =
            format!("found {}, expected a mapping of tenants, or {{}}", described(&tenants));
        problems.add(tenants.place, "tenants", message);
        return Overrides::default();
    };
    if map.len() > TENANTS_MAX {
        let message = format!("found {} tenants, expected at most {TENANTS_MAX}", map.len());
        problems.add(tenants.place, "tenants", message);
        return Overrides::default();
    }
    let mut overrides = Overrides::default();
    for (name, (place, node)) in map {
        let path = join("tenants", &name);
        let node = tenant(node, &path, problems);
        if name == EVERY {
            overrides.every = Some(node);
            continue;
        }
        match TenantId::parse(&name) {
            Ok(id) => drop(overrides.named.insert(id, node)),
            Err(error) => problems.add(place, &path, error),
        }
    }
    overrides
}

fn tenant(node: Node, path: &str, problems: &mut Problems) -> Node {
    let place = node.place;
    let mut map = match node.body {
        Body::Map(map) => map,
        Body::Nothing => Map::new(),
        _ => {
            let found = described(&node);
            problems.add(place, path, format!("found {found}, expected a mapping of keys"));
            Map::new()
        }
    };
    let is_tenants = |name: &str| TENANT.iter().any(|key| key.name == name);
    let sections = schema::ROOT.iter().map(|key| key.name).filter(|name| !is_tenants(name));
    for key in sections.chain(SHARED).chain([INSTANCE]) {
        if let Some(place) = take(&mut map, key) {
            let message = "of the process, expected it in the configuration";
            problems.add(place, &join(path, key), message);
        }
    }
    Node::new(place, Body::Map(check_keys(TENANT, map, path, problems)))
}

/// Takes a key out; answers where it stood.
fn take(map: &mut Map, path: &str) -> Option<Place> {
    match path.split_once('.') {
        None => map.remove(path).filter(|(_, node)| !node.is_nothing()).map(|(place, _)| place),
        Some((section, key)) => match &mut map.get_mut(section)?.1.body {
            Body::Map(map) => take(map, key),
            _ => None,
        },
    }
}

impl Overrides {
    /// What tenants have of their own, for people.
    pub(super) fn print(&self, settings: &Settings) -> String {
        let Some(file) = &settings.file else { return String::new() };
        let every = self.every.iter().map(|node| (EVERY, node));
        let named = self.named.iter().map(|(id, node)| (id.as_str(), node));
        let tenants: Vec<_> = every.chain(named).collect();
        print_overrides(&values::shown(&file.display().to_string()), TENANT, &tenants)
    }
}
