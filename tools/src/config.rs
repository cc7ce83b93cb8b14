//! `bauta config`: every key of `pop.toml`, or a check of one.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use control::settings::ControlSettings;
use relay::options::Options;
use relay::settings::{Key, Section};

use crate::place::Place;

/// Print every setting with its default and meaning, as a pop.toml; or check one.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Check this settings file instead: exits 1 and says where and why if it would be refused.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.check {
        None => print!("{}", text()),
        Some(path) => {
            Place { state: PathBuf::new(), config: Some(path.clone()) }.settings()?;
            println!("{}: every setting is valid on this host", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole settings file with all defaults.
fn text() -> String {
    let mut text = "# Bauta's settings, read by relay, control and recorder at their start.\n\
                    # Every key is shown with its default; leave out what you do not change.\n"
        .to_owned();
    section::<Options>(&mut text);
    section::<ControlSettings>(&mut text);
    section::<recorder::settings::Settings>(&mut text);
    text
}

fn section<S: Section>(text: &mut String) {
    text.push('\n');
    comment(text, S::ABOUT);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[{}]", S::NAME);
    for Key { name, kind, default, sentence } in S::keys() {
        text.push('\n');
        comment(text, sentence);
        comment(text, &format!("Takes {kind}."));
        let _ = writeln!(text, "{name} = {default}");
    }
}

/// Appends `words` as comment lines of 100 characters at most.
fn comment(text: &mut String, words: &str) {
    let mut width = usize::MAX;
    for word in words.split_whitespace() {
        if width.saturating_add(word.len()) > 99 {
            if width != usize::MAX {
                text.push('\n');
            }
            text.push('#');
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Settings;
    use relay::settings::File;

    #[test]
    fn what_is_printed_is_read_back_as_the_defaults() {
        let file = File::parse("pop.toml", &text()).unwrap();
        let Settings { relay, control } = Settings::of(&file).unwrap();
        assert_eq!(format!("{relay:?}"), format!("{:?}", Options::default()));
        assert_eq!(format!("{control:?}"), format!("{:?}", ControlSettings::default()));
        let recorder = recorder::settings::Settings::read(&file).unwrap();
        assert_eq!(format!("{recorder:?}"), format!("{:?}", recorder::settings::Settings::default()));
    }

    #[test]
    fn comments_are_wrapped() {
        let mut text = String::new();
        comment(&mut text, &"word ".repeat(40));
        assert!(text.lines().count() == 3 && text.lines().all(|l| l.starts_with("# word") && l.len() <= 100));
    }
}
