//! Entries of `remote_write` -> endpoints, with Prometheus' rules between their keys.

use std::path::PathBuf;

use super::node::{Body, Node};
use super::problem::{Origin, Problems};
use super::schema_remote_write::RELABEL;
use super::{schema, values};
use crate::remote_write::relabel::{Action, RelabelConfig};
use crate::remote_write::{Auth, EndpointSettings, Pem, Secret, TlsSettings, TlsVersion};

pub(crate) fn endpoints(list: &Node, problems: &mut Problems) -> Vec<EndpointSettings> {
    let mut endpoints: Vec<EndpointSettings> = Vec::new();
    for (idx, node) in list.list().iter().enumerate() {
        let path = format!("remote_write[{idx}]");
        let Some(settings) = (Entry { node, path: &path, problems }).endpoint() else { continue };
        if endpoints.iter().any(|other| other.name == settings.name) {
            let place = match node.at("name").as_text() {
                "" => node.at("url").place,
                _ => node.at("name").place,
            };
            let found = values::shown(&settings.name);
            let message = format!("found {found} a second time, expected unique names");
            problems.add(place, &format!("{path}.name"), message);
        }
        endpoints.push(settings);
    }
    endpoints
}

/// One entry; problems are reported relative to it.
struct Entry<'a> {
    node: &'a Node,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Entry<'_> {
    /// `None` where the URL was refused.
    fn endpoint(&mut self) -> Option<EndpointSettings> {
        let node = self.node;
        let mut url = values::url(node.at("url").as_text());
        let auth = self.auth(url.as_mut());
        let queue = node.at("queue_config");
        let (min_backoff, max_backoff) =
            (queue.at("min_backoff").duration(), queue.at("max_backoff").duration());
        if min_backoff > max_backoff {
            // a default is not to blame
            let (key, message) = match queue.at("max_backoff").place.origin {
                0 => (
                    "min_backoff",
                    format!("found {min_backoff:?}, expected at most max_backoff, {max_backoff:?}"),
                ),
                _ => (
                    "max_backoff",
                    format!(
                        "found {max_backoff:?}, expected at least min_backoff, {min_backoff:?}"
                    ),
                ),
            };
            let path = format!("{}.queue_config.{key}", self.path);
            self.problems.add(queue.at(key).place, &path, message);
        }
        let tls = self.tls();
        let relabel = node.at("write_relabel_configs").list().iter().enumerate();
        let write_relabel_configs =
            relabel.filter_map(|(idx, step)| self.relabel(idx, step)).collect();
        let headers = node.at("headers").entries();
        let url = url?;
        let port = url.port_or_known_default().unwrap_or_default();
        Some(EndpointSettings {
            name: match node.at("name").as_text() {
                "" => format!("{}:{port}", url.host_str().unwrap_or_default()),
                name => name.to_owned(),
            },
            url,
            remote_timeout: node.at("remote_timeout").duration(),
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_text().to_owned()))
                .collect(),
            auth,
            tls,
            write_relabel_configs,
            send_exemplars: node.at("send_exemplars").boolean(),
            // Prometheus has it in queue_config; both places are taken.
            retry_on_http_429: node.at("retry_on_http_429").boolean()
                && queue.at("retry_on_http_429").boolean(),
            max_samples_per_send: queue.at("max_samples_per_send").count(),
            max_shards: queue.at("max_shards").count(),
            min_backoff,
            max_backoff,
        })
    }

    /// User and password of the URL go where they are never shown.
    fn auth(&mut self, url: Option<&mut reqwest::Url>) -> Auth {
        let basic = self.node.at("basic_auth");
        let token = self.node.at("authorization");
        let in_url = url.and_then(credentials_of);
        let n_given = usize::from(!basic.is_nothing())
            + usize::from(!token.is_nothing())
            + usize::from(in_url.is_some());
        if n_given > 1 {
            let message =
                "found several, expected at most one of basic_auth, authorization, user in the url";
            self.problems.add(self.node.place, self.path, message);
        }
        if !basic.is_nothing() {
            let mut part = |name| self.secret(basic, "basic_auth", name);
            let (username, password) = (part("username"), part("password"));
            let empty = || Secret::Value(String::new());
            return Auth::Basic {
                username: username.unwrap_or_else(empty),
                password: password.unwrap_or_else(empty),
            };
        }
        if !token.is_nothing() {
            return self.authorization(token);
        }
        in_url.unwrap_or_default()
    }

    fn authorization(&mut self, token: &Node) -> Auth {
        let kind = token.at("type");
        let path = format!("{}.authorization", self.path);
        if kind.as_text().eq_ignore_ascii_case("basic") {
            let message = "found \"basic\", expected the key basic_auth for it";
            self.problems.add(kind.place, &format!("{path}.type"), message);
        } else if http::HeaderName::from_bytes(kind.as_text().as_bytes()).is_err() {
            let found = values::shown(kind.as_text());
            let message = format!("found {found}, expected one word such as Bearer");
            self.problems.add(kind.place, &format!("{path}.type"), message);
        }
        let Some(credentials) = self.secret(token, "authorization", "credentials") else {
            let message = "found nothing, expected credentials or credentials_file";
            self.problems.add(token.place, &path, message);
            return Auth::None;
        };
        if matches!(&credentials, Secret::Value(text) if http::HeaderValue::from_str(text).is_err())
        {
            let message = "found <secret>, expected text that a header can hold";
            let place = token.at("credentials").place;
            self.problems.add(place, &format!("{path}.credentials"), message);
        }
        Auth::Authorization { kind: kind.as_text().to_owned(), credentials }
    }

    fn secret(&mut self, node: &Node, section: &str, name: &str) -> Option<Secret> {
        match self.text_or_file(node, section, name)? {
            Pem::Text(text) => Some(Secret::Value(text)),
            Pem::File(path) => Some(Secret::File(path)),
        }
    }

    /// `NAME` or `NAME_file`, not both; files are relative to the configuration's folder.
    fn text_or_file(&mut self, node: &Node, section: &str, name: &str) -> Option<Pem> {
        let file_key = format!("{name}_file");
        let (text, file) = (node.at(name), node.at(&file_key));
        match (text.as_text(), file.as_text()) {
            ("", "") => None,
            (text, "") => Some(Pem::Text(text.to_owned())),
            ("", path) => {
                let folder = match self.problems.origin_of(file.place) {
                    Some(Origin::File(path)) => {
                        path.parent().map(PathBuf::from).unwrap_or_default()
                    }
                    _ => PathBuf::new(),
                };
                Some(Pem::File(folder.join(path)))
            }
            _ => {
                let message = format!("found {name} too, expected one of the two");
                let key = format!("{}.{section}.{file_key}", self.path);
                self.problems.add(file.place, &key, message);
                None
            }
        }
    }

    fn tls(&mut self) -> TlsSettings {
        let node = self.node.at("tls_config");
        let mut pem = |name| self.text_or_file(node, "tls_config", name);
        let (ca, cert, key) = (pem("ca"), pem("cert"), pem("key"));
        let (min_version, max_version) =
            (tls_version(node.at("min_version")), tls_version(node.at("max_version")));
        let path = format!("{}.tls_config", self.path);
        if cert.is_some() != key.is_some() {
            let (found, missing) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
            let message = format!("found {found} without {missing}, expected both or none");
            self.problems.add(node.place, &path, message);
        }
        if min_version > max_version && max_version.is_some() {
            let message = "found it below min_version, expected at least that";
            self.problems.add(
                node.at("max_version").place,
                &format!("{path}.max_version"),
                message,
            );
        }
        TlsSettings {
            ca,
            cert,
            key,
            server_name: Some(node.at("server_name").as_text().to_owned())
                .filter(|name| !name.is_empty()),
            insecure_skip_verify: node.at("insecure_skip_verify").boolean(),
            min_version,
            max_version,
        }
    }

    fn relabel(&mut self, idx: usize, node: &Node) -> Option<RelabelConfig> {
        let config = RelabelConfig {
            source_labels: node.at("source_labels").texts(),
            separator: node.at("separator").as_text().to_owned(),
            regex: values::relabel_regex(node.at("regex").as_text()).ok()?,
            modulus: values::count(node.at("modulus").as_text()).unwrap_or_default(),
            target_label: node.at("target_label").as_text().to_owned(),
            replacement: node.at("replacement").as_text().to_owned(),
            action: Action::parse(node.at("action").as_text())?,
        };
        let defaults = schema::defaults(RELABEL);
        let is_default = |key: &str| {
            let (node, default) = (node.at(key), defaults.at(key));
            node.as_text() == default.as_text() && node.list().is_empty()
        };
        for (key, message) in relabel_faults(&config, node.at("action").as_text(), &is_default) {
            let found = node.at(key);
            let place = if found.place.origin == 0 { node.place } else { found.place };
            let path = format!("{}.write_relabel_configs[{idx}].{key}", self.path);
            let found = match &found.body {
                Body::List(list) if !list.is_empty() => "a list".to_owned(),
                Body::List(_) | Body::Nothing => "nothing".to_owned(),
                _ => values::shown(found.as_text()),
            };
            self.problems.add(place, &path, format!("found {found}, {message}"));
        }
        Some(config)
    }
}

/// What Prometheus refuses between the keys of one step, by key.
fn relabel_faults(
    config: &RelabelConfig,
    name: &str,
    is_default: &dyn Fn(&str) -> bool,
) -> Vec<(&'static str, String)> {
    use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Replace};
    use Action::{Lowercase, Uppercase};
    let mut faults = Vec::new();
    let target = config.target_label.as_str();
    let is_template = config.action == Replace && target.contains('$');
    let is_fine =
        if is_template { values::is_label_template(target) } else { values::is_label_name(target) };
    if config.action.needs_target() && !is_fine {
        faults.push(("target_label", format!("expected a label's name for {name}")));
    }
    if config.action == HashMod && config.modulus == 0 {
        faults.push(("modulus", "expected a number above 0 for hashmod".to_owned()));
    }
    if config.action == LabelMap && !values::is_label_template(&config.replacement) {
        faults.push(("replacement", "expected a label's name for labelmap".to_owned()));
    }
    let unused: &[&'static str] = match config.action {
        KeepEqual | DropEqual => &["regex", "modulus", "separator", "replacement"],
        LabelDrop | LabelKeep => {
            &["source_labels", "target_label", "modulus", "separator", "replacement"]
        }
        Lowercase | Uppercase => &["replacement"],
        _ => &[],
    };
    for key in unused.iter().filter(|key| !is_default(key)) {
        faults.push((key, format!("expected nothing, {name} does not use it")));
    }
    faults
}

fn tls_version(node: &Node) -> Option<TlsVersion> {
    match node.as_text().to_uppercase().as_str() {
        "TLS12" => Some(TlsVersion::Tls12),
        "TLS13" => Some(TlsVersion::Tls13),
        _ => None,
    }
}

/// Takes user and password out of the URL.
fn credentials_of(url: &mut reqwest::Url) -> Option<Auth> {
    let decoded = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        Secret::Value(decoded.into_owned())
    };
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let auth = Auth::Basic {
        username: decoded(url.username()),
        password: decoded(url.password().unwrap_or_default()),
    };
    // neither fails: the URL has a host
    (url.set_username("").is_ok() && url.set_password(None).is_ok()).then_some(auth)
}
