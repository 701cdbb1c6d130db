//! To which moment, from which catalogue, by which segments.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        formats::{Catalogue, SEGMENT_ENTRIES_MAX},
        objects,
    },
    Source, Until,
};
use crate::kernel::Millis;

/// What a restore takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The images.
    pub catalogue: Catalogue,
    /// The segments that follow, in order, without a gap; they may hold a few entries more at both ends.
    pub segments: Vec<(u64, u64)>,
    /// The last entry.
    pub index: u64,
    /// Its stamp, or that of the newest entry in the images.
    pub moment: Millis,
}

/// Why a moment cannot be reached from a catalogue.
enum Unfit {
    /// Entries between are missing, as they are from every older one.
    Gap(String),
    /// Its images hold entries that the archive does not.
    Ahead(String),
}

/// Says which entries are missing, and how far it goes without them.
fn missing((first, last): (u64, u64), plan: &Plan) -> String {
    let told = format!("entries {first} to {last} are missing in the archive");
    if plan.index < plan.catalogue.high {
        return told;
    }
    format!("{told}; up to there it can be restored with --index {}", plan.index)
}

impl Source<'_> {
    /// Finds the newest catalogue that is not after the moment, and the segments from there to it.
    pub async fn plan(&self, until: Until) -> Result<Plan, String> {
        let mut catalogues = self.catalogues().await?;
        let mut why = catalogues.first().map_or_else(
            || "nothing can be restored: no catalogue was ever put".to_owned(),
            |(cut, _)| {
                format!("that moment lies before the oldest images, which are of entry {cut} or later")
            },
        );
        let mut damaged = Vec::new();
        // The newest one may be ahead of the archive by a second: one before it may not.
        while let Some(catalogue) = self.last_before(&mut catalogues, until, &mut damaged).await? {
            let cut = catalogue.cut;
            match self.follow(catalogue, until).await? {
                Ok(plan) => return Ok(plan),
                // It lies between every older one and the moment, too.
                Err(Unfit::Gap(gap)) => return Err(format!("the catalogue at {cut}: {gap}")),
                Err(Unfit::Ahead(ahead)) => why = format!("the catalogue at {cut}: {ahead}"),
            }
        }
        damaged.insert(0, why);
        Err(damaged.join("; "))
    }

    /// Takes the last catalogue that is not after the moment off the list, by halves, with those after it. One that cannot
    /// be read is passed over: `damaged` says why.
    pub(super) async fn last_before(
        &self,
        catalogues: &mut Vec<(u64, u32)>,
        until: Until,
        damaged: &mut Vec<String>,
    ) -> Result<Option<Catalogue>, String> {
        let (mut low, mut high) = (0, catalogues.len());
        let mut best = None;
        while low < high {
            // The newest first: it is wanted most often.
            let middle = if high == catalogues.len() && until == Until::Newest {
                high - 1
            } else {
                low.midpoint(high)
            };
            let Some(name) = catalogues.get(middle) else { break };
            let catalogue = match self.read_catalogue(*name).await? {
                Ok(catalogue) => catalogue,
                Err(why) => {
                    damaged.push(why);
                    catalogues.remove(middle);
                    high -= 1;
                    continue;
                }
            };
            let fits = match until {
                Until::Newest => true,
                Until::Index(index) => catalogue.high <= index,
                Until::At(at) => catalogue.newest <= at,
            };
            if fits {
                low = middle + 1;
                best = Some((middle, catalogue));
            } else {
                high = middle;
            }
        }
        let Some((place, catalogue)) = best else { return Ok(None) };
        catalogues.truncate(place);
        Ok(Some(catalogue))
    }

    /// The segments from a catalogue to the moment; or why it cannot be reached from there.
    async fn follow(&self, catalogue: Catalogue, until: Until) -> Result<Result<Plan, Unfit>, String> {
        // One that begins before the cut may go on after it.
        let after = self.names.before_segment(catalogue.cut.saturating_sub(SEGMENT_ENTRIES_MAX));
        let listed = objects::list(self.bucket, &self.names.segments(), Some(&after)).await?;
        let mut known: Vec<(u64, u64)> =
            listed.iter().filter_map(|object| self.names.parse_segment(&object.key)).collect();
        known.sort_unstable();
        let mut plan =
            Plan { index: catalogue.cut, moment: catalogue.newest, catalogue, segments: Vec::new() };
        loop {
            let wanted = plan.index + 1;
            if let Until::Index(index) = until
                && plan.index >= index
            {
                break;
            }
            let next = known.iter().filter(|(first, last)| *first <= wanted && *last >= wanted);
            let Some(segment) = next.max_by_key(|(_, last)| *last).copied() else {
                // What lies behind a gap was archived, so it was there: it is not left out without a word.
                if let Some((first, _)) = known.iter().find(|(first, _)| *first > wanted) {
                    return Ok(Err(Unfit::Gap(missing((wanted, first - 1), &plan))));
                }
                break;
            };
            if let Until::At(at) = until {
                let stretch = self.segment(segment).await?;
                let stamped = |entry: &&raft::Entry| i64::try_from(entry.at_ms).unwrap_or(i64::MAX) > at.0;
                if let Some(later) = stretch.entries.iter().find(stamped) {
                    plan.index = plan.index.max(later.index - 1);
                    plan.segments.push(segment);
                    break;
                }
            }
            plan.segments.push(segment);
            plan.index = segment.1;
        }
        if let Until::Index(index) = until {
            if plan.index < index {
                return Ok(Err(Unfit::Gap(format!(
                    "the archive after it ends at {}, before {index}",
                    plan.index
                ))));
            }
            plan.index = index;
        }
        if plan.index < plan.catalogue.high {
            let (end, high) = (plan.index, plan.catalogue.high);
            return Ok(Err(Unfit::Ahead(format!("its images go up to {high}, and the archive to {end}"))));
        }
        self.date(&mut plan).await?;
        Ok(Ok(plan))
    }

    /// The stamp of the last entry.
    async fn date(&self, plan: &mut Plan) -> Result<(), String> {
        for segment in plan.segments.clone().into_iter().rev() {
            let stretch = self.segment(segment).await?;
            let within = stretch.entries.iter().rfind(|entry| entry.index <= plan.index);
            if let Some(last) = within {
                plan.moment = plan.moment.max(Millis(i64::try_from(last.at_ms).unwrap_or(i64::MAX)));
                return Ok(());
            }
        }
        Ok(())
    }
}
