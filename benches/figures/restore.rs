//! A cluster, and one organization of it, out of a bucket.

use std::time::{Duration, Instant};

use super::filled;
use crate::{
    bucket::{Bucket, Restored, bytes_below},
    http::{self, Client},
    options::Options,
    process::{self, wait_for},
    product::{Organization, Product},
    report::{Report, Row},
};

const MIB: f64 = 1024.0 * 1024.0;
const ANSWER: Duration = Duration::from_mins(2);
/// Increments before the moment to which one organization is restored, and after it.
const COUNTED: u64 = 20;
/// In one import of three.
pub(super) const LARGE_KIB: usize = 22 << 10;

pub async fn measure(options: &Options, report: &mut Report) {
    let (count, kib) = (options.count(20, 1_000), options.kib(32, 512));
    let product = Product::start(options, 1).await;
    filled::make(&product, "restore", count, kib).await;
    let small = product.organization("small").await;
    // About 100 MiB of file; last, so that its token lives the longest.
    let large = product.organization("large").await;
    for turn in 0..options.pick(1, 3) {
        fill(&product, &large, turn, options.pick(256, LARGE_KIB)).await;
    }
    let mut bucket = Bucket::folder();
    let begun = Instant::now();
    bucket.begin(&product).await;
    let first_images_s = begun.elapsed().as_secs_f64();
    increment(&product, &small).await;
    let middle = increment(&product, &large).await;
    let last = increment(&product, &large).await;
    bucket.holds(&product, last, false).await;
    let large_bytes = filled::bytes(&product.data(0), Some(std::slice::from_ref(&large.id))) as f64;
    product.destroy().await;

    one(options, &bucket, (&large, middle, large_bytes), report);
    let what = format!("1 node, {count} organizations, {kib} KiB imported into each");
    early(options, &bucket, (&small, &large), &what, report).await;
    let folder = process::folder("restored");
    let data = folder.path().to_str().expect("a path").to_owned();
    let begun = Instant::now();
    let restored = bucket.restore(options, &["cluster", "--whole", "--data-dir", &data]);
    let product = Product::over(options, folder);
    product.ready().await;
    let used = used(&product, &large).await;
    let answered_s = begun.elapsed().as_secs_f64();
    assert_eq!((used, restored.index >= last), (2 * COUNTED, true), "everything is back");
    product.stop().await;
    let [images_s, entries_s, read_back_s] = restored.parts;
    report.add(Row {
        figure: "restore, whole",
        of: what,
        values: vec![
            ("bucket_mib", bucket.bytes() as f64 / MIB),
            ("fetched_mib", restored.mib),
            ("first_images_s", first_images_s),
            ("restored_s", restored.seconds),
            ("mib_per_s", restored.mib / restored.seconds),
            ("images_s", images_s),
            ("entries_s", entries_s),
            ("read_back_s", read_back_s),
            ("until_answered_s", answered_s),
        ],
        aim: Some(("<= 60 s (asked for 10 GB)".to_owned(), answered_s <= 60.0)),
    });
}

/// A node that serves in the middle of a restore.
async fn early(
    options: &Options,
    bucket: &Bucket,
    (small, large): (&Organization, &Organization),
    what: &str,
    report: &mut Report,
) {
    let folder = process::folder("restored-early");
    let data = folder.path().to_str().expect("a path").to_owned();
    let begun = Instant::now();
    let restored = bucket.restore(options, &["cluster", "--data-dir", &data]);
    let product = Product::over(options, folder);
    product.ready().await;
    let ready_s = begun.elapsed().as_secs_f64();
    // Whoever is told to wait asks again.
    let answered = async |organization: &Organization, counted: u64| {
        wait_for("an answer", ANSWER, async || used_now(&product, organization).await == Some(counted)).await;
        begun.elapsed().as_secs_f64()
    };
    let first_answer_s = answered(small, COUNTED).await;
    let here = product.metric(0, r#"threatflow_restore_organizations{of="here"}"#).await;
    let large_answer_s = answered(large, 2 * COUNTED).await;
    let under_way =
        async || product.metric(0, r#"threatflow_restore_organizations{of="here"}"#).await.is_some();
    wait_for("the restore to be complete", ANSWER, async || !under_way().await).await;
    let complete_s = begun.elapsed().as_secs_f64();
    product.stop().await;
    report.add(Row {
        figure: "restore",
        of: what.to_owned(),
        values: vec![
            ("restored_s", restored.seconds),
            ("ready_s", ready_s),
            ("first_answer_s", first_answer_s),
            ("here_at_first_answer", here.unwrap_or(f64::NAN)),
            ("large_answer_s", large_answer_s),
            ("complete_s", complete_s),
        ],
        aim: Some(("first answer <= 60 s (asked for 10 GB)".to_owned(), first_answer_s <= 60.0)),
    });
}

pub(super) async fn fill(product: &Product, organization: &Organization, turn: usize, kib: usize) {
    let bundle = filled::bundle(1 + turn * kib, kib);
    let request = organization.request("POST", "/intel/bundles", &[], bundle.as_bytes());
    let answer = http::once(product.addresses[0], &request, ANSWER).await.expect("an answer");
    assert_eq!(answer.status, 201, "import: {}", answer.text());
}

/// The index of the last of some.
pub(super) async fn increment(product: &Product, organization: &Organization) -> u64 {
    let mut client = Client::open(product.addresses[0]).await.expect("a connection");
    let mut last = None;
    for _ in 0..COUNTED {
        let answer = client.ask(&organization.increment()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        last = answer.log_index();
    }
    last.expect("an index")
}

async fn used(product: &Product, organization: &Organization) -> u64 {
    used_now(product, organization).await.expect("an answer")
}

async fn used_now(product: &Product, organization: &Organization) -> Option<u64> {
    let path = format!("/api/v2/organizations/{}/stats", organization.id);
    let answer = product.ask(0, ("GET", &path), &organization.token, None).await;
    assert!([200, 503].contains(&answer.status), "{}", answer.text());
    answer.json()["usage"]["active_workflows"].as_u64()
}

/// One organization to a moment.
fn one(
    options: &Options,
    bucket: &Bucket,
    (large, index, bytes): (&Organization, u64, f64),
    report: &mut Report,
) {
    let place = process::folder("restored-one");
    let to = place.path().join("one.db");
    let index = index.to_string();
    let what = ["organization", &large.id, "--to", to.to_str().expect("a path"), "--index", &index];
    let Restored { seconds, parts: [images_s, entries_s, read_back_s], .. } = bucket.restore(options, &what);
    report.add(Row {
        figure: "restore of one organization",
        of: "1 node, to an entry before the last".to_owned(),
        values: vec![
            ("file_mib", bytes / MIB),
            ("plain_mib", bytes_below(place.path()) as f64 / MIB),
            ("restored_s", seconds),
            ("images_s", images_s),
            ("entries_s", entries_s),
            ("read_back_s", read_back_s),
        ],
        aim: Some(("<= 5 s".to_owned(), seconds <= 5.0)),
    });
}
