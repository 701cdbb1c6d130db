//! Closed-loop load: each client sends its request again as soon as it is answered.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::http::Client;

/// Not counted, at the start of each round.
const WARM_UP: Duration = Duration::from_millis(150);

/// Longest wait for an answer of which nothing is measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where a client connects, and what it sends.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub request: Arc<[u8]>,
}

/// What some rounds of the same load showed, merged.
#[derive(Default)]
pub struct Seen {
    latencies_us: Vec<u32>,
    seconds: f64,
    /// Answers other than 200, and broken connections.
    pub failed: u64,
    /// All good answers, those of the warm-up too.
    pub answered: u64,
}

impl Seen {
    pub fn merge(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.seconds += other.seconds;
        self.failed += other.failed;
        self.answered += other.answered;
    }

    /// With the time that several took that ran side by side.
    pub fn lasted(self, time: Duration) -> Self {
        Self { seconds: time.as_secs_f64(), ..self }
    }

    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.latencies_us.len() as f64 / self.seconds } else { 0.0 }
    }

    /// The latency in milliseconds that `share` of the answers did not exceed.
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        self.latencies_us.sort_unstable();
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
    }
}

/// Runs `clients`, spread evenly over `targets` in their order, for `time`.
pub async fn round(targets: &[Target], clients: usize, time: Duration) -> Seen {
    let mut open = Vec::with_capacity(clients);
    for number in 0..clients {
        let target = targets[number % targets.len()].clone();
        open.push((Client::open(target.address).await.expect("a connection"), target));
    }
    let begin = Instant::now() + WARM_UP;
    let end = begin + time;
    let mut running = JoinSet::new();
    for (client, target) in open {
        running.spawn(drive(client, target, begin, end));
    }
    let mut seen = Seen { seconds: time.as_secs_f64(), ..Seen::default() };
    while let Some(one) = running.join_next().await {
        let one = one.expect("a client");
        seen.latencies_us.extend(one.latencies_us);
        seen.failed += one.failed;
        seen.answered += one.answered;
    }
    seen
}

/// Sends `per_second` in all, evenly, by clients spread over `targets`, for `time`; who is late sends at once, so that as
/// many are sent as long as they can be answered. Everything counts.
pub async fn paced(targets: &[Target], clients: usize, per_second: f64, time: Duration) -> Seen {
    let begin = Instant::now();
    let step = Duration::from_secs_f64(clients as f64 / per_second);
    let mut running = JoinSet::new();
    for number in 0..clients {
        let target = targets[number % targets.len()].clone();
        let client = Client::open(target.address).await.expect("a connection");
        let first = begin + step.mul_f64(number as f64 / clients as f64);
        running.spawn(drive_paced(client, target, (first, step), begin + time));
    }
    let mut seen = Seen::default();
    while let Some(one) = running.join_next().await {
        seen.merge(one.expect("a client"));
    }
    Seen { seconds: begin.elapsed().as_secs_f64(), ..seen }
}

async fn drive_paced(
    mut client: Client,
    target: Target,
    (mut at, step): (Instant, Duration),
    end: Instant,
) -> Seen {
    let mut seen = Seen::default();
    while at < end && Instant::now() < end {
        tokio::time::sleep_until(at.into()).await;
        at += step;
        let sent = Instant::now();
        if let Ok(200) = client.exchange(&target.request).await {
            seen.answered += 1;
            seen.latencies_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            continue;
        }
        seen.failed += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Ok(again) = Client::open(target.address).await {
            client = again;
        }
    }
    seen
}

async fn drive(mut client: Client, target: Target, begin: Instant, end: Instant) -> Seen {
    let mut seen = Seen::default();
    loop {
        let sent = Instant::now();
        if sent >= end {
            return seen;
        }
        let answered = client.exchange(&target.request).await;
        let now = Instant::now();
        seen.answered += u64::from(matches!(answered, Ok(200)));
        match answered {
            Ok(200) if now >= begin && now <= end => {
                seen.latencies_us.push(u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX));
            }
            Ok(200) => {}
            _ => {
                seen.failed += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
                if answered.is_err() {
                    let Ok(again) = Client::open(target.address).await else { continue };
                    client = again;
                }
            }
        }
    }
}
