//! `bauta stats`: the counters of all three processes, as /metrics has them, made readable.

use std::process::ExitCode;

use crate::client::Client;
use crate::columns::table;
use crate::place::Place;

/// Show the counters of relay, control and recorder.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Show what is zero, and the buckets of histograms, too.
    #[arg(long)]
    all: bool,
}

/// Runs the subcommand.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let text = Client::open(arguments.place.settings()?.control.http).read("/metrics")?;
    print!("{}", readable(&text, arguments.all));
    Ok(ExitCode::SUCCESS)
}

/// Prometheus text in three columns: value, name with labels, meaning (once per family).
fn readable(metrics: &str, all: bool) -> String {
    let (mut help, mut rows) = ("", Vec::new());
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))
            && (all || (value.parse() != Ok(0.0_f64) && !name.contains("_bucket{")))
        {
            rows.push([value.to_owned(), name.to_owned(), std::mem::take(&mut help).to_owned()]);
        }
    }
    if rows.is_empty() { "every counter is zero\n".into() } else { table(rows) }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn zeros_are_left_out_unless_asked_for() {
        let text =
            "# HELP a_total How many.\n# TYPE a_total counter\na_total{r=\"x y\"} 3\na_total{r=\"z\"} 0\n";
        assert_eq!(readable(text, false), "3  a_total{r=\"x y\"}  How many.\n");
        assert_eq!(readable(text, true).lines().count(), 2);
        assert_eq!(readable("", false), "every counter is zero\n");
    }

    #[test]
    fn of_a_histogram_sum_and_count_are_enough() {
        let text = "# HELP h Sizes.\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_sum 2.5\nh_count 3\n";
        assert_eq!(readable(text, false), "2.5  h_sum    Sizes.\n3    h_count\n");
        assert_eq!(readable(text, true).lines().count(), 3);
    }
}
