//! `pop.toml`: one settings file, read by relay, control and recorder alike.
//!
//! Each process declares its own section with [`settings!`](crate::settings!), which is the one place where a
//! key's name, type, default and meaning stand. [`File`] reads the text once at start and keeps the spans, so
//! that every refusal names file, line and reason. Nothing here runs after start.

mod file;
mod value;

pub use file::{Error, File, Key, Section};
pub use value::{PortRange, Setting, on_this_host};

/// Declares a section of `pop.toml`: a struct with one field per key, each with its meaning, type and default. Behind
/// the struct may stand a check of what no single key shows: `check NAME`, a function of the section and its [`File`].
///
/// ```
/// relay::settings::settings! {
///     /// A lamp.
///     pub struct Lamp in "relay" {
///         /// How bright, in percent.
///         brightness: u8 = 80, check |v: &u8| if *v <= 100 { Ok(()) } else { Err("over 100 %".into()) };
///         /// Whether it is lit.
///         lit: bool = true;
///     }
/// }
/// use relay::settings::{File, Section};
/// let lamp = Lamp::read(&File::parse("pop.toml", "[relay]\nlit = false").unwrap()).unwrap();
/// assert_eq!((lamp.brightness, lamp.lit), (80, false));
/// let error = Lamp::read(&File::parse("pop.toml", "[relay]\nbrightness = 101").unwrap()).unwrap_err();
/// assert_eq!(error.to_string(), "pop.toml:2: relay.brightness = 101: over 100 %");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $Name:ident in $section:literal {
            $(
                $(#[doc = $sentence:literal])+
                $field:ident : $ty:ty = $default:expr $(, check $check:expr)? ;
            )+
        }
        $(check $whole:expr)?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        $vis struct $Name {
            $( $(#[doc = $sentence])+ pub $field: $ty, )+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::settings::Section for $Name {
            const NAME: &'static str = $section;
            const ABOUT: &'static str = concat!($($about),+);

            fn keys() -> Vec<$crate::settings::Key> {
                let default = Self::default();
                vec![$(
                    $crate::settings::Key {
                        name: stringify!($field),
                        kind: <$ty as $crate::settings::Setting>::KIND,
                        default: $crate::settings::Setting::show(&default.$field),
                        sentence: concat!($($sentence),+),
                    },
                )+]
            }

            fn read(file: &$crate::settings::File) -> Result<Self, $crate::settings::Error> {
                file.known_keys($section, &[$(stringify!($field)),+])?;
                let section = Self {
                    $( $field: {
                        #[allow(unused_mut, unused_assignments, clippy::type_complexity, reason = "a key without a check")]
                        let mut check: fn(&$ty) -> Result<(), String> = |_| Ok(());
                        $( check = $check; )?
                        file.value($section, stringify!($field), $default, check)?
                    }, )+
                };
                $( $whole(&section, file)?; )?
                Ok(section)
            }
        }
    };
}

pub use crate::settings;
