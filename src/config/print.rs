//! The effective configuration as YAML: every key with its doc, secrets masked.

use super::node::{Body, Node};
use super::schema::{self, Key, Kind};
use super::values;

const HEADER: &str = "\
# Configuration of Spanmill: every key with its effective value.
# Layers: defaults < this file < environment SPANMILL__A__B < --set a.b=value.
# Durations: 100ms, 15s, 1m30s, 1d. Sizes: bytes, 64KiB, 16MiB, 1GB.
";
const SECRET: &str = "<secret>";

pub(crate) fn print(tree: &Node) -> String {
    let mut out = HEADER.to_owned();
    for key in schema::ROOT.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
        out.push('\n');
        comment(&mut out, key.doc, 0);
        value(&mut out, key, tree.at(key.name), 0);
    }
    out
}

/// What single tenants have of their own, as comments: an effective configuration can be read again.
pub(crate) fn print_overrides(file: &str, keys: &[Key], tenants: &[(&str, &Node)]) -> String {
    let mut text = String::new();
    for (name, node) in tenants {
        text.push_str(&format!("  {}:\n", scalar(name, true)));
        written(&mut text, keys, node, 2, false);
    }
    let mut out =
        format!("\n# Of single tenants, merged over the above, from {file}:\n#\n# tenants:\n");
    text.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
    out
}

/// Keys of a section that is always there, with their docs.
fn section(out: &mut String, keys: &[Key], node: &Node, depth: usize) {
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
        comment(out, key.doc, depth);
        value(out, key, node.at(key.name), depth);
    }
}

fn value(out: &mut String, key: &Key, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    match key.kind {
        Kind::Section(keys) => {
            out.push_str(&format!("{indent}{}:\n", key.name));
            section(out, keys, node, depth + 1);
        }
        Kind::List(keys) => {
            outline(out, keys, &format!("{indent}#   "), "- ");
            let empty = if node.list().is_empty() { " []" } else { "" };
            out.push_str(&format!("{indent}{}:{empty}\n", key.name));
            for entry in node.list() {
                written(out, keys, entry, depth + 1, true);
            }
        }
        kind => out.push_str(&format!("{indent}{}: {}\n", key.name, flow(kind, node))),
    }
}

/// Keys of an entry or a block as they are, without docs and without what is not set.
fn written(out: &mut String, keys: &[Key], node: &Node, depth: usize, is_entry: bool) {
    let mut lead = if is_entry { "- " } else { "" };
    let shift = usize::from(is_entry);
    for key in keys {
        let node = node.at(key.name);
        // an empty text that was not written says nothing
        let is_unset = node.place.origin == 0 && node.as_text().is_empty();
        if node.is_nothing() || (is_unset && key.default == Some("\"\"")) {
            continue;
        }
        let indent = "  ".repeat(depth + shift - lead.len() / 2);
        let name = key.name;
        match key.kind {
            Kind::Section(keys) | Kind::Block(keys) => {
                out.push_str(&format!("{indent}{lead}{name}:\n"));
                written(out, keys, node, depth + shift + 1, false);
            }
            Kind::List(keys) if !node.list().is_empty() => {
                out.push_str(&format!("{indent}{lead}{name}:\n"));
                for entry in node.list() {
                    written(out, keys, entry, depth + shift + 1, true);
                }
            }
            kind => out.push_str(&format!("{indent}{lead}{name}: {}\n", flow(kind, node))),
        }
        lead = "";
    }
    if lead == "- " {
        out.push_str(&format!("{}- {{}}\n", "  ".repeat(depth)));
    }
}

/// The keys that an entry of a list may have, as a comment.
fn outline(out: &mut String, keys: &[Key], prefix: &str, lead: &str) {
    let blank = " ".repeat(lead.len());
    let mut lead = lead;
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
        let below = key.kind.keys();
        let default = match key.default.filter(|_| below.is_empty()) {
            Some(default) => format!(" {default}"),
            None => String::new(),
        };
        out.push_str(&format!("{prefix}{lead}{}:{default}  # {}\n", key.name, key.doc));
        let is_list = matches!(key.kind, Kind::List(_));
        outline(out, below, &format!("{prefix}{blank}  "), if is_list { "- " } else { "" });
        lead = &blank;
    }
}

fn comment(out: &mut String, doc: &str, depth: usize) {
    for line in doc.lines() {
        out.push_str(&format!("{}# {line}\n", "  ".repeat(depth)));
    }
}

fn flow(kind: Kind, node: &Node) -> String {
    match (kind, &node.body) {
        (_, Body::Nothing) => "\"\"".to_owned(),
        (Kind::Secret, Body::Text { text, .. }) if !text.is_empty() => SECRET.to_owned(),
        (Kind::Url, Body::Text { text, .. }) => scalar(&values::masked_url(text), true),
        (_, Body::Text { text, plain }) => scalar(text, *plain),
        (kind, Body::List(list)) => {
            let list: Vec<String> = list.iter().map(|node| flow(kind, node)).collect();
            format!("[{}]", list.join(", "))
        }
        (_, Body::Map(map)) if map.is_empty() => "{}".to_owned(),
        (Kind::Slack, Body::Map(_)) => {
            let side = |name| scalar(node.at(name).as_text(), true);
            format!("{{ past: {}, future: {} }}", side("past"), side("future"))
        }
        (kind, Body::Map(map)) => {
            let entry = |(name, (_, node)): (&String, &(_, Node))| match kind {
                // a header may hold a token; a tenant is none
                Kind::Headers if !name.eq_ignore_ascii_case("x-scope-orgid") => {
                    format!("{}: {SECRET}", scalar(name, true))
                }
                _ => format!("{}: {}", scalar(name, true), flow(kind, node)),
            };
            let map: Vec<String> = map.iter().map(entry).collect();
            format!("{{ {} }}", map.join(", "))
        }
    }
}

/// Plain where it was plain and can't be misread, else in quotes.
fn scalar(text: &str, plain: bool) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./+-$<>".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_./$<".contains(c));
    // a colon is plain between other letters: 127.0.0.1:4317, http://host
    let colons_fine = !text.starts_with(':') && !text.ends_with(':');
    let is_null = matches!(text, "null" | "Null" | "NULL");
    if plain
        && !is_null
        && starts_well
        && colons_fine
        && text.chars().all(|c| is_safe(c) || c == ':')
    {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}
