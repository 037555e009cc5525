//! YAML as JSON, every scalar as text.

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value};

/// The one document in the text; none of ours has an alias or a tag.
pub(crate) fn parse(text: &str) -> Value {
    let mut parser = Parser::new_from_str(text);
    loop {
        match next(&mut parser) {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return value(event, &mut parser),
        }
    }
}

/// A file of `grafana-dashboards/`.
pub(crate) fn file(path: &str) -> Value {
    parse(&super::read(path))
}

fn next<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Event<'a> {
    parser.next_event().expect("a document has an end").expect("YAML").0
}

fn value<'a>(event: Event<'a>, parser: &mut Parser<'a, StrInput<'a>>) -> Value {
    match event {
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match next(parser) {
                    Event::SequenceEnd => return Value::Array(list),
                    event => list.push(value(event, parser)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            loop {
                let key = match next(parser) {
                    Event::MappingEnd => return Value::Object(map),
                    Event::Scalar(key, ..) => key.into_owned(),
                    event => panic!("a key that is {event:?}"),
                };
                let event = next(parser);
                let old = map.insert(key.clone(), value(event, parser));
                assert_eq!(old, None, "{key} twice");
            }
        }
        event => panic!("not expected in our files: {event:?}"),
    }
}

/// The text at a path of keys.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_str().unwrap_or_else(|| panic!("{path} is not text: {found}"))
}

/// The list at a path of keys.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_array().unwrap_or_else(|| panic!("{path} is not a list: {found}"))
}
