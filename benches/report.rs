//! What is printed: a JSON line for each figure as it is known, and at the end a table.

use std::{fs, io::Write, os::unix::fs::FileExt, path::Path, time::Instant};

use serde_json::{Map, Value, json};

use crate::{options::Options, process};

/// The figures so far.
pub struct Report {
    begun: Instant,
    /// As of the last row: shows in which rows the host gave the processors to others.
    stolen: (f64, f64),
    rows: Vec<[String; 4]>,
}

/// One figure: what, under which conditions, its values, and which aim it meets or misses.
pub struct Row {
    pub figure: &'static str,
    pub of: String,
    pub values: Vec<(&'static str, f64)>,
    pub aim: Option<(String, bool)>,
}

impl Report {
    /// Prints the conditions.
    pub fn begin(options: &Options) -> Self {
        let report = Self { begun: Instant::now(), stolen: process::stolen(), rows: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let sync = fdatasync_us(options.pick(50, 500));
        line(&json!({
            "figure": "conditions", "quick": options.quick, "cores": cores, "load_average": load_average(),
            "fdatasync_4k_p50_us": sync.0, "fdatasync_4k_p99_us": sync.1,
        }));
        report
    }

    pub fn add(&mut self, row: Row) {
        let mut fields =
            Map::from_iter([("figure".to_owned(), json!(row.figure)), ("of".to_owned(), json!(row.of))]);
        fields.extend(row.values.iter().map(|(name, value)| ((*name).to_owned(), json!(rounded(*value)))));
        let now = process::stolen();
        let share = 100.0 * (now.0 - self.stolen.0) / (now.1 - self.stolen.1).max(1.0);
        self.stolen = now;
        fields.insert("stolen_percent".to_owned(), json!(rounded(share)));
        fields.insert("load_average".to_owned(), json!(load_average()));
        if let Some((aim, met)) = &row.aim {
            fields.extend([("aim".to_owned(), json!(aim)), ("aim_met".to_owned(), json!(met))]);
        }
        line(&Value::Object(fields));
        let values: Vec<String> =
            row.values.iter().map(|(name, value)| format!("{name} {}", rounded(*value))).collect();
        let aim = row
            .aim
            .map_or(String::new(), |(aim, met)| format!("{aim}: {}", if met { "met" } else { "MISSED" }));
        self.rows.push([row.figure.to_owned(), row.of, values.join("  "), aim]);
    }

    /// Prints the table.
    pub fn end(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        line(&json!({ "figure": "end", "seconds": rounded(seconds), "load_average": load_average() }));
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (figure, of, values) = (width(0), width(1), width(2));
        println!();
        for [a, b, c, d] in &self.rows {
            println!("{}", format!("{a:figure$}  {b:of$}  {c:values$}  {d}").trim_end());
        }
    }
}

fn line(value: &Value) {
    println!("{value}");
    let _ = std::io::stdout().flush();
}

/// Three significant places are more than such a measurement can hold.
fn rounded(value: f64) -> f64 {
    let places = if value >= 100.0 {
        1.0
    } else if value >= 10.0 {
        10.0
    } else {
        1000.0
    };
    (value * places).round() / places
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// What one durable write costs on this disk: p50 and p99 of 4 KiB over preallocated space.
fn fdatasync_us(times: usize) -> (u64, u64) {
    let folder = process::folder("disk");
    let file = fs::File::create(Path::new(folder.path()).join("probe")).unwrap();
    file.write_all_at(&vec![1; 4096 * 64], 0).unwrap();
    file.sync_all().unwrap();
    let mut taken: Vec<u64> = (0..times)
        .map(|turn| {
            let begun = Instant::now();
            file.write_all_at(&[2; 4096], 4096 * (turn as u64 % 64)).unwrap();
            file.sync_data().unwrap();
            u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
        })
        .collect();
    taken.sort_unstable();
    (taken[times / 2], taken[times * 99 / 100])
}
