//! Processes, ports and folders: what was started here is stopped here, by pid.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::time::sleep;

/// A process of ours; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its errors in `log`. Its standard input stays open as long as it is ours.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let errors = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::piped()).stderr(errors);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
        Self { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout is a pipe")
    }

    /// Asks it to stop, and waits.
    pub async fn stop(mut self, within: Duration) {
        signal("-TERM", self.pid());
        let until = Instant::now() + within;
        while self.child.try_wait().ok().flatten().is_none() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it, and waits.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            tell_logs(self.log.parent().unwrap());
        }
    }
}

/// The ends of all logs in a folder: what was started may have started more.
fn tell_logs(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension() == Some("log".as_ref())) {
        let log = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(20)..];
        eprintln!("--- the end of {}\n{}", path.display(), end.join("\n"));
    }
}

/// Sends a signal to one of our processes.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
    sent.expect("kill runs");
}

/// Kills processes of ours at once, and waits until they are gone.
pub async fn kill_all(pids: &[u32]) {
    let killed = Command::new("kill").arg("-9").args(pids.iter().map(u32::to_string)).status();
    assert!(killed.expect("kill runs").success(), "all of {pids:?} run");
    let runs = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie is dead, and waits for whoever started it.
        stat.rsplit_once(')').is_some_and(|(_, after)| !after.trim_start().starts_with('Z'))
    };
    wait_for("all of them to be gone", Duration::from_secs(10), async || !pids.iter().any(runs)).await;
}

/// A folder on the disk that the build is on: a temporary folder may be memory, where fsync costs nothing.
pub fn folder(name: &str) -> TempDir {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(root).unwrap();
    tempfile::Builder::new().prefix(&format!("figures-{name}-")).tempdir_in(root).unwrap()
}

/// An address on loopback that is free now, and that no outgoing connection is given: a node that is started again
/// must find it free. (Whoever dials a port that nobody listens at, from that very port, meets itself, and the kernel
/// keeps the port for a minute after that.)
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 12_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
}

/// A port P such that P+1.. and P+101.. are free for `nodes` nodes.
pub fn base_port(nodes: u16) -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let base = free_address().port();
        if (1..=nodes).all(|node| free(base + node) && free(base + 100 + node)) {
            return base;
        }
    }
}

/// The children of a process whose command line holds `--node-id ID`, by id.
pub fn node_of(parent: u32, id: usize) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let wanted = id.to_string();
    children.into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| pair[0] == b"--node-id" && pair[1] == wanted.as_bytes())
    })
}

/// Resident memory in MiB.
pub fn resident_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Open files, sockets and the like.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Waits for a condition; panics when it does not come.
pub async fn wait_for<F: Future<Output = bool>>(what: &str, within: Duration, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < until, "waited {within:?} in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Processor time that a process has used, in microseconds (ticks are 10 ms on Linux).
pub fn processor_us(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces: fields are counted from its closing bracket.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() * 10_000.0
}

/// Ticks that the host gave to others while this machine wanted them, and all ticks.
pub fn stolen() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    (ticks.get(7).copied().unwrap_or(0.0), ticks.iter().sum())
}
