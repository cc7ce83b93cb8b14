//! The rounds of a scenario as a table in Markdown, and as JSON.

use benches::rounds::{Spread, Target, ratios};
use serde_json::{Value, json};

use super::scenario::{Figures, Name, Row, Scenario};

/// More than this of the measured core, in percent, was somebody else's.
const DISTURBED_PERCENT: f64 = 10.0;
/// From this on a core is full.
const SATURATED_PERCENT: f64 = 90.0;
/// A generator that is later than this for one packet in a hundred is part of what is measured, in µs.
const LATE_US: f64 = 1000.0;

/// The counted rounds of a scenario: of each round both sides.
pub struct Rounds {
    /// First side, second side.
    pub sides: [Vec<Figures>; 2],
}

impl Rounds {
    /// A figure of a side in each round; none where that side has none.
    fn figures(&self, side: usize, key: &str) -> Vec<f64> {
        self.sides[side].iter().filter_map(|figures| figures.get(key).copied()).collect()
    }

    /// Whether every target is met.
    pub fn met(&self, scenario: &Scenario) -> bool {
        scenario.rows.iter().filter_map(|row| Some(self.verdict(row)? == "met")).all(|met| met)
    }

    fn verdict(&self, row: &Row) -> Option<&'static str> {
        let met = row.target?.met(&self.figures(0, row.key), &self.figures(1, row.key));
        Some(match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        })
    }

    /// Prints it: medians, with the least and the most of all rounds; the ratio is taken round by round.
    pub fn print(&self, scenario: &Scenario) {
        let [first, second] = &scenario.sides;
        println!("\n| {} | {} | {} | ratio | asked | |", scenario.name, first.label, second.label);
        println!("|---|---|---|---|---|---|");
        for row in &scenario.rows {
            let (first, second) = (self.figures(0, row.key), self.figures(1, row.key));
            println!(
                "| {} | {} | {} | {} | {} | {} |",
                row.what,
                cell(Spread::of(&first)),
                cell(Spread::of(&second)),
                cell(ratios(&first, &second)),
                row.target.map(asked).unwrap_or_default(),
                self.verdict(row).unwrap_or_default(),
            );
        }
        for note in self.disturbances(scenario) {
            println!("\nNOTE: {note}");
        }
    }

    /// What takes from the worth of the figures.
    fn disturbances(&self, scenario: &Scenario) -> Vec<String> {
        let most = |key| {
            let all = [0, 1].into_iter().flat_map(|side| self.figures(side, key));
            all.fold(0.0, f64::max)
        };
        let full = self
            .sides
            .iter()
            .flatten()
            .filter_map(|figures| figures.get("share"))
            .all(|share| *share >= SATURATED_PERCENT);
        let notes = [
            (
                scenario.name == Name::FlatOut && !full,
                "not every run saturated the measured core: more packets (--flat-out)",
            ),
            (
                most("others") > DISTURBED_PERCENT,
                "something else worked on the measured core: repeat this on a quiet machine",
            ),
            (most("pacing_us") > LATE_US, "the generator was late: delay is partly its own"),
        ];
        notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note.to_owned()).collect()
    }

    /// All of it.
    pub fn json(&self, scenario: &Scenario) -> Value {
        let rows = scenario.rows.iter().map(|row| {
            let figures = [0, 1].map(|side| self.figures(side, row.key));
            json!({
                "what": row.what, "key": row.key,
                "sides": figures.each_ref().map(|figures| json!({"rounds": figures, "spread": spread(Spread::of(figures))})),
                "ratio": spread(ratios(&figures[0], &figures[1])),
                "asked": row.target.map(asked), "verdict": self.verdict(row),
            })
        });
        json!({
            "scenario": scenario.name.to_string(),
            "sides": scenario.sides.each_ref().map(|side| &side.label),
            "rows": rows.collect::<Vec<_>>(), "met": self.met(scenario),
            "disturbances": self.disturbances(scenario),
        })
    }
}

/// What is asked, in words of a table.
fn asked(target: Target) -> String {
    match target {
        Target::AtMost(limit) => format!("≤ {limit}"),
        Target::AtLeast(limit) => format!("≥ {limit}"),
        Target::Zero => "0".into(),
    }
}

fn spread(spread: Option<Spread>) -> Value {
    spread.map_or(Value::Null, |s| json!({"median": s.median, "least": s.least, "most": s.most}))
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |s| {
        format!("{} ({}..{})", rounded(s.median), rounded(s.least), rounded(s.most))
    })
}

/// Three figures that mean something.
pub fn rounded(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
