//! Where a POP is: its state directory and its settings. Shared by every subcommand that speaks to one.

use std::path::PathBuf;

use control::settings::ControlSettings;
use relay::options::Options;
use relay::settings::{Error, File, Section};

/// Names a POP on this host.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// State directory: sockets, tokens, keys, database, spools, archives, logs.
    #[arg(long, value_name = "DIR", default_value = "var")]
    pub state: PathBuf,
    /// Settings file; without it `pop.toml` in the current directory if there is one, else all defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `bauta` itself needs of `pop.toml`, all of which was checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[relay]`
    pub relay: Options,
    /// `[control]`
    pub control: ControlSettings,
}

/// A settings file with something wrong in it. Prints one line per fault.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n       "))]
pub struct Refused(Vec<Error>);

impl Settings {
    /// Reads every section; the first fault of each is told.
    pub fn of(file: &File) -> Result<Self, Refused> {
        let recorder = recorder::settings::Settings::read(file);
        match (Options::read(file), ControlSettings::read(file), recorder) {
            (Ok(relay), Ok(control), Ok(_)) => Ok(Self { relay, control }),
            (relay, control, recorder) => {
                Err(Refused([relay.err(), control.err(), recorder.err()].into_iter().flatten().collect()))
            }
        }
    }
}

impl Place {
    /// The settings of this POP.
    pub fn settings(&self) -> Result<Settings, Refused> {
        let file = File::open(self.config.as_deref()).map_err(|error| Refused(vec![error]))?;
        Settings::of(&file)
    }
}
