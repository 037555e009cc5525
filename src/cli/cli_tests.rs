//! Claims about the command line.

use expect_test::{Expect, expect};

use super::*;

fn parse(line: &str) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(line.split(' '))
}

fn check(line: &str, expected: &Expect) {
    let error = parse(line).unwrap_err();
    assert!(error.use_stderr());
    expected.assert_eq(&one_line(&error));
}

fn exit_code(line: &str) -> String {
    format!("{:?}", main(line.split(' ').map(OsString::from)))
}

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

#[test]
fn run_is_the_command_that_needs_no_name() {
    let options = "--config c.yaml --set a.b=1 --set c=[1,2] --remote-write http://h";
    for line in [format!("spanmill {options}"), format!("spanmill run {options}")] {
        let parsed = parse(&line).unwrap();
        let arguments = match parsed.command {
            Some(Command::Run(arguments)) => arguments,
            _ => parsed.run,
        };
        assert_eq!(arguments.config.config, Some(PathBuf::from("c.yaml")));
        assert_eq!(arguments.config.set, ["a.b=1", "c=[1,2]"]);
        assert_eq!(arguments.remote_write, ["http://h"]);
    }
}

#[test]
fn replay_takes_files_and_its_options() {
    let line = "spanmill replay a.gz b --to grpc://h:1 --shift-to-now --json --set a=1 --config c";
    let Some(Command::Replay(arguments)) = parse(line).unwrap().command else { panic!("{line}") };
    assert_eq!(arguments.files, [PathBuf::from("a.gz"), PathBuf::from("b")]);
    assert_eq!(arguments.to.as_deref(), Some("grpc://h:1"));
    assert!(arguments.shift_to_now && arguments.json);
    assert_eq!(arguments.config.set, ["a=1"]);
    assert_eq!(arguments.config.config, Some(PathBuf::from("c")));
}

#[test]
fn wrong_usage_is_one_line_with_a_suggestion() {
    check(
        "spanmill --confg x",
        &expect!["unexpected argument '--confg' found; a similar argument exists: '--config'"],
    );
    check(
        "spanmill chek-config",
        &expect![
            "unrecognized subcommand 'chek-config'; a similar subcommand exists: 'check-config'"
        ],
    );
    check(
        "spanmill replay",
        &expect!["the following required arguments were not provided: <FILE>..."],
    );
    check(
        "spanmill --set",
        &expect!["a value is required for '--set <KEY=VALUE>' but none was supplied"],
    );
    check(
        "spanmill completion fsh",
        &expect![
            "invalid value 'fsh' for '<SHELL>'; [possible values: bash, elvish, fish, powershell, zsh]; a similar value exists: 'fish'"
        ],
    );
    check("spanmill check-config a b", &expect!["unexpected argument 'b' found"]);
}

#[test]
fn the_exit_code_is_0_for_what_was_asked_for_and_64_for_wrong_usage() {
    assert_eq!(exit_code("spanmill --version"), code(0));
    assert_eq!(exit_code("spanmill check-config /nonexistent"), code(64));
    assert_eq!(exit_code("spanmill check-config --set a.b=1"), code(64));
    assert_eq!(exit_code("spanmill run --config /nonexistent"), code(64));
    assert_eq!(exit_code("spanmill --no-such-flag"), code(64));
    assert_eq!(exit_code("spanmill demo --rate 0"), code(64));
    assert_eq!(exit_code("spanmill load"), code(64));
}

#[test]
fn the_version_names_the_commit() {
    let error = parse("spanmill --version").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("spanmill {} (commit {COMMIT})\n", env!("CARGO_PKG_VERSION"))
    );
}
