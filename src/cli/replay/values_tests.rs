//! Claims about cutting a file into JSON values.

use expect_test::{Expect, expect};

use super::*;

/// A span of that name, as one line.
fn request(name: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"{name}"}}]}}]}}]}}"#)
}

fn pretty(name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(&request(name)).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

/// Gives a byte at a time, so that every seam between two reads is met.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(1);
        self.0.read(&mut buf[..n])
    }
}

fn all(file: &str, max: usize) -> String {
    let at_once = listed(Values::new(file.as_bytes(), max));
    assert_eq!(listed(Values::new(Dribble(file.as_bytes()), max)), at_once);
    at_once
}

fn listed(mut values: Values<impl Read>) -> String {
    let mut all = String::new();
    while let Some((at, body)) = values.next() {
        let Position::Value { number, line, offset } = at else { panic!("{at:?}") };
        let body = body.map_or_else(
            |bad| bad.to_string(),
            |wire| String::from_utf8_lossy(&wire).chars().filter(|c| !c.is_control()).collect(),
        );
        all.push_str(&format!("{number} on line {line} at {offset}: {body}\n"));
    }
    all
}

fn check(file: &str, expected: &Expect) {
    expected.assert_eq(&all(file, 1000));
}

#[test]
fn values_stand_on_a_line_each_or_on_many_or_behind_each_other() {
    let file = format!("{}\n\n{}\n{} {}", request("a"), pretty("b"), request("c"), request("d"));
    check(
        &file,
        &expect![[r#"
        1 on line 1 at 0: *a
        2 on line 3 at 63: *b
        3 on line 18 at 241: *c
        4 on line 18 at 303: *d
    "#]],
    );
    check("", &expect![[""]]);
    check(" \n\t\r\n", &expect![[""]]);
}

#[test]
fn brackets_and_quotes_within_strings_are_no_brackets() {
    check(
        &request(r#"}]\"{[\\"#),
        &expect![[r#"
        1 on line 1 at 0: *}]"{[\
    "#]],
    );
}

#[test]
fn a_value_that_is_cut_off_does_not_swallow_the_next_ones() {
    let (a, b) = (request("a"), request("b"));
    for cut in 1..a.len() {
        let found = all(&format!("{}\n{b}\n{b}\n", &a[..cut]), 1000);
        let n_taken = found.lines().filter(|line| line.ends_with('b')).count();
        assert_eq!((n_taken, found.lines().count()), (2, 3), "cut at {cut}: {found}");
    }
}

#[test]
fn a_pretty_printed_value_that_is_cut_off_does_not_swallow_the_next_ones() {
    let (a, b) = (pretty("a"), pretty("b"));
    for cut in 1..a.len() {
        let found = all(&format!("{}\n{b}\n{b}\n", &a[..cut]), 1000);
        let n_taken = found.lines().filter(|line| line.ends_with('b')).count();
        assert_eq!((n_taken, found.lines().count()), (2, 3), "cut at {cut}: {found}");
    }
}

#[test]
fn what_is_json_and_no_request_is_told_and_passed_over_whole() {
    let file = format!("{{\"resourceSpans\": 5,\n\"a\": {{}}}}\n[1, 2]\n{}", request("b"));
    check(
        &file,
        &expect![[r#"
            1 on line 1 at 0: malformed OTLP/JSON: resourceSpans: invalid type: integer `5`, expected an array at line 1 column 19
            2 on line 3 at 30: malformed OTLP/JSON: invalid type: sequence, expected a request object at line 1 column 1
            3 on line 4 at 37: *b
        "#]],
    );
    let file = format!("{{\"resourceSpans\": [5,\n{{\"a\": 1}}]}}\n{}", request("b"));
    check(
        &file,
        &expect![[r#"
        1 on line 1 at 0: malformed OTLP/JSON: resourceSpans: invalid type: integer `5`, expected a resource spans object at line 1 column 20
        2 on line 3 at 33: *b
    "#]],
    );
}

#[test]
fn what_is_no_json_is_told_and_passed_over_to_the_end_of_the_line() {
    check(
        &format!("{}\nhello {{}}\n{}", request("a"), request("b")),
        &expect![[r#"
        1 on line 1 at 0: *a
        2 on line 2 at 62: found "hello {}", expected a JSON object
        3 on line 3 at 71: *b
    "#]],
    );
}

#[test]
fn a_value_that_is_too_large_is_passed_over() {
    let file = format!("{}\n{}\n", request(&"x".repeat(200)), request("b"));
    expect![[r#"
        1 on line 1 at 0: refused: more than 100 bytes, raise receivers.otlp.max_inflated_bytes
        2 on line 2 at 261: *b
    "#]]
    .assert_eq(&all(&file, 100));
}

#[test]
fn a_file_that_ends_within_a_value_is_told() {
    let whole = request("a");
    check(
        &format!("{whole}\n{}", &whole[..40]),
        &expect![[r#"
        1 on line 1 at 0: *a
        2 on line 2 at 62: malformed OTLP/JSON: resourceSpans: scopeSpans: EOF while parsing a string at line 1 column 40
    "#]],
    );
}

#[test]
fn lines_that_never_close_are_told_each() {
    let file = "{\"a\":[{},\n".repeat(300);
    let found = all(&file, 1 << 20);
    assert_eq!(found.lines().count(), 300);
}
