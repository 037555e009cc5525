//! The command line: one file a command.

/// The commit that was built, or `unknown` outside a checkout.
pub const COMMIT: &str = match option_env!("SPANMILL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
