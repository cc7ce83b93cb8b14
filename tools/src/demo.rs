//! `bauta run --demo`: one masked, recorded call, with `bauta` as business, as SIP proxy and as both phones.
//!
//! Everything goes over the interfaces that the real ones use: HTTP with the token of each, NG over UDP, RTP
//! through the relay's ports. Runs on a blocking thread; takes as long as the call.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

mod phone;
mod proxy;
mod sight;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use recorder::verify::{Report, verify};
use serde_json::{Value, json};

use crate::client::Client;
use crate::place::{Place, Settings};
use crate::verify::lines;
use phone::{Heard, Phone};
use proxy::{Proxy, Route};
use sight::Sight;

/// What the driver says.
const DRIVER: &[u8] = include_bytes!("../speech/driver.al");
/// What the passenger says.
const PASSENGER: &[u8] = include_bytes!("../speech/passenger.al");
/// How long the archive may take after the call.
const ARCHIVING: Duration = Duration::from_secs(15);

/// Places the call and prints what happened. True when all of it was right.
pub fn play(place: &Place, settings: &Settings) -> anyhow::Result<bool> {
    println!("\nA driver calls a passenger. (Numbers are of the ranges reserved for fiction.)\n");
    let client = |scope| Client::scope(settings.control.http, &place.state, scope);
    let trip = Trip::open(&client("operator")?, &client("business")?)?;
    let [driver, passenger] = &trip.parties;
    println!("  The business opens the trip {}:", trip.name);
    println!("    driver      has {}   is to dial {}", driver.phone, driver.dial);
    println!("    passenger   has {}   is to dial {}\n", passenger.phone, passenger.dial);

    let call = Call::place(&trip, &client("proxy")?, settings)?;
    println!("  The driver dials {}:", driver.dial);
    println!("    the passenger's phone rings and shows   {}", number(&call.route.shown));
    println!("    the driver's phone shows                {}\n", driver.dial);
    let voices = call.talked(driver, passenger);

    let recording = finished(&client("dispute")?, &trip.name)?;
    let folder = recording
        .parse()
        .ok()
        .and_then(|id| recorder::archive::folder(&place.state, id))
        .context("control gave a recording an id that is not one")?;
    let archive = archive(&folder, &trip.name, [&call.heard[1], &call.heard[0]]);

    client("business")?.post(&format!("/v1/trips/{}/close", trip.name), &json!({}))?;
    let refused = closed(&trip, &client("proxy")?)?;

    let right = voices && archive && refused;
    println!("{}", if right { "PASSED: masked, complete, recorded." } else { "FAILED: see above." });
    Ok(right)
}

/// A party of the trip.
#[derive(Debug)]
struct Party {
    /// Its own number.
    phone: String,
    /// The pool number that it dials.
    dial: String,
}

/// The trip: driver and passenger.
#[derive(Debug)]
struct Trip {
    name: String,
    parties: [Party; 2],
}

impl Trip {
    /// Makes the demo's city, if need be, and a new trip with parties who have no other.
    fn open(operator: &Client, business: &Client) -> anyhow::Result<Self> {
        // Ofcom keeps these for drama: 020 7946 0000-0999 and 07700 900000-900999.
        let pool: Vec<_> = (0..20).map(|n| format!("+442079460{:03}", 980 + n)).collect();
        let plan = json!({"country": "44", "numbers": pool, "record": true, "cooling": 60});
        operator.put("/v1/cities/bauta-demo", &plan)?;
        let random = getrandom::u64()?;
        let (first, step) = (random % 1000, 1 + random / 1000 % 999);
        let phones = [first, (first + step) % 1000].map(|n| format!("+447700900{n:03}"));
        // Letters alone: a trip's name must not look like a number.
        let letters = (0..8).map(|n| char::from(b'a' + ((random >> (20 + 4 * n)) & 15) as u8));
        let name = format!("demo-{}", letters.collect::<String>());
        let [driver, passenger] = &phones;
        let wish = json!({
            "trip": name, "city": "bauta-demo", "record": true, "expires_in": 300, "grace": 0,
            "parties": [{"role": "driver", "phone": driver}, {"role": "passenger", "phone": passenger}],
        });
        let made = business.post("/v1/trips", &wish)?;
        let dial = |role: &str| {
            let parties = made["parties"].as_array().into_iter().flatten();
            let party = parties.filter(|p| p["role"] == role).find_map(|p| p["dial"].as_str());
            party.map(str::to_owned).with_context(|| format!("the trip has no number for the {role}"))
        };
        let dials = [dial("driver")?, dial("passenger")?];
        let [driver, passenger] = phones;
        let [driver_dials, passenger_dials] = dials;
        let parties =
            [Party { phone: driver, dial: driver_dials }, Party { phone: passenger, dial: passenger_dials }];
        Ok(Self { name, parties })
    }
}

/// The call, over.
#[derive(Debug)]
struct Call {
    route: Route,
    /// What the driver and what the passenger heard.
    heard: [Heard; 2],
    /// What reached the driver and what reached the passenger.
    sights: [Sight; 2],
}

impl Call {
    /// Asks for the route, sets up the media, lets both talk, hangs up.
    fn place(trip: &Trip, proxy: &Client, settings: &Settings) -> anyhow::Result<Self> {
        let [driver, passenger] = &trip.parties;
        let mut proxy = Proxy::new(proxy.clone(), settings.control.ng)?;
        let route = proxy.route(&driver.phone, &driver.dial)?;
        ensure!(route.callee.contains(&passenger.phone), "the route does not lead to the passenger's phone");
        let interfaces = settings.relay.interfaces();
        let media = interfaces.first().and_then(|i| i.addresses.first()).context("no interface")?;
        let phones = [Phone::new(media.bound, &driver.phone)?, Phone::new(media.bound, &passenger.phone)?];
        let [caller, callee] = &phones;
        let offered = proxy.offer(&caller.sdp()?)?;
        let answered = proxy.answer(&callee.sdp()?)?;
        // Behind a 1:1 NAT the advertised address need not lead back to this host.
        let instead = (media.advertised != media.bound).then_some(media.bound);
        let (to_caller, to_callee) = (phone::media(&answered, instead)?, phone::media(&offered, instead)?);
        let heard = std::thread::scope(|scope| {
            let talks = [
                scope.spawn(|| caller.talk(to_caller, DRIVER, PASSENGER)),
                scope.spawn(|| callee.talk(to_callee, PASSENGER, DRIVER)),
            ];
            talks.map(|talk| talk.join().unwrap_or_else(|_| bail!("a phone stopped by a fault")))
        });
        proxy.delete()?;
        let [at_driver, at_passenger] = heard;
        let heard = [at_driver?, at_passenger?];
        let mut sights = [Sight::default(), Sight::default()];
        let [at_driver, at_passenger] = &mut sights;
        at_driver.saw(driver.dial.as_bytes()).saw(answered.as_bytes());
        at_passenger.saw(route.shown.as_bytes()).saw(route.display.as_bytes()).saw(offered.as_bytes());
        for (sight, heard) in [at_driver, at_passenger].into_iter().zip(&heard) {
            heard.datagrams.iter().for_each(|datagram| {
                sight.saw(datagram);
            });
        }
        Ok(Self { route, heard, sights })
    }

    /// Prints what came through and what was seen. True when it is all and nothing else.
    fn talked(&self, driver: &Party, passenger: &Party) -> bool {
        let [at_driver, at_passenger] = &self.heard;
        let mut right = number(&self.route.shown) == passenger.dial;
        if !right {
            println!("  WRONG: the passenger's phone should have shown {}\n", passenger.dial);
        }
        println!("  They talk ({} s of 20 ms packets, G.711 A-law, both ways at once):", DRIVER.len() / 8000);
        for (name, heard) in [("driver to passenger", at_passenger), ("passenger to driver", at_driver)] {
            let (sent, received, same) = (heard.sent, heard.datagrams.len(), heard.identical);
            println!("    {name}   {sent} packets sent, {received} received, {same} identical");
            right &= sent == received && sent == same;
        }
        println!("\n  Looked for in all that reached the other party (caller ID, SDP, every packet):");
        let [driver_saw, passenger_saw] = &self.sights;
        for (whose, number, sight) in [
            ("the driver's number   ", &driver.phone, passenger_saw),
            ("the passenger's number", &passenger.phone, driver_saw),
        ] {
            let found = sight.times(number);
            let verdict = if found == 0 { "not there".to_owned() } else { format!("FOUND {found} TIMES") };
            println!("    {whose}   {verdict} ({} messages)", sight.messages());
            right &= found == 0;
        }
        right
    }
}

/// The number in a SIP URI.
fn number(uri: &str) -> &str {
    let user = uri.strip_prefix("sip:").unwrap_or(uri);
    user.split('@').next().unwrap_or(user)
}

/// Waits until the trip's one recording is archived; its id.
fn finished(dispute: &Client, trip: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + ARCHIVING;
    loop {
        let list = dispute.read_json(&format!("/v1/recordings?trip={trip}"))?;
        let recordings = list["recordings"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let [Value::Object(recording)] = recordings
            && recording.get("state").is_some_and(|state| state == "archived")
        {
            return Ok(recording.get("id").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        if Instant::now() > deadline {
            bail!("no archive {} s after the call; control says: {list}", ARCHIVING.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Verifies the archive, and that it is this call's: `voices` are what caller and callee said.
fn archive(folder: &Path, trip: &str, voices: [&Heard; 2]) -> bool {
    let report = verify(folder);
    println!("\n  The archive, {}:", folder.display());
    lines(&report).iter().for_each(|line| println!("    {line}"));
    let complete = complete(&report, trip, voices);
    if let Err(wrong) = &complete {
        println!("    FAIL  {wrong}");
    }
    println!();
    report.holds() && complete.is_ok()
}

fn complete(report: &Report, trip: &str, voices: [&Heard; 2]) -> Result<(), String> {
    let Some(manifest) = &report.manifest else { return Err("there is no manifest".into()) };
    if manifest.trip.as_deref() != Some(trip) {
        return Err("it is another trip's".into());
    }
    let channels = [(&manifest.left, "driver"), (&manifest.right, "passenger")];
    for ((channel, role), heard) in channels.into_iter().zip(voices) {
        if channel.role.as_deref() != Some(role) {
            return Err(format!("the {role} is not on its own channel"));
        }
        if channel.counts.packets != heard.sent as u64 {
            let packets = channel.counts.packets;
            return Err(format!("{packets} packets of the {role} are recorded, {} were sent", heard.sent));
        }
    }
    if manifest.gaps.is_empty() { Ok(()) } else { Err("it states gaps".into()) }
}

/// Calls once more now that the trip is closed: must be refused.
fn closed(trip: &Trip, proxy: &Client) -> anyhow::Result<bool> {
    let [driver, _] = &trip.parties;
    let answer = proxy::ask(proxy, &proxy::call_id()?, &driver.phone, &driver.dial)?;
    let (code, reason) = (&answer["bauta"]["sip_code"], &answer["bauta"]["reason"]);
    let refused =
        answer["bauta"]["decision"] == "reject" && answer["routes"].as_array().is_some_and(Vec::is_empty);
    println!("  The business closes the trip. The driver dials {} again:", driver.dial);
    if refused {
        println!("    refused with SIP {code} ({})\n", reason.as_str().unwrap_or_default());
    } else {
        println!("    NOT REFUSED\n");
    }
    Ok(refused)
}
