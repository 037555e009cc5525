//! One binary for all tests that see Spanmill from outside.

mod support;

mod remote_write_client;
