//! Claims about scalars with a meaning.

use super::*;

#[test]
fn durations_take_the_forms_of_go_and_prometheus() {
    let ms = |text: &str| duration(text).map(|time| time.as_millis());
    assert_eq!(ms("1m30s"), Some(90_000));
    assert_eq!(ms("15s"), Some(15_000));
    assert_eq!(ms("1d"), Some(86_400_000));
    assert_eq!(ms("2w"), Some(14 * 86_400_000));
    assert_eq!(ms("1y"), Some(365 * 86_400_000));
    assert_eq!(ms("100ms"), Some(100));
    assert_eq!(ms("1h"), Some(3_600_000));
    assert_eq!(ms("1.5h"), Some(5_400_000));
    assert_eq!(ms(".5s"), Some(500));
    assert_eq!(ms("0s"), Some(0));
    assert_eq!(ms("0"), Some(0));
    assert_eq!(duration("1\u{b5}s"), Some(Duration::from_micros(1)));
    assert_eq!(duration("0.1s"), Some(Duration::from_millis(100)));
    for text in
        ["", "15", "s", "1 s", "-1s", "1x", "1.2.3s", "1s2", "200y", "99999999999999999y", "."]
    {
        assert_eq!(duration(text), None, "{text:?}");
    }
}

#[test]
fn sizes_take_units_of_1000_and_of_1024() {
    assert_eq!(size("16MiB"), Some(16 << 20));
    assert_eq!(size("64KiB"), Some(64 << 10));
    assert_eq!(size("1GiB"), Some(1 << 30));
    assert_eq!(size("1MB"), Some(1_000_000));
    assert_eq!(size("1.5 kib"), Some(1_536));
    assert_eq!(size("4096"), Some(4_096));
    for text in ["", "MiB", "16 bananas", "-1", "1e6", "99999999999TiB", "1.2.3MB"] {
        assert_eq!(size(text), None, "{text:?}");
    }
}

#[test]
fn an_endpoint_has_a_host_and_a_port() {
    for text in ["127.0.0.1:4317", "localhost:0", "[::1]:4317", "collector.svc:65535"] {
        assert_eq!(endpoint(text).as_deref(), Some(text));
    }
    let all = endpoint(":4317").unwrap();
    assert!(all == "[::]:4317" || all == "0.0.0.0:4317", "{all}");
    for text in ["4317", "localhost", "::1:4317", "http://x:1", "x:65536", "x:", "x:+1", "[x]:1"] {
        assert_eq!(endpoint(text), None, "{text:?}");
    }
}

#[test]
fn a_relabelling_regex_is_anchored_and_its_dot_is_any_character() {
    let regex = relabel_regex("a|b.").unwrap();
    assert!(regex.is_match("a") && regex.is_match("b\n"));
    let digits = relabel_regex(r"\d+").unwrap();
    assert!(digits.is_match("42") && !digits.is_match("\u{664}\u{662}"), "digits are Go's");
    assert!(!regex.is_match("xa") && !regex.is_match("ax"));
    assert_eq!(relabel_regex("a)(b").unwrap_err(), "unopened group");
}

#[test]
fn a_masked_url_shows_neither_user_nor_query() {
    assert_eq!(masked_url("http://u:p@h:1/x?token=t"), "http://<secret>@h:1/x?<secret>");
    assert_eq!(masked_url("u:p@h"), "<secret>@h");
    assert_eq!(masked_url("http://h/x"), "http://h/x");
}
