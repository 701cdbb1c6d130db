//! The faults: how each strikes, how it shows, and how it is healed.

use std::time::{Duration, Instant};

use super::{fleet::Fleet, lab::NODES, proxy::Proxies, rng::Rng, skew::Skew};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The leader and its peers do not reach each other; clients reach all.
    IsolateLeader,
    IsolateFollower,
    /// The leader's words arrive, and none arrive at it.
    DeafLeader,
    /// The leader hears, and is not heard.
    MuteLeader,
    /// The leader and one follower do not reach each other; the third node reaches both.
    CutOneLink,
    /// The leader's network goes and comes.
    Flapping,
    /// Every word between nodes takes 200 ms.
    Delay,
    /// One packet in twenty is lost, at every node.
    Loss,
    /// The leader's process stands still.
    Freeze,
    /// A node's clock is set by this many seconds.
    SetClock(i64),
}

const ONE_WAY: Duration = Duration::from_millis(200);

impl Fault {
    /// How long it lasts at least.
    pub fn lasts(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Freeze => Duration::from_secs(10),
            _ => Duration::from_millis(5_000 + rng.below(3_000)),
        }
    }

    /// Whether a quick run tries it, too.
    pub fn is_quick(self) -> bool {
        matches!(self, Self::IsolateLeader | Self::Freeze)
    }

    /// Whether the others elect a new leader because of it.
    fn deposes(self) -> bool {
        use Fault::{DeafLeader, Flapping, Freeze, IsolateLeader, MuteLeader};
        matches!(self, IsolateLeader | DeafLeader | MuteLeader | Flapping | Freeze)
    }
}

/// A fault at work.
pub struct Struck<'a> {
    fleet: &'a Fleet,
    skew: Option<&'a Skew>,
    fault: Fault,
    victim: usize,
    /// A follower that is part of it, too.
    second: usize,
    rng: Rng,
    /// Flapping: whether the network is gone, and until when it stays so.
    gone: bool,
    until: Instant,
    met: u64,
    deposed: bool,
}

impl<'a> Struck<'a> {
    /// Strikes.
    pub fn begin(fault: Fault, fleet: &'a Fleet, skew: Option<&'a Skew>, mut rng: Rng) -> Self {
        let leader = fleet.leader();
        let follower = (leader + 1 + rng.below(2) as usize) % NODES.len();
        let victim = match fault {
            Fault::IsolateFollower => follower,
            Fault::SetClock(_) => *rng.pick(&[leader, follower]),
            _ => leader,
        };
        let (gone, until) = (false, Instant::now());
        let mut struck =
            Self { fleet, skew, fault, victim, second: follower, rng, gone, until, met: 0, deposed: false };
        println!("{fault:?} strikes node {} (node {} leads)", victim + 1, leader + 1);
        struck.strike();
        struck
    }

    fn strike(&mut self) {
        match self.fault {
            Fault::IsolateLeader | Fault::IsolateFollower => self.cut(true, true),
            Fault::DeafLeader => self.cut(true, false),
            Fault::MuteLeader => self.cut(false, true),
            Fault::CutOneLink => {
                let other = self.fleet.lab.address(self.second);
                let (from, to) = dropped(&other);
                self.fleet.lab.set_rules(self.victim, &[from], &[to]);
            }
            Fault::Flapping => {}
            Fault::Delay => self.way().slow_down(ONE_WAY),
            Fault::Loss => {
                for node in NODES {
                    let lost = "numgen random mod 100 < 5 counter drop".to_owned();
                    self.fleet.lab.set_rules(node, &[lost], &[]);
                }
            }
            Fault::Freeze => self.fleet.signal(self.victim, "-STOP"),
            Fault::SetClock(seconds) => self.skew.expect("clocks can be set").set(self.victim, seconds),
        }
    }

    /// Cuts the victim from its peers, in one direction or both.
    fn cut(&self, inward: bool, outward: bool) {
        let (from, to) = dropped(&self.fleet.lab.peers_of(self.victim));
        let input: Vec<String> = inward.then_some(from).into_iter().collect();
        let output: Vec<String> = outward.then_some(to).into_iter().collect();
        self.fleet.lab.set_rules(self.victim, &input, &output);
    }

    fn way(&self) -> &Proxies {
        self.fleet.way.as_ref().expect("peers reach each other by a proxy")
    }

    /// What it does while it lasts; called again and again.
    pub fn go_on(&mut self) {
        if self.fault == Fault::Flapping && Instant::now() >= self.until {
            self.until = Instant::now() + Duration::from_millis(300 + self.rng.below(1_500));
            self.gone = !self.gone;
            if self.gone {
                self.cut(true, true);
            } else {
                self.met += self.fleet.lab.met(self.victim);
                self.fleet.lab.clear_rules(self.victim);
            }
        }
    }

    /// Whether it has shown that it is real: packets were lost, another node leads, a clock is wrong.
    pub fn shows(&mut self) -> bool {
        if self.fault.deposes() && !self.deposed {
            let others: Vec<usize> = NODES.into_iter().filter(|node| *node != self.victim).collect();
            self.deposed = self.fleet.leader_among(&others).is_some();
        }
        match self.fault {
            Fault::Freeze => self.deposed,
            Fault::SetClock(_) => self.skew.is_some_and(|skew| skew.told(self.victim) > 0),
            Fault::Delay => self.way().carried() > 10_000,
            _ => {
                let met: u64 = NODES.into_iter().map(|node| self.fleet.lab.met(node)).sum();
                self.met + met > 0 && (self.deposed || !self.fault.deposes())
            }
        }
    }

    /// Ends it.
    pub fn heal(self) {
        match self.fault {
            Fault::Freeze => self.fleet.signal(self.victim, "-CONT"),
            Fault::SetClock(_) => self.skew.expect("clocks can be set").set(self.victim, 0),
            Fault::Delay => self.way().slow_down(Duration::ZERO),
            _ => NODES.into_iter().for_each(|node| self.fleet.lab.clear_rules(node)),
        }
    }
}

/// Rules that drop what comes from these addresses, and what goes to them.
fn dropped(addresses: &str) -> (String, String) {
    (format!("ip saddr {addresses} counter drop"), format!("ip daddr {addresses} counter drop"))
}
