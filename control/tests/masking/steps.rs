//! What may happen, as data: small choices that the model resolves against what there is when their turn comes.

use control::city::NumberState;
use control::number::PoolNumber;
use proptest::prelude::*;

use crate::people::HANDSETS;

pub const CITIES: [&str; 3] = ["london", "leeds", "york"];

/// Numbers that cities take from each other.
pub const NUMBERS: usize = 6;

pub fn number(n: usize) -> PoolNumber {
    PoolNumber::try_from(442_079_460_001 + n as u64).unwrap()
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    Create(Wish),
    /// The request that made this trip, once more.
    Repeat(Which),
    Change(Which, Order),
    Block(Which, bool),
    /// A person's handset, in one of its forms.
    Erase(usize, usize),
    /// A city's numbers and neighbours, as bits, and how long its trips cool.
    City(usize, u8, u8, u32),
    Number(usize, NumberState),
    /// A party says that it will call from elsewhere, and may do so.
    Intent(Which, usize, bool),
    /// So many calls of one kind.
    Call(Ring, u8),
    /// The last call, asked again under its Call-ID.
    Again,
    Sweep,
    Restart,
    Wait(i64),
    /// The answer to the first order comes after all that the second did.
    Race(Which, Order, Order),
    /// An order overtakes the look-up of a right PIN.
    RacePin(Which, usize, Order),
}

/// A trip, counted back from the newest.
pub type Which = u8;

/// A trip that is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub id: u8,
    pub city: usize,
    /// Handsets in some order: the first ones are the first party's, the next ones the other's.
    pub handsets: Vec<usize>,
    pub phones: [usize; 2],
    pub forms: usize,
    /// The same two people as in this trip, and whether they change roles.
    pub pair_of: Option<(Which, bool)>,
    pub lives: u32,
    pub ends_in: Option<u32>,
    pub grace: u32,
    pub sliding: bool,
    /// 0: both may call; 1, 2: that party alone.
    pub callers: u8,
    pub max_calls: Option<u32>,
    pub record: Option<bool>,
}

/// What a business does to a trip.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Amend { lives: Option<u32>, callers: Option<u8>, max_calls: Option<u32>, record: Option<bool> },
    Close,
    RunOut,
    Cancel,
    Reopen(Option<u32>),
}

/// A call around a trip.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    pub trip: Which,
    /// The party whose pool number is dialled.
    pub side: usize,
    pub who: Who,
    pub spelling: u8,
    pub pin: Typed,
}

/// Who rings.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// The party itself, from one of its phones.
    Party(usize),
    /// The trip's other party.
    Other,
    /// Anybody of the model.
    Anybody(usize),
    Stranger,
    Withheld,
    Named,
}

/// What the caller types when it is asked for a PIN.
#[derive(Debug, Clone, Copy)]
pub enum Typed {
    Nothing,
    /// The PIN of the party whose number is dialled.
    Right,
    /// The PIN of the other party.
    OfOther,
    Wrong(u8),
    /// No PIN at all.
    Nonsense,
}

/// Some life of a site.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..70)
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..8_u8;
    let state = prop_oneof![
        3 => Just(NumberState::Active), 1 => Just(NumberState::Reserved), 2 => Just(NumberState::Draining),
        2 => Just(NumberState::Suspended),
    ];
    prop_oneof![
        20 => wish().prop_map(Step::Create),
        1 => which().prop_map(Step::Repeat),
        12 => (which(), order()).prop_map(|(which, order)| Step::Change(which, order)),
        2 => (which(), prop::bool::weighted(0.6)).prop_map(|(which, block)| Step::Block(which, block)),
        1 => (0..HANDSETS.len(), 0..2_usize).prop_map(|(handset, form)| Step::Erase(handset, form)),
        1 => (0..CITIES.len(), 0..64_u8, 0..8_u8, prop_oneof![Just(0), Just(30), Just(200)])
            .prop_map(|(city, numbers, neighbours, cooling)| Step::City(city, numbers, neighbours, cooling)),
        3 => (0..NUMBERS, state).prop_map(|(number, state)| Step::Number(number, state)),
        4 => (which(), 0..2_usize, any::<bool>()).prop_map(|(which, side, calls)| Step::Intent(which, side, calls)),
        28 => (ring(), prop_oneof![8 => Just(1_u8), 1 => 2..5_u8]).prop_map(|(ring, times)| Step::Call(ring, times)),
        2 => Just(Step::Again),
        2 => Just(Step::Sweep),
        2 => Just(Step::Restart),
        9 => wait().prop_map(Step::Wait),
        2 => (which(), order(), order()).prop_map(|(which, one, two)| Step::Race(which, one, two)),
        2 => (which(), 0..2_usize, order()).prop_map(|(which, side, order)| Step::RacePin(which, side, order)),
    ]
}

/// Seconds that the clock jumps, mostly forward.
fn wait() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => Just(1_i64), 4 => Just(5), 6 => Just(20), 4 => Just(60), 3 => Just(130), 2 => Just(400),
        1 => Just(5_000), 1 => Just(-5), 2 => Just(-40), 1 => Just(-300), 1 => -2_000..2_000_i64,
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let handsets = Just((0..HANDSETS.len()).collect::<Vec<_>>()).prop_shuffle();
    let count = || prop_oneof![4 => Just(1_usize), 1 => Just(2), 1 => Just(3)];
    let lives = prop_oneof![Just(10_u32), Just(60), Just(300), Just(3_600)];
    let people = (handsets, [count(), count()], 0..64_usize, of(0.3, (0..8_u8, any::<bool>())));
    let times = (
        lives,
        of(0.3, 0..2_000_u32),
        prop_oneof![Just(0_u32), Just(20), Just(120), Just(600)],
        any::<bool>(),
    );
    let rules = (
        prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)],
        of(0.2, 1..3_u32),
        proptest::option::of(any::<bool>()),
    );
    (0..20_u8, 0..CITIES.len(), people, times, rules).prop_map(
        |(id, city, (handsets, phones, forms, pair_of), (lives, more, grace, sliding), rules)| Wish {
            id,
            city,
            handsets,
            phones,
            forms,
            pair_of,
            lives,
            ends_in: more.map(|more| lives + more),
            grace,
            sliding,
            callers: rules.0,
            max_calls: rules.1,
            record: rules.2,
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let lives = || prop_oneof![Just(10_u32), Just(60), Just(600), Just(3_600)];
    let amend = (of(0.7, lives()), of(0.2, 0..3_u8), of(0.2, 1..4_u32), of(0.2, any::<bool>()));
    prop_oneof![
        4 => amend.prop_map(|(lives, callers, max_calls, record)| Order::Amend { lives, callers, max_calls, record }),
        3 => Just(Order::Close),
        2 => Just(Order::RunOut),
        2 => Just(Order::Cancel),
        4 => of(0.5, lives()).prop_map(Order::Reopen),
    ]
}

fn ring() -> impl Strategy<Value = Ring> {
    let who = prop_oneof![
        8 => (0..3_usize).prop_map(Who::Party),
        1 => Just(Who::Other),
        2 => (0..HANDSETS.len()).prop_map(Who::Anybody),
        2 => Just(Who::Stranger),
        2 => Just(Who::Withheld),
        1 => Just(Who::Named),
    ];
    let pin = prop_oneof![
        6 => Just(Typed::Nothing),
        2 => Just(Typed::Right),
        1 => Just(Typed::OfOther),
        2 => any::<u8>().prop_map(Typed::Wrong),
        1 => Just(Typed::Nonsense),
    ];
    (0..8_u8, 0..2_usize, who, any::<u8>(), pin).prop_map(|(trip, side, who, spelling, pin)| Ring {
        trip,
        side,
        who,
        spelling,
        pin,
    })
}

fn of<S: Strategy>(probability: f64, value: S) -> impl Strategy<Value = Option<S::Value>> {
    proptest::option::weighted(probability, value)
}
