//! A small network of our own: a bridge, and one namespace for each node.
//!
//! The test process stands on the bridge itself. Names carry its pid, so that runs side by side do not meet,
//! and whoever comes next clears away what a killed run left behind.

use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Where every node of the lab serves its API and its peers.
pub const API_PORT: u16 = 8080;
pub const PEER_PORT: u16 = 8090;
/// All nodes of a lab.
pub const NODES: [usize; 3] = [0, 1, 2];

const PREFIX: &str = "tflab";
static LABS: AtomicU32 = AtomicU32::new(0);

/// The network. Gone, with every process in it, when dropped.
pub struct Lab {
    name: String,
    subnet: String,
}

impl Lab {
    /// A lab; `None`, with a loud line, where namespaces are not permitted. In CI that is a failure.
    pub fn open() -> Option<Self> {
        clear_leftovers();
        let name = format!("{PREFIX}{}", std::process::id());
        // An interface has 15 characters at most: two digits for the labs of one process.
        let lab = Self {
            name: format!("{name}x{}", LABS.fetch_add(1, Ordering::SeqCst) % 100),
            subnet: free_subnet(),
        };
        match lab.build() {
            Ok(()) => Some(lab),
            Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("network namespaces do not work here: {why}")
            }
            Err(why) => {
                println!(
                    "LEFT OUT: network namespaces do not work here ({why}), so NO NETWORK FAULT IS PROVEN"
                );
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let bridge = &self.name;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", self.own_address()))?;
        ip(&format!("link set {bridge} up"))?;
        for node in NODES {
            let (space, leg) = (self.space(node), self.leg(node));
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {leg} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {leg} master {bridge} up"))?;
            ip(&format!("-n {space} addr add {}/24 dev eth0", self.address(node)))?;
            ip(&format!("-n {space} link set eth0 up"))?;
            ip(&format!("-n {space} link set lo up"))?;
            self.try_nft(node, "table inet probe { }\ndelete table inet probe\n")?;
        }
        Ok(())
    }

    /// The address of the test process.
    pub fn own_address(&self) -> String {
        format!("{}.254", self.subnet)
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> String {
        format!("{}.{}", self.subnet, node + 1)
    }

    /// The addresses of the nodes other than `node`, as nft writes a set.
    pub fn peers_of(&self, node: usize) -> String {
        let others: Vec<String> =
            NODES.into_iter().filter(|other| *other != node).map(|other| self.address(other)).collect();
        format!("{{ {} }}", others.join(", "))
    }

    /// A command that will run in a node's namespace, under its own pid.
    pub fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(node), program]);
        command
    }

    /// Puts rules into the table `fault` of a node; those before are gone.
    pub fn set_rules(&self, node: usize, input: &[String], output: &[String]) {
        self.clear_rules(node);
        let chain = |name: &str, hook: &str, rules: &[String]| {
            format!(" chain {name} {{\n  type {hook};\n  {}\n }}\n", rules.join("\n  "))
        };
        let mut text = String::from("table ip fault {\n");
        text += &chain("in", "filter hook input priority 0", input);
        text += &chain("out", "filter hook output priority 0", output);
        text += "}\n";
        self.try_nft(node, &text).unwrap();
    }

    /// Takes away the rules of a node.
    pub fn clear_rules(&self, node: usize) {
        // Declared first, so that deleting what is not there is no error.
        self.try_nft(node, "table ip fault { }\ndelete table ip fault\n").unwrap();
    }

    /// How many packets the counted rules of a node have met.
    pub fn met(&self, node: usize) -> u64 {
        let listed = self.command(node, "nft").args(["list", "table", "ip", "fault"]).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let counts = words.windows(3).filter(|three| three[0] == "counter" && three[1] == "packets");
        counts.map(|three| three[2].parse::<u64>().unwrap()).sum()
    }

    fn try_nft(&self, node: usize, text: &str) -> Result<(), String> {
        let mut child = self
            .command(node, "nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("nft: {error}"))?;
        child.stdin.take().unwrap().write_all(text.as_bytes()).map_err(|error| format!("nft: {error}"))?;
        succeeded("nft", child.wait_with_output()).map(drop)
    }

    fn space(&self, node: usize) -> String {
        format!("{}n{}", self.name, node + 1)
    }

    fn leg(&self, node: usize) -> String {
        format!("{}v{}", self.name, node + 1)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in NODES {
            remove_space(&self.space(node));
        }
        let _ = ip(&format!("link del {}", self.name));
    }
}

/// Ends what runs in a namespace (a stopped process, say) and removes it, with its leg.
fn remove_space(space: &str) {
    for pid in ip(&format!("netns pids {space}")).unwrap_or_default().split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).status();
    }
    let _ = ip(&format!("netns del {space}"));
}

/// Removes the labs of processes that are no more.
fn clear_leftovers() {
    let owner_is_gone = |name: &str| {
        let rest = name.strip_prefix(PREFIX)?;
        let pid: u32 = rest.split('x').next()?.parse().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    for space in words(ip("netns list").unwrap_or_default()) {
        if owner_is_gone(&space).is_some() {
            remove_space(&space);
        }
    }
    for link in words(ip("-brief link show type bridge").unwrap_or_default()) {
        if owner_is_gone(&link).is_some() {
            let _ = ip(&format!("link del {link}"));
        }
    }
}

/// A /24 that no interface of this machine has.
fn free_subnet() -> String {
    let used = ip("-brief -4 addr show").unwrap_or_default();
    let first = std::process::id() % 200 * 50;
    let subnets = (0..10_000).map(|turn| (first + LABS.load(Ordering::SeqCst) + turn) % 10_000);
    subnets
        .map(|number| format!("10.{}.{}", 200 + number / 200, number % 200))
        .find(|subnet| !used.contains(&format!(" {subnet}.")))
        .expect("some subnet is free")
}

fn ip(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    succeeded(&format!("ip {arguments}"), output)
}

fn succeeded(what: &str, output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
