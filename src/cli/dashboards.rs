//! `spanmill dashboards`: Grafana's dashboards, rules and provisioning, as files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_TROUBLE, print, tell};
use crate::dashboards::{File, all_files};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder to write to; it is made if need be, and files of the same names are replaced.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let files = all_files();
    for file in &files {
        let path = arguments.dir.join(&file.path);
        if let Err(error) = write(&path, file) {
            tell(format_args!("can't write {}: {error}", path.display()));
            return ExitCode::from(EXIT_TROUBLE);
        }
    }
    print(&format!("{} files in {}\n", files.len(), arguments.dir.display()))
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, &file.text)
}
