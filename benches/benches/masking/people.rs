//! Who takes part: trips, their ids and phones, each from its index alone, so that a folder that was filled once is
//! known again.

use control::city::CityPlan;
use control::name::{City, TripId};
use control::trip::TripRequest;
use serde_json::json;

/// Trips of a city at a time.
const CITY_TRIPS: u32 = 50_000;
/// Numbers of each city: enough for a driver's 10 trips and some more, as with 20 trips a day, two hours' life and a
/// day's grace.
pub const CITY_NUMBERS: u32 = 44;
/// Live trips of one driver.
const DRIVER_TRIPS: u32 = 10;
/// Live trips of two passengers together.
const PASSENGERS_TRIPS: u32 = 5;
/// One closed trip for so many live ones.
const LIVE_PER_CLOSED: u32 = 50;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub struct People {
    /// Live trips.
    pub trips: u32,
}

impl People {
    /// Trips beside the live ones that were closed: their calls hear that the trip has ended.
    pub const fn closed(self) -> u32 {
        self.trips.div_ceil(LIVE_PER_CLOSED)
    }

    /// All trips.
    pub const fn all(self) -> u32 {
        self.trips + self.closed()
    }

    /// Cities.
    pub const fn cities(self) -> u32 {
        self.all().div_ceil(CITY_TRIPS)
    }

    const fn drivers(self) -> u32 {
        self.all().div_ceil(DRIVER_TRIPS)
    }

    const fn passengers(self) -> u32 {
        (self.all() * 2).div_ceil(PASSENGERS_TRIPS)
    }

    /// All people.
    pub const fn count(self) -> u32 {
        self.drivers() + self.passengers()
    }

    /// The city of a trip. A driver stays in one city.
    fn city_of(self, trip: u32) -> u32 {
        trip % self.drivers() % self.cities()
    }

    /// The own numbers of the driver and the passenger of a trip, as integers.
    pub fn phones(self, trip: u32) -> [u64; 2] {
        let passenger = mixed(trip.into()) % u64::from(self.passengers());
        [447_907_000_000 + u64::from(trip % self.drivers()), 447_407_000_000 + passenger]
    }

    /// What the back end asks for to make the trip `trip`; `turn` 0, or another one for the same people once more.
    pub fn request(self, trip: u32, turn: u64) -> serde_json::Value {
        let [driver, passenger] = self.phones(trip);
        json!({
            "trip": id(trip, turn), "city": city(self.city_of(trip)), "record": true,
            // A month: a folder that was filled is of use for so long.
            "expires_in": 2_592_000, "grace": 86_400,
            "parties": [{"role": "driver", "phone": format!("+{driver}")},
                        {"role": "passenger", "phone": format!("+{passenger}")}]
        })
    }

    /// The same as control reads it.
    pub fn trip_request(self, trip: u32) -> TripRequest {
        serde_json::from_value(self.request(trip, 0)).unwrap()
    }
}

/// The id of a trip: a UUID, as many back ends use.
pub fn trip_id(trip: u32) -> TripId {
    TripId::new(&id(trip, 0)).unwrap()
}

fn id(trip: u32, turn: u64) -> String {
    let seed = turn << 32 | u64::from(trip);
    let bytes = u128::from(mixed(seed)) << 64 | u128::from(mixed(!seed));
    let id = uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string();
    // An id with the last seven digits of a phone in it is refused, and some would have them: all phones have a 7 there.
    id.bytes().map(|c| if c == b'7' { 'd' } else { char::from(c) }).collect()
}

/// Every city with its plan.
pub fn plans(people: People) -> impl Iterator<Item = (City, CityPlan)> {
    (0..people.cities()).map(|index| {
        let first = 442_000_000_000 + u64::from(index) * 1_000;
        let numbers: Vec<_> = (0..u64::from(CITY_NUMBERS)).map(|n| format!("+{}", first + n)).collect();
        let plan = json!({"country": "44", "numbers": numbers});
        (City::new(&city(index)).unwrap(), serde_json::from_value(plan).unwrap())
    })
}

fn city(index: u32) -> String {
    format!("city-{index}")
}

/// A number that depends on all bits of `seed` (`SplitMix64`'s last step).
pub const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Numbers from 0 to below a bound, evenly, the same ones each time.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next one.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(1);
        u32::try_from((u128::from(mixed(self.0)) * u128::from(bound)) >> 64).unwrap()
    }
}
