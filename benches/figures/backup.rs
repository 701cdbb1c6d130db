//! What backing up costs while it goes on: how far it is behind, its processor time, its requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::nodes;
use crate::{
    bucket::{Bucket, far},
    http::Client,
    load::{self, Seen, Target},
    options::Options,
    product::{Organization, Product},
    report::{Report, Row},
};

const PER_SECOND: f64 = 2_000.0;
const ORGANIZATIONS: usize = 8;
/// Connections for each organization.
const CLIENTS: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longer than images wait.
const TAIL: Duration = Duration::from_secs(12);

/// Organizations that are written to at a rate, each at a node of its own choice.
struct Writers {
    organizations: Vec<Organization>,
    counted: Vec<(u64, u64)>,
}

impl Writers {
    async fn new(product: &Product, slug: &str) -> Self {
        let platform = product.platform().await;
        let mut organizations = Vec::new();
        for number in 0..ORGANIZATIONS {
            organizations.push(product.organization_by(&platform, &format!("{slug}-{number}")).await);
        }
        Self { organizations, counted: vec![(0, 0); ORGANIZATIONS] }
    }

    /// Writes to all of them, as many each.
    async fn write(&mut self, product: &Product, per_second: f64, time: Duration) -> Seen {
        let each = per_second / ORGANIZATIONS as f64;
        let writing = self.organizations.iter().enumerate().map(|(number, organization)| {
            let address = product.addresses[number % product.nodes()];
            let target = Target { address, request: Arc::from(organization.increment()) };
            async move { load::paced(&[target], CLIENTS, each, time).await }
        });
        let begun = Instant::now();
        let mut all = Seen::default();
        for (seen, counted) in
            futures_util::future::join_all(writing).await.into_iter().zip(&mut self.counted)
        {
            *counted = (counted.0 + seen.answered, counted.1 + seen.failed);
            all.merge(seen);
        }
        all.lasted(begun.elapsed())
    }

    /// Every acknowledged write is there, once.
    async fn prove(&mut self, product: &Product) {
        for (organization, counted) in self.organizations.iter().zip(&mut self.counted) {
            product.expect_usage(organization, counted).await;
        }
    }
}

/// Age of the newest moment and of the newest images, under a load that could go on.
pub async fn lag(options: &Options, report: &mut Report) {
    lag_of(options, Bucket::folder(), "a folder", report).await;
    if let Some(bucket) = Bucket::s3().await {
        lag_of(options, bucket, "SeaweedFS by S3", report).await;
    }
}

async fn lag_of(options: &Options, mut bucket: Bucket, what: &str, report: &mut Report) {
    let time = options.pick(Duration::from_secs(2), Duration::from_mins(1));
    let product = Product::start(options, 3).await;
    let mut writers = Writers::new(&product, "lag").await;
    bucket.begin(&product).await;
    let platform = product.platform().await;
    let (mut archive, mut images) = (Vec::new(), Vec::new());
    let looks = async {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let far = far(&product, &platform).await;
            archive.extend(far.lag_ms);
            images.extend(far.images_lag_ms);
        }
    };
    let mut seen = tokio::select! {
        seen = writers.write(&product, PER_SECOND, time) => seen,
        () = looks => unreachable!("it looks for ever"),
    };
    writers.prove(&product).await;
    product.stop().await;
    let looked = archive.len();
    let p99 = quantile(&mut archive, 0.99);
    report.add(Row {
        figure: "backup lag",
        of: format!("{}, {ORGANIZATIONS} organizations, {what}, {looked} looks", nodes(3)),
        values: vec![
            ("writes_per_second", seen.per_second()),
            ("p50_ms", quantile(&mut archive, 0.5)),
            ("p99_ms", p99),
            ("longest_ms", quantile(&mut archive, 1.0)),
            ("images_p50_ms", quantile(&mut images, 0.5)),
            ("images_p99_ms", quantile(&mut images, 0.99)),
            ("write_p50_ms", seen.quantile_ms(0.5)),
            ("write_p99_ms", seen.quantile_ms(0.99)),
            ("failed", seen.failed as f64),
        ],
        aim: Some(("p99 <= 2 s".to_owned(), p99 <= 2_000.0)),
    });
}

/// Processor time of the nodes for the same writes, of a cluster that backs up and of one that does not, in turns.
pub async fn cost(options: &Options, report: &mut Report) {
    let time = options.pick(Duration::from_secs(2), Duration::from_secs(20));
    // The first round fills caches, and puts files whole.
    let (warm, rounds) = options.pick((0, 1), (1, 3));
    let (with, without) = (Product::start(options, 3).await, Product::start(options, 3).await);
    let mut bucket = Bucket::folder();
    let mut sides = [
        (&without, Writers::new(&without, "cost").await, 0.0, 0.0),
        (&with, Writers::new(&with, "cost").await, 0.0, 0.0),
    ];
    bucket.begin(&with).await;
    for round in 0..warm + rounds {
        for (product, writers, cpu_us, writes) in &mut sides {
            let before = product.processor_us();
            let seen = writers.write(product, PER_SECOND, time).await;
            // The images of the last writes are put, and both pay for the time until then.
            sleep(options.pick(Duration::from_secs(1), TAIL)).await;
            if round >= warm {
                *cpu_us += product.processor_us() - before;
                *writes += seen.answered as f64;
            }
        }
    }
    for (product, writers, ..) in &mut sides {
        writers.prove(product).await;
    }
    let writes = sides.iter().map(|(.., writes)| *writes).fold(f64::MAX, f64::min);
    let [plain, backed] = sides.map(|(_, _, cpu_us, writes)| cpu_us / writes);
    with.stop().await;
    without.stop().await;
    let more = 100.0 * (backed / plain - 1.0);
    report.add(Row {
        figure: "backup cost",
        of: format!("{}, {PER_SECOND} writes/s, {ORGANIZATIONS} organizations, a folder", nodes(3)),
        values: vec![
            ("cpu_us_per_write_without", plain),
            ("cpu_us_per_write_with", backed),
            ("writes", writes),
            ("percent_more", more),
        ],
        aim: Some(("<= 10 %".to_owned(), more <= 10.0)),
    });
}

/// Requests that write a day, by what was put in some minutes: one organization that is written to each second, and one
/// that is not.
pub async fn requests(options: &Options, report: &mut Report) {
    let time = options.pick(Duration::from_secs(2), Duration::from_mins(4));
    let (active, idle) = (a_day(options, true, time), a_day(options, false, time));
    let (active, idle) = tokio::join!(active, idle);
    report.add(Row {
        figure: "backup requests",
        of: format!("1 node, 1 organization, {} s", time.as_secs()),
        values: vec![
            ("active_a_day", active.0),
            ("idle_a_day", idle.0),
            ("active_said_a_day", active.1),
            ("idle_said_a_day", idle.1),
        ],
        aim: None,
    });
}

/// What was counted in this time, and what the status says, which counts the first images, too.
async fn a_day(options: &Options, active: bool, time: Duration) -> (f64, f64) {
    let product = Product::start(options, 1).await;
    let organization = product.organization("requests").await;
    let mut bucket = Bucket::folder();
    bucket.begin(&product).await;
    let platform = product.platform().await;
    let count = async || {
        let name = "threatflow_backup_requests_total{target=\"measured\"}";
        product.metric(0, name).await.expect("a count of requests")
    };
    sleep(options.pick(Duration::from_secs(1), TAIL)).await;
    let (begun, before) = (Instant::now(), count().await);
    let mut client = Client::open(product.addresses[0]).await.expect("a connection");
    let mut ticks = interval(Duration::from_secs(1));
    while begun.elapsed() < time {
        ticks.tick().await;
        if active {
            let status = client.exchange(&organization.increment()).await.expect("an answer");
            assert_eq!(status, 200, "a write each second");
        }
    }
    let counted = (count().await - before) * 86_400.0 / begun.elapsed().as_secs_f64();
    let said = far(&product, &platform).await.a_day.unwrap_or(f64::NAN);
    product.stop().await;
    (counted, said)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
