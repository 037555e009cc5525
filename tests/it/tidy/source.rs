//! A Rust file as tidy sees it: which lines are production, and which paths they name.

use std::path::{Path, PathBuf};

/// One file under `src/`.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Relative to `src/`.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: PathBuf::from(path), text: text.to_owned() }
    }

    /// First folder, or the file itself, under `src/`.
    pub(crate) fn module(&self) -> String {
        let first = self.path.iter().next().expect("a file has a name");
        Path::new(first).file_stem().expect("a name").to_string_lossy().into_owned()
    }

    /// How many `super::` lead to the crate's root.
    pub(crate) fn depth(&self) -> usize {
        let folders = self.path.iter().count() - 1;
        match self.path.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs") => folders,
            _ => folders + 1,
        }
    }

    /// Lines outside items that `#[cfg(test)]` takes out, as written.
    pub(crate) fn production_lines(&self) -> Vec<&str> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[cfg(test)]" {
                skip_item(&mut lines);
            } else {
                kept.push(line);
            }
        }
        kept
    }

    /// Production lines without comments and the insides of literals.
    pub(crate) fn code(&self) -> String {
        blank_out(&self.production_lines().join("\n"))
    }

    /// Files that `#[cfg(test)] mod name;` declares, relative to `src/`; with `#[path = ".."]` between
    /// the two, the path says which.
    pub(crate) fn test_only_files(&self) -> Vec<PathBuf> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let folder = self.path.parent().expect("relative to src/");
        let after = (1..).zip(&lines).filter(|(_, line)| **line == "#[cfg(test)]");
        let declared = after.filter_map(|(next, _)| {
            let line = lines.get(next)?;
            if let Some(path) = line.strip_prefix("#[path = \"") {
                return path.strip_suffix("\"]").map(str::to_owned);
            }
            let declaration = line.strip_prefix("pub(crate) ").unwrap_or(line);
            let name = declaration.strip_prefix("mod ")?.strip_suffix(';')?;
            Some(format!("{name}.rs"))
        });
        declared.map(|file| folder.join(file)).collect()
    }
}

/// Takes the item that follows an attribute; formatted code ends it at its own indentation.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let Some(mut line) = lines.find(|line| !line.trim_start().starts_with("#[")) else { return };
    let indent = line.len() - line.trim_start().len();
    while !line.ends_with('{') {
        if line.ends_with(';') || line.ends_with('}') || line.ends_with(',') {
            return;
        }
        let Some(next) = lines.next() else { return };
        line = next;
    }
    let closes = |line: &str| {
        line.len() > indent && line.is_char_boundary(indent) && {
            let (before, rest) = line.split_at(indent);
            before.trim().is_empty() && rest.starts_with('}')
        }
    };
    for line in lines.by_ref() {
        if closes(line) {
            return;
        }
    }
}

/// Replaces comments and the insides of string and character literals by spaces.
fn blank_out(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(c) = rest.chars().next() {
        let literal = literal_len(rest, code.chars().next_back());
        if literal == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (gone, after) = rest.split_at(literal);
        code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// Bytes of the comment or literal that `text` starts with; 0 if it starts with neither.
fn literal_len(text: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if text.starts_with('"') {
        return quoted_len(text, '"');
    }
    if text.starts_with('r') && !in_word {
        return raw_len(text);
    }
    let mut chars = text.chars();
    if chars.next() == Some('\'') {
        let second = chars.next();
        if second == Some('\\') || chars.next() == Some('\'') {
            return quoted_len(text, '\'');
        }
    }
    0
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_len(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|&c| c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

/// Modules of this crate that a path in `code` names: `crate::x`, and each of `crate::{x, y}`.
pub(crate) fn imported_modules(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let path = &code[at + "crate::".len()..];
        match path.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(first_word(path)),
        }
    }
    found
}

/// First words of the entries of `{...}`, of which the brace is already open.
fn group_heads(group: &str) -> Vec<String> {
    let mut open = 1;
    let mut heads = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => heads.push(String::new()),
            c if open == 1 => heads.last_mut().expect("never empty").push(c),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    heads.iter().map(|head| first_word(head.trim())).filter(|head| !head.is_empty()).collect()
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The most `super::` in a row.
pub(crate) fn longest_super(code: &str) -> usize {
    let mut longest = 0;
    for (at, _) in code.match_indices("super::") {
        let rest = &code[at..];
        let run = rest.split("super::").skip(1).take_while(|part| part.is_empty()).count() + 1;
        longest = longest.max(run);
    }
    longest
}

/// Whether `word` stands in `code` by itself (a path such as `std::net` counts as a word).
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}
