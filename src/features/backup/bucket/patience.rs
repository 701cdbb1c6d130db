//! How long to try, and how fast: retries with backoff up to a deadline, and a limit of bytes a second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, sleep, timeout};

use super::{Cause, Failed, Pace, fault::Trouble};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A request that carries bytes may be this slow.
const SLOWEST_BYTES_PER_SECOND: u64 = 128 << 10;

/// The retries of one step.
pub(super) struct Patience<'b> {
    what: &'static str,
    place: String,
    allowed: &'b Pace,
    until: Instant,
    next: Duration,
    /// Whether an attempt may have had its effect although it failed.
    pub(super) in_doubt: bool,
}

impl<'b> Patience<'b> {
    pub(super) fn new(what: &'static str, place: String, allowed: &'b Pace) -> Self {
        let until = Instant::now() + Duration::from_secs(allowed.give_up_seconds);
        Self { what, place, allowed, until, next: FIRST_WAIT, in_doubt: false }
    }

    /// Runs one attempt that carries `bytes`, within its time.
    pub(super) async fn attempt<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let seconds = self.allowed.request_seconds + bytes / SLOWEST_BYTES_PER_SECOND;
        timeout(Duration::from_secs(seconds), work)
            .await
            .unwrap_or_else(|_| Err(Trouble::new(Cause::TimedOut, format!("no answer within {seconds} s"))))
    }

    /// Waits before the next attempt; or gives `trouble` back, when there is to be none.
    pub(super) async fn wait(&mut self, trouble: Trouble) -> Result<(), Failed> {
        self.in_doubt |= !trouble.cause.had_no_effect();
        // Between half of it and the whole: nodes that failed together do not come back together.
        let wait = self.next / 2 + self.next.mul_f64(chance() / 2.0);
        if !trouble.cause.retry() || Instant::now() + wait > self.until {
            return Err(self.failed(trouble));
        }
        tracing::debug!(what = self.what, place = self.place, error = %trouble, "bucket: trying again");
        sleep(wait).await;
        self.next = (self.next * 2).min(LONGEST_WAIT);
        Ok(())
    }

    pub(super) fn failed(&self, trouble: Trouble) -> Failed {
        Failed::new(self.what, self.place.clone(), trouble)
    }

    /// Progress was made: the deadline and the backoff begin anew.
    pub(super) fn refresh(&mut self) {
        self.until = Instant::now() + Duration::from_secs(self.allowed.give_up_seconds);
        self.next = FIRST_WAIT;
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut byte = [0x80];
    // Without it all wait equally, which is only less good.
    let _ = SystemRandom::new().fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

/// Lets so many bytes a second pass, a second's worth at once.
pub(super) struct Throttle {
    rate: Option<u64>,
    /// When everything that was let pass is paid for.
    paid_at: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, paid_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let wait = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *paid_at = (*paid_at).max(now) + cost;
            paid_at.saturating_duration_since(now).saturating_sub(Duration::from_secs(1))
        };
        sleep(wait).await;
    }
}
