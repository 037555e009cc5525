//! One binary for all tests that see Spanmill from outside.

mod support;

mod relabel;
mod remote_write_client;
