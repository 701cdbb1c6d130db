//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

/// What a family of samples is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of samples, family by family.
#[derive(Default)]
pub(super) struct Text {
    page: String,
    family: &'static str,
}

impl Text {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.family = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"))
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.part("", labels, value)
    }

    /// A sample of a part of the family: `_bucket`, `_sum`, `_count`.
    pub(super) fn part(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let name = self.family;
        self.write(format_args!("{name}{part}"));
        for (place, (label, text)) in labels.iter().enumerate() {
            let opens = if place == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.write(format_args!("{opens}{label}=\"{text}\""));
        }
        let closes = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{closes} {value}\n"))
    }

    /// The page.
    pub(super) fn page(self) -> String {
        self.page
    }

    fn write(&mut self, parts: std::fmt::Arguments<'_>) -> &mut Self {
        let _ = self.page.write_fmt(parts); // writing to a String cannot fail
        self
    }
}

/// Seconds, exact to the unit that was counted.
pub(super) fn seconds_of_micros(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The same of milliseconds.
pub(super) fn seconds_of_ms(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Text, seconds_of_micros, seconds_of_ms};

    #[test]
    fn a_family_has_its_help_its_type_and_its_samples() {
        let mut text = Text::default();
        text.family("tf_total", Kind::Counter, "Things.").sample(&[], 3);
        text.family("tf_seconds", Kind::Histogram, "Time.");
        text.part("_bucket", &[("route", "/a"), ("le", "0.001")], 1).part(
            "_sum",
            &[],
            seconds_of_micros(1_500),
        );
        let expected = "# HELP tf_total Things.\n# TYPE tf_total counter\ntf_total 3\n# HELP tf_seconds Time.\n\
                        # TYPE tf_seconds histogram\ntf_seconds_bucket{route=\"/a\",le=\"0.001\"} 1\n\
                        tf_seconds_sum 0.001500\n";
        assert_eq!(text.page(), expected);
    }

    #[test]
    fn what_would_break_a_line_is_escaped() {
        let mut text = Text::default();
        text.family("tf", Kind::Gauge, "back\\slash\nand \"more\"").sample(&[("l", "a\\b\"c\nd")], 1);
        let expected =
            "# HELP tf back\\\\slash\\nand \"more\"\n# TYPE tf gauge\ntf{l=\"a\\\\b\\\"c\\nd\"} 1\n";
        assert_eq!(text.page(), expected);
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(
            (seconds_of_ms(61_002), seconds_of_micros(7)),
            ("61.002".to_owned(), "0.000007".to_owned())
        );
    }
}
