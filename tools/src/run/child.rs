//! `bauta child`: what a child of the supervisor is before it becomes one of the three processes.
//!
//! A process can ask only for itself to be ended when its parent dies, so the supervisor starts this, and this
//! asks and then turns into the program. A supervisor killed with SIGKILL so leaves nothing behind.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Not for people: become a program that ends with its parent.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The supervisor's process id.
    #[arg(long)]
    parent: i32,
    /// What to become.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// The command by which the supervisor starts `program`.
pub fn command(program: &Path, arguments: &[OsString]) -> std::io::Result<Command> {
    let mut command = Command::new(this_program()?);
    command.arg("child").arg("--parent").arg(std::process::id().to_string());
    command.arg(program).args(arguments);
    Ok(command)
}

/// This program, or what a package upgrade has put in its place.
fn this_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.filter(|replacement| replacement.is_file()).unwrap_or(path))
}

/// Runs the subcommand; returns only when it failed.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have died before the line above.
    anyhow::ensure!(
        getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == arguments.parent),
        "the supervisor is gone"
    );
    let error = Command::new(&arguments.program).args(&arguments.rest).exec();
    Err(error).with_context(|| format!("{} cannot be run", arguments.program.display()))
}
