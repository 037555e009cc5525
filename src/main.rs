//! The program: arguments, configuration, exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    spanmill::cli::main(std::env::args_os())
}
