//! Importing ATT&CK, which is third-party data and stays outside the tree.

use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::nodes;
use crate::{
    http::Client,
    options::Options,
    product::Product,
    report::{Report, Row},
};

/// What the enterprise bundle may take.
const AIM: Duration = Duration::from_secs(15);

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    if let Some(bundle) = given("attack-ics.json") {
        run(product, "ics", &bundle, report).await;
    }
    if options.quick {
        return;
    }
    if let Some(packed) = given("attack-enterprise.json.xz") {
        let mut bundle = Vec::new();
        lzma_rs::xz_decompress(&mut BufReader::new(packed.as_slice()), &mut bundle).expect("an xz file");
        run(product, "enterprise", &bundle, report).await;
    }
}

async fn run(product: &Product, name: &str, bundle: &[u8], report: &mut Report) {
    let organization = product.organization(&format!("import-{name}")).await;
    let request = organization.request("POST", "/intel/bundles", &[], bundle);
    let leader = product.leader().await;
    let mut client = Client::open(product.addresses[leader]).await.expect("a connection");
    let begun = Instant::now();
    let answer = client.ask(&request).await.expect("an answer");
    let took = begun.elapsed();
    assert_eq!(answer.status, 201, "import: {}", answer.text());
    let objects = answer.json()["seen"].as_f64().expect("a count");
    let values = vec![
        ("objects", objects),
        ("seconds", took.as_secs_f64()),
        ("objects_per_second", objects / took.as_secs_f64()),
    ];
    let aim = (name == "enterprise").then(|| (format!("<= {} s", AIM.as_secs()), took <= AIM));
    report.add(Row {
        figure: "import",
        of: format!("{}, ATT&CK {name}", nodes(product.nodes())),
        values,
        aim,
    });
}

/// A file of the shared data folder; a loud line when it is not there.
fn given(name: &str) -> Option<Vec<u8>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("TF_TEST_DATA").map_or_else(beside, PathBuf::from);
    let file = folder.join("stix").join(name);
    let found = fs::read(&file).ok();
    if found.is_none() {
        println!("LEFT OUT: {} is not here, so its import is not measured", file.display());
    }
    found
}
