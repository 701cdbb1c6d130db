//! What is lost when all nodes are killed at once and their data is gone: by writes that were acknowledged.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::nodes;
use crate::{
    bucket::{Bucket, Restored},
    http::Client,
    options::Options,
    process,
    product::{Organization, Product},
    report::{Report, Row},
};

const ORGANIZATIONS: usize = 3;
/// A second for each organization.
const WRITES_PER_SECOND: f64 = 100.0;
/// Kills are spread over what a second and a pass of images may be.
const LEAST: Duration = Duration::from_millis(2_000);
const SPREAD: Duration = Duration::from_millis(370);

/// Acknowledged writes of one organization: the entry of each, and when it was answered.
type Written = Vec<(u64, Instant)>;

pub async fn measure(options: &Options, report: &mut Report) {
    let kills = options.pick(2, 20);
    let (mut ages, mut lost, mut written) = (Vec::new(), Vec::new(), 0);
    for round in 0..kills {
        let one = one(options, round).await;
        ages.push(one.age.as_secs_f64() * 1000.0);
        lost.push(one.lost as f64);
        written += one.written;
    }
    for values in [&mut ages, &mut lost] {
        values.sort_by(f64::total_cmp);
    }
    let worst = ages[ages.len() - 1];
    report.add(Row {
        figure: "rpo",
        of: format!(
            "{}, {kills} kills of all with -9, {} writes/s",
            nodes(3),
            WRITES_PER_SECOND * ORGANIZATIONS as f64
        ),
        values: vec![
            ("p50_ms", ages[ages.len() / 2]),
            ("worst_ms", worst),
            ("acknowledged", written as f64),
            ("lost", lost.iter().sum()),
            ("lost_p50", lost[lost.len() / 2]),
            ("lost_worst", lost[lost.len() - 1]),
        ],
        aim: Some(("<= 2 s".to_owned(), worst <= 2_000.0)),
    });
}

struct Outcome {
    age: Duration,
    lost: usize,
    written: usize,
}

async fn one(options: &Options, round: u32) -> Outcome {
    let product = Product::start(options, 3).await;
    let mut organizations = Vec::new();
    for number in 0..ORGANIZATIONS {
        organizations.push(product.organization(&format!("rpo-{number}")).await);
    }
    let mut bucket = Bucket::folder();
    bucket.begin(&product).await;
    let mut writing = JoinSet::new();
    for (number, organization) in organizations.iter().enumerate() {
        let client = Client::open(product.addresses[number]).await.expect("a connection");
        let write = organization.increment();
        writing.spawn(async move { (number, until_killed(client, write).await) });
    }
    tokio::time::sleep(LEAST + SPREAD * round).await;
    product.destroy().await;
    let mut written = vec![Written::new(); ORGANIZATIONS];
    while let Some(one) = writing.join_next().await {
        let (number, one) = one.expect("a writer");
        written[number] = one;
    }
    let folder = process::folder("restored");
    let data = folder.path().to_str().expect("a path").to_owned();
    let restored = bucket.restore(options, &["cluster", "--whole", "--data-dir", &data]);
    let product = Product::over(options, folder);
    product.ready().await;
    prove(&product, &organizations, &written, &restored).await;
    product.stop().await;
    let all = || written.iter().flatten();
    let last = all().map(|(_, at)| *at).max().expect("a write");
    let kept = all().filter(|(index, _)| *index <= restored.index).map(|(_, at)| *at).max();
    let lost = all().filter(|(index, _)| *index > restored.index).count();
    Outcome { age: last - kept.expect("a write came back"), lost, written: all().count() }
}

/// Writes at its pace until nobody answers.
async fn until_killed(mut client: Client, write: Vec<u8>) -> Written {
    let mut written = Written::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / WRITES_PER_SECOND));
    loop {
        ticks.tick().await;
        let Ok(answer) = client.ask(&write).await else { return written };
        if answer.status == 200 {
            written.push((answer.log_index().expect("an index"), Instant::now()));
        }
    }
}

/// What was acknowledged up to the entry that the restore names is there, once; one more may be, whose answer was cut off.
async fn prove(product: &Product, organizations: &[Organization], written: &[Written], restored: &Restored) {
    for (organization, written) in organizations.iter().zip(written) {
        let kept = written.iter().filter(|(index, _)| *index <= restored.index).count() as u64;
        product.expect_usage(organization, &mut (kept, 1)).await;
    }
}
