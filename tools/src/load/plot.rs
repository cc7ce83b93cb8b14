//! Delay and loss over time, as a picture (SVG): two panels with one time axis.
//!
//! Pure. Delay is drawn logarithmically: its tail is a hundred times its middle.

use std::fmt::Write;

use super::report::{Report, Second};

/// The whole picture, and what the panels leave free at the left and the right.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
/// Top and bottom of each panel.
const DELAY: (f64, f64) = (50.0, 300.0);
const LOSS: (f64, f64) = (350.0, 470.0);
/// Marks on the time axis, about.
const MARKS: f64 = 8.0;

/// A panel: what its axes show.
struct Panel {
    top: f64,
    bottom: f64,
    /// Seconds at the right edge.
    end: f64,
    /// Lowest and highest value.
    range: (f64, f64),
    logarithmic: bool,
}

impl Panel {
    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second / self.end
    }

    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (low, high) = (scale(self.range.0), scale(self.range.1));
        let share = ((scale(value) - low) / (high - low)).clamp(0.0, 1.0);
        self.bottom - (self.bottom - self.top) * share
    }

    /// A line with a dot at each value.
    fn line(&self, svg: &mut String, colour: &str, values: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<_> =
            values.map(|(at, value)| format!("{:.1},{:.1}", self.x(at), self.y(value))).collect();
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>"#
        );
    }

    /// A horizontal line with its label.
    fn mark(&self, svg: &mut String, value: f64, label: &str) {
        let (y, right, text) = (self.y(value), WIDTH - RIGHT, LEFT - 8.0);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#ddd"/><text x="{text}" y="{:.1}" text-anchor="end">{label}</text>"##,
            y + 4.0
        );
    }

    /// The time axis below it.
    fn time(&self, svg: &mut String) {
        let step = round_step(self.end / MARKS).max(1.0);
        let marks = std::iter::successors(Some(0.0), |at| Some(at + step)).take_while(|at| *at <= self.end);
        for at in marks {
            let (x, bottom) = (self.x(at), self.bottom);
            let _ = writeln!(
                svg,
                r##"<line x1="{x:.1}" y1="{bottom}" x2="{x:.1}" y2="{:.1}" stroke="#888"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{at:.0}</text>"##,
                bottom + 4.0,
                bottom + 17.0
            );
        }
    }
}

/// The picture of a run.
pub fn svg(report: &Report) -> String {
    let rows = &report.rows;
    let end = rows.last().map_or(1.0, |row| row.second.max(1.0));
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    );
    let _ = writeln!(svg, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##);
    let title = format!(
        "{} calls, {:.0} packets/s, {} lost of {}: {}",
        report.calls, report.packets_per_second, report.packets_lost, report.packets_sent, report.target
    );
    text(&mut svg, LEFT, 20.0, "#000", &title);
    delay(&mut svg, rows, end);
    loss(&mut svg, rows, end);
    text(&mut svg, WIDTH - RIGHT - 110.0, HEIGHT - 12.0, "#000", "seconds of the run");
    svg.push_str("</svg>\n");
    svg
}

type Value = fn(&Second) -> Option<f64>;

fn delay(svg: &mut String, rows: &[Second], end: f64) {
    let lines: [(&str, &str, Value); 3] = [
        ("max", "#c33", |row| row.added_delay_max_us),
        ("p99", "#d80", |row| row.added_delay_p99_us),
        ("p50", "#27c", |row| row.added_delay_p50_us),
    ];
    let every = || lines.iter().flat_map(|(.., value)| rows.iter().filter_map(value)).filter(|us| *us > 0.0);
    let (low, high) = every().fold((f64::MAX, 1.0), |(low, high), us| (us.min(low), us.max(high)));
    let low = 10_f64.powf(low.min(high).log10().floor());
    let high = (low * 10.0).max(10_f64.powf(high.log10().ceil()));
    let (top, bottom) = DELAY;
    let panel = Panel { top, bottom, end, range: (low, high), logarithmic: true };
    let decades = std::iter::successors(Some(low), |us| Some(us * 10.0)).take_while(|us| *us <= high * 1.01);
    decades.for_each(|us| panel.mark(svg, us, &span(us)));
    panel.time(svg);
    text(svg, LEFT, top - 10.0, "#000", "added delay");
    for (n, (name, colour, value)) in (0_u8..).zip(lines) {
        panel.line(svg, colour, rows.iter().filter_map(|row| Some((row.second, value(row)?))));
        text(svg, LEFT + 90.0 + 45.0 * f64::from(n), top - 10.0, colour, name);
    }
}

fn loss(svg: &mut String, rows: &[Second], end: f64) {
    #[allow(clippy::cast_precision_loss, reason = "packets of a second")]
    let lost = |row: &Second| row.packets_lost as f64;
    let most = rows.iter().map(lost).fold(0.0, f64::max);
    let step = round_step(most / 4.0).max(1.0);
    let high = (most / step).ceil().max(1.0) * step;
    let (top, bottom) = LOSS;
    let panel = Panel { top, bottom, end, range: (0.0, high), logarithmic: false };
    let marks =
        std::iter::successors(Some(0.0), |value| Some(value + step)).take_while(|value| *value <= high);
    marks.for_each(|value| panel.mark(svg, value, &format!("{value:.0}")));
    panel.time(svg);
    text(svg, LEFT, top - 10.0, "#000", "packets lost, each second");
    panel.line(svg, "#c33", rows.iter().map(|row| (row.second, lost(row))));
}

fn text(svg: &mut String, x: f64, y: f64, colour: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, r#"<text x="{x}" y="{y}" fill="{colour}">{words}</text>"#);
}

/// 1, 2 or 5 times a power of ten, `least` at least.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// Microseconds in the unit that needs the fewest digits.
fn span(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.0} s", us / 1e6),
        us if us >= 1e3 => format!("{:.0} ms", us / 1e3),
        us => format!("{us:.0} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seconds: u32) -> Report {
        let row = |n: u32| Second {
            second: f64::from(n),
            packets_lost: u64::from(n % 3),
            added_delay_p50_us: Some(50.0 + f64::from(n)),
            added_delay_p99_us: Some(400.0),
            added_delay_max_us: Some(12_000.0),
            ..Second::default()
        };
        Report { target: "ng <&>".into(), rows: (1..=seconds).map(row).collect(), ..Report::default() }
    }

    /// Every element is closed, in order; the text of each attribute `points`.
    fn points(svg: &str) -> Vec<&str> {
        let (mut open, mut points) = (Vec::new(), Vec::new());
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            assert!(
                !text.contains('>')
                    && text
                        .split('&')
                        .skip(1)
                        .all(|t| ["amp;", "lt;", "gt;"].iter().any(|name| t.starts_with(name)))
            );
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            points.extend(tag.split_once("points=\"").map(|(_, rest)| rest.split('"').next().unwrap()));
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (false, false) => open.push(name),
                (false, true) => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
        points
    }

    #[test]
    fn a_line_has_a_point_for_each_second() {
        for seconds in [1, 7, 1800] {
            let svg = svg(&report(seconds));
            let lines = points(&svg);
            assert_eq!(lines.len(), 4, "max, p99, p50, loss");
            for line in lines {
                let places: Vec<[f64; 2]> = line
                    .split(' ')
                    .map(|point| {
                        point.split_once(',').map(|(x, y)| [x.parse().unwrap(), y.parse().unwrap()]).unwrap()
                    })
                    .collect();
                assert_eq!(places.len(), seconds as usize);
                assert!(places.iter().all(|[x, y]| (LEFT..=WIDTH).contains(x) && (0.0..=HEIGHT).contains(y)));
                assert!(places.windows(2).all(|pair| pair[0][0] < pair[1][0] || seconds > 1000));
            }
        }
    }

    #[test]
    fn slower_is_higher_and_nothing_is_a_picture_too() {
        let svg = svg(&report(7));
        let y = |line: &str| -> f64 { line.split([',', ' ']).nth(1).unwrap().parse().unwrap() };
        let heights: Vec<_> = points(&svg).into_iter().take(3).map(y).collect();
        assert!(heights[0] < heights[1] && heights[1] < heights[2], "max above p99 above p50: {heights:?}");
        for label in ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms"] {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(points(&super::svg(&report(0))).concat(), "");
    }
}
