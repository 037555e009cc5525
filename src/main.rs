//! The program: arguments, configuration, exit codes.

fn main() {}
