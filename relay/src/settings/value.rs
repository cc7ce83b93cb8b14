//! The types a setting can have: how each is read from TOML and written back.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use toml_edit::Value;

/// A type that a key of `pop.toml` can have.
pub trait Setting: Sized {
    /// What a value looks like, in words, for errors and for `bauta config`.
    const KIND: &'static str;
    /// Reads a TOML value; the error says what was expected.
    fn read(value: &Value) -> Result<Self, String>;
    /// Writes the value as TOML.
    fn show(&self) -> String;
}

fn expected<T: Setting>() -> String {
    format!("expected {}", T::KIND)
}

macro_rules! whole_number {
    ($($ty:ty => $kind:literal),+) => { $(
        impl Setting for $ty {
            const KIND: &'static str = $kind;
            fn read(value: &Value) -> Result<Self, String> {
                value.as_integer().and_then(|n| n.try_into().ok()).ok_or_else(expected::<Self>)
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}

whole_number!(i8 => "a whole number from -128 to 127", u8 => "a whole number from 0 to 255", u16 => "a whole number from 0 to 65535", u32 => "a whole number from 0 to 4294967295", u64 => "a whole number, 0 or more");

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(expected::<Self>)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const KIND: &'static str = "a text in quotes";
    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(expected::<Self>)
    }
    fn show(&self) -> String {
        Value::from(self.as_str()).to_string()
    }
}

/// Types written as text: parsed with `FromStr`, shown with `Display`.
macro_rules! text {
    ($($ty:ty => $kind:literal),+) => { $(
        impl Setting for $ty {
            const KIND: &'static str = $kind;
            fn read(value: &Value) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(expected::<Self>)?;
                text.parse().map_err(|_| expected::<Self>())
            }
            fn show(&self) -> String {
                format!("\"{self}\"")
            }
        }
    )+ };
}

text!(IpAddr => "an IP address in quotes, like \"127.0.0.1\"", SocketAddr => "an address and port in quotes, like \"127.0.0.1:8090\"");

impl<T: Setting> Setting for Vec<T> {
    const KIND: &'static str = "a list";
    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| format!("expected a list; each entry {}", T::KIND))?;
        list.iter().map(T::read).collect()
    }
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("") => Ok(None),
            _ => T::read(value).map(Some),
        }
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), T::show)
    }
}

/// UDP ports, first and last included; at least four, since a call takes four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl PortRange {
    /// Pairs of an even port and the next.
    pub const fn pairs(self) -> usize {
        (self.last as usize + 1).saturating_sub(self.first as usize + self.first as usize % 2) / 2
    }
}

impl Setting for PortRange {
    const KIND: &'static str = "ports in quotes, like \"30000-39999\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(expected::<Self>)?;
        let (first, last) = text.split_once('-').ok_or_else(expected::<Self>)?;
        let (first, last): (u16, u16) =
            first.trim().parse().ok().zip(last.trim().parse().ok()).ok_or_else(expected::<Self>)?;
        match (u32::from(last) + 1).saturating_sub(u32::from(first)) {
            _ if first == 0 => Err("port 0 cannot be used".into()),
            0 => Err("ends before it starts".into()),
            n @ 1..4 => Err(format!("holds {n} port{}; a call takes 4", if n == 1 { "" } else { "s" })),
            4 if first % 2 == 1 => {
                Err("holds one pair of an even port and the next; a call takes two".into())
            }
            _ => Ok(Self { first, last }),
        }
    }
    fn show(&self) -> String {
        format!("\"{}-{}\"", self.first, self.last)
    }
}

/// For `check`: the address can be bound on this host.
pub fn on_this_host(address: &IpAddr) -> Result<(), String> {
    if address.is_unspecified() {
        return Err("names no interface: media sockets and SDP need one address of this host".into());
    }
    UdpSocket::bind((*address, 0)).map(drop).map_err(|e| {
        format!("is not an address of this host that can be bound ({e}); `ip address` lists them")
    })
}
