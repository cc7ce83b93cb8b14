//! `bauta`: the operator's command line. One file per subcommand.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line answers on standard output")]

mod backup;
mod calls;
mod client;
mod columns;
mod config;
mod demo;
mod doctor;
mod drain;
mod export;
mod keys;
mod load;
mod place;
mod pool;
mod run;
mod stats;
mod tokens;
mod upgrade;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs and looks after a Bauta POP: masked, recorded calls.
#[derive(Parser)]
#[command(name = "bauta", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Upgrade(upgrade::Arguments),
    Doctor(doctor::Arguments),
    Drain(drain::Arguments),
    Calls(calls::List),
    Call(calls::One),
    Stats(stats::Arguments),
    Load(Box<load::Arguments>),
    Pool(pool::Arguments),
    Keys(keys::Arguments),
    Backup(backup::Arguments),
    Tokens(tokens::Arguments),
    Verify(verify::Arguments),
    Export(export::Arguments),
    Config(config::Arguments),
    #[command(hide = true)]
    Child(run::child::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Upgrade(arguments) => upgrade::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
        Command::Drain(arguments) => drain::main(&arguments),
        Command::Calls(arguments) => calls::list(&arguments),
        Command::Call(arguments) => calls::one(&arguments),
        Command::Stats(arguments) => stats::main(&arguments),
        Command::Load(arguments) => load::main(&arguments),
        Command::Pool(arguments) => pool::main(arguments),
        Command::Keys(arguments) => keys::main(&arguments),
        Command::Backup(arguments) => backup::main(&arguments),
        Command::Tokens(arguments) => tokens::main(&arguments),
        Command::Verify(arguments) => Ok(verify::main(&arguments)),
        Command::Export(arguments) => export::main(arguments),
        Command::Config(arguments) => config::main(&arguments),
        Command::Child(arguments) => run::child::main(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bauta: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_subcommand_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
