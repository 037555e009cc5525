//! The command line from outside: what is told, where, and the exit code.

use std::fs;
use std::net::TcpListener;

use expect_test::{Expect, expect};
use rustix::process::Signal;

use crate::support::command::{Output, spanmill};
use crate::support::process::{Config, Spanmill};

/// A configuration file of that text is refused with these lines.
async fn check_refused(text: &str, expected: &Expect) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spanmill.yaml");
    fs::write(&path, text).expect("a written file");
    let path = path.to_str().expect("a path of text");
    let folder = folder.path().to_str().expect("a path of text");
    let checked = spanmill(&["check-config", path]).await;
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(64), ""));
    expected.assert_eq(&checked.stderr.replace(folder, "FOLDER"));
    for command in [&["run", "--config", path][..], &["replay", "--config", path, "x"]] {
        let output = spanmill(command).await;
        assert_eq!((output.code, &output.stderr), (Some(64), &checked.stderr), "{command:?}");
    }
}

fn assert_one_line(output: &Output, code: i32, line: &str) {
    let told = (output.code, output.stdout.as_str(), output.stderr.as_str());
    assert_eq!(told, (Some(code), "", format!("{line}\n").as_str()));
}

#[tokio::test]
async fn three_mistakes_in_a_file_are_three_lines() {
    let text = "registry:\n  collection_intervall: 15s\n  stale_duration: 15 minutes\n\
                processors:\n  span_metrics:\n    filter_policies:\n      - include:\n          \
                match_type: regex\n          attributes:\n            - { key: name, value: \"a(\" }\n";
    check_refused(text, &expect![[r#"
        FOLDER/spanmill.yaml:2:3: registry.collection_intervall: unknown key, did you mean registry.collection_interval
        FOLDER/spanmill.yaml:3:19: registry.stale_duration: found "15 minutes", expected a duration such as 15s or 1m30s, at least 1ms
        FOLDER/spanmill.yaml:10:35: processors.span_metrics.filter_policies[0].include.attributes[0].value: found "a(", expected a regex: unclosed group
    "#]]).await;
}

#[tokio::test]
async fn each_kind_of_mistake_is_told_with_line_column_and_what_was_expected() {
    check_refused(
        "admin: { endpoint: [1] }\n",
        &expect![[r#"
        FOLDER/spanmill.yaml:1:20: admin.endpoint: found a list, expected host:port, or "" for off
    "#]],
    )
    .await;
    check_refused(
        "registry: 5\n",
        &expect![[r#"
        FOLDER/spanmill.yaml:1:11: registry: found "5", expected a mapping of keys
    "#]],
    )
    .await;
    check_refused(
        "multitenancy: { enabled: maybe }\n",
        &expect![[r#"
        FOLDER/spanmill.yaml:1:26: multitenancy.enabled: found "maybe", expected true or false
    "#]],
    )
    .await;
    check_refused("registry: { collection_interval: 10ms }\n", &expect![[r#"
        FOLDER/spanmill.yaml:1:34: registry.collection_interval: found "10ms", expected a duration such as 15s or 1m30s, at least 1s
    "#]]).await;
    check_refused("storage: { path: /tmp }\n", &expect![[r#"
        FOLDER/spanmill.yaml:1:12: storage.path: not in this version: found "/tmp", expected "" or nothing
    "#]]).await;
    check_refused(
        "a: [\n",
        &expect![[r#"
        FOLDER/spanmill.yaml:2:1: not YAML: while parsing a node, did not find expected node content
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_good_configuration_is_printed_and_the_printed_one_is_good() {
    let defaults = spanmill(&["check-config"]).await;
    assert_eq!((defaults.code, defaults.stderr.as_str()), (Some(0), ""));
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.yaml"));
    let rest = defaults.stdout.strip_prefix(&file.expect("the defaults"));
    let memory = rest.expect("the defaults, and then the table of the memory").trim();
    assert!(memory.contains("MiB  limits.memory, of which") && memory.lines().count() == 8);
    let set = ["check-config", "config/prometheus.yaml", "--set", "registry.stale_duration=3m"];
    let printed = spanmill(&set).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    assert!(printed.stdout.contains("stale_duration: 3m") && printed.stdout.contains("home"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("printed.yaml");
    fs::write(&path, &printed.stdout).expect("a written file");
    let again = spanmill(&["check-config", path.to_str().expect("text")]).await;
    assert_eq!((again.code, again.stdout), (Some(0), printed.stdout));
    let missing = spanmill(&["check-config", "/nonexistent.yaml"]).await;
    assert_one_line(
        &missing,
        64,
        "/nonexistent.yaml: can't be read: no such file or directory (os error 2)",
    );
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_names_key_and_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("bound").to_string();
    let all = ["receivers.otlp.grpc.endpoint", "receivers.otlp.http.endpoint", "admin.endpoint"];
    for key in all {
        let sets = all.map(|k| format!("{k}={}", if k == key { &addr } else { "127.0.0.1:0" }));
        let [a, b, c] = sets.each_ref().map(String::as_str);
        let output = spanmill(&["--set", a, "--set", b, "--set", c]).await;
        let line = format!("{key}: can't listen on {addr}: Address already in use (os error 98)");
        assert_one_line(&output, 1, &line);
    }
}

#[tokio::test]
async fn usage_is_told_in_a_line_with_exit_code_64() {
    for (line, expected) in [
        (
            "chek-config",
            "unrecognized subcommand 'chek-config'; a similar subcommand exists: 'check-config'",
        ),
        ("--confg x", "unexpected argument '--confg' found; a similar argument exists: '--config'"),
        ("load", "load: not in this version"),
        (
            "demo --speed 0",
            "invalid value '0' for '--speed <X>': expected a number above 0, at most 1000",
        ),
        (
            "demo --duration soon",
            "invalid value 'soon' for '--duration <D>': expected a duration such as 30s or 10m",
        ),
        (
            "demo --to https://h:1",
            "--to: \"https://h:1\": unknown scheme, expected http://HOST:PORT[/v1/traces] or grpc://HOST:PORT",
        ),
        (
            "demo --to http://h --remote-write http://h",
            "the argument '--to <URL>' cannot be used with '--remote-write <URL>'",
        ),
        ("replay", "the following required arguments were not provided: <FILE>..."),
        (
            "replay x --to https://h:1",
            "--to: \"https://h:1\": unknown scheme, expected http://HOST:PORT[/v1/traces] or grpc://HOST:PORT",
        ),
        (
            "replay x --to http://h:1 --json",
            "--json: nothing is printed with --to, leave out one of them",
        ),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_one_line(&spanmill(&arguments).await, 64, expected);
    }
}

#[tokio::test]
async fn version_help_and_completion_go_to_stdout() {
    let version = spanmill(&["--version"]).await;
    let pattern = concat!("^spanmill ", env!("CARGO_PKG_VERSION"), r" \(commit [0-9a-z.+-]+\)\n$");
    let pattern = regex::Regex::new(pattern).expect("a regex");
    assert!(version.code == Some(0) && pattern.is_match(&version.stdout), "{version:?}");
    let help = spanmill(&["--help"]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for word in [
        "replay",
        "demo",
        "check-config",
        "dashboards",
        "completion",
        "--config",
        "--set",
        "--remote-write",
    ] {
        assert!(help.stdout.contains(word), "{word} is missing in {}", help.stdout);
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = spanmill(&["completion", shell]).await;
        assert!(script.code == Some(0) && script.stdout.contains("shift-to-now"), "{script:?}");
    }
}

#[tokio::test]
async fn sigterm_and_sigint_end_the_service_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut service = Spanmill::start(&Config {
            collection_interval: "10m",
            run: "signal".to_owned(),
            remote_write: Vec::new(),
        })
        .await;
        service.signal(signal);
        let status = service.exit_status().await;
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", service.stderr());
    }
}
