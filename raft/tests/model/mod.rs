//! A tiny machine of files for tests, and nodes that can be killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use raft::{
    Application, Config, Entry, Fault, FileMark, Grant, JoinRequest, Later, Leadership, Machine, Replica,
    Safe, Token,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const SOON: Duration = Duration::from_secs(8);

/// One file: the ids added to it, and its mark.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct File {
    pub mark: u64,
    pub ids: BTreeSet<String>,
}

/// A body is `<file> <id>`; the reply is how many ids that file holds.
pub struct Model {
    folder: PathBuf,
    pub files: Mutex<BTreeMap<String, File>>,
    pub broken: AtomicBool,
    pub applied: AtomicUsize,
    pub taken: Mutex<Vec<String>>,
    pub stamps: Mutex<Vec<u64>>,
}

fn text(file: &File) -> String {
    let mut out = format!("{}\n", file.mark);
    for id in &file.ids {
        out.push_str(id);
        out.push('\n');
    }
    out
}

fn parse(text: &str) -> File {
    let mut lines = text.lines();
    let mark = lines.next().unwrap().parse().unwrap();
    File { mark, ids: lines.map(str::to_owned).collect() }
}

impl Model {
    pub fn open(folder: &Path) -> Arc<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, parse(&fs::read_to_string(&path).unwrap()));
        }
        Arc::new(Self {
            folder: folder.to_owned(),
            files: Mutex::new(files),
            broken: AtomicBool::new(false),
            applied: AtomicUsize::new(0),
            taken: Mutex::default(),
            stamps: Mutex::default(),
        })
    }

    pub fn count(&self, file: &str) -> usize {
        self.files.lock().unwrap().get(file).map_or(0, |file| file.ids.len())
    }
}

impl Machine for Model {
    fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Fault::found("the disk is full"));
        }
        let mut files = self.files.lock().unwrap();
        let mut replies = Vec::new();
        for entry in entries {
            self.applied.fetch_add(1, Ordering::SeqCst);
            self.stamps.lock().unwrap().push(entry.at_ms);
            let body = String::from_utf8(entry.body.to_vec()).unwrap();
            let (name, id) = body.split_once(' ').unwrap();
            let file = files.entry(name.to_owned()).or_default();
            if file.mark < entry.index {
                file.ids.insert(id.to_owned());
                file.mark = entry.index;
            }
            replies.push(Bytes::from(file.ids.len().to_string()));
        }
        Ok(replies)
    }

    fn settle(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), Fault> {
        for (name, file) in self.files.lock().unwrap().iter() {
            fs::write(self.folder.join(name), text(file)).map_err(|e| Fault::new("write", e))?;
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<FileMark>, Fault> {
        let files = self.files.lock().unwrap();
        Ok(files.iter().map(|(n, f)| FileMark { name: n.clone(), mark: f.mark, seal: vec![1] }).collect())
    }

    fn export(&self, name: &str, to: &Path) -> Result<Option<FileMark>, Fault> {
        let files = self.files.lock().unwrap();
        let Some(file) = files.get(name) else { return Ok(None) };
        fs::write(to, text(file)).map_err(|e| Fault::new("export", e))?;
        Ok(Some(FileMark { name: name.to_owned(), mark: file.mark, seal: vec![1] }))
    }

    fn install(&self, staged: &Path, keep: &[FileMark], take: &[FileMark]) -> Result<(), Fault> {
        let mut files = self.files.lock().unwrap();
        let mut fresh = BTreeMap::new();
        for file in keep {
            fresh.insert(file.name.clone(), files.get(&file.name).unwrap().clone());
        }
        for file in take {
            self.taken.lock().unwrap().push(file.name.clone());
            let read = parse(&fs::read_to_string(staged.join(&file.name)).unwrap());
            assert_eq!(read.mark, file.mark);
            fs::write(self.folder.join(&file.name), text(&read)).unwrap();
            fresh.insert(file.name.clone(), read);
        }
        for gone in files.keys().filter(|name| !fresh.contains_key(*name)) {
            fs::remove_file(self.folder.join(gone)).ok();
        }
        *files = fresh;
        Ok(())
    }
}

/// Admits who knows a secret that has not been spent.
#[derive(Default)]
pub struct Doorkeeper {
    open: Mutex<BTreeSet<String>>,
    pub mask: Mask,
}

/// Seals like a cipher whose key is one byte: enough to see what was sealed, and under which key.
#[derive(Default)]
pub struct Mask {
    pub newest: AtomicU8,
}

impl Safe for Mask {
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let key = self.newest.load(Ordering::SeqCst);
        Ok(std::iter::once(key).chain(plain.iter().map(|byte| byte ^ !key)).collect())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let (key, masked) = sealed.split_first().ok_or_else(|| Fault::found("nothing is sealed"))?;
        Ok(masked.iter().map(|byte| byte ^ !key).collect())
    }

    fn is_newest(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&self.newest.load(Ordering::SeqCst))
    }
}

impl Application for Doorkeeper {
    fn admit(&self, request: JoinRequest) -> Later<'_, Result<Grant, String>> {
        Box::pin(async move {
            let digest = Token::digest_of(&request.secret);
            if self.open.lock().unwrap().remove(&digest) {
                Ok(Grant { secrets: b"the cluster's keys".to_vec() })
            } else {
                Err("this token is spent or unknown".into())
            }
        })
    }

    fn answer(&self, from: u64, question: Bytes) -> Later<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match question.as_ref() {
                b"" => Err("nothing was asked".into()),
                asked => Ok([asked, b" from ", from.to_string().as_bytes()].concat().into()),
            }
        })
    }

    fn safe(&self) -> &dyn Safe {
        &self.mask
    }
}

/// A node with a runtime of its own, so that it can die at any instant.
pub struct Node {
    pub config: Config,
    pub model: Arc<Model>,
    pub replica: Replica,
    runtime: Option<Runtime>,
}

/// Nodes of one test; node `i` has id `i + 1`.
pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    pub door: Arc<Doorkeeper>,
    pub tune: fn(&mut Config),
    home: TempDir,
    runtime: Runtime,
}

/// A port that is free, and that no outgoing connection is given: a node that is started again must find it free.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let home = 10_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 20;
    loop {
        let port = home + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Cluster {
    pub fn of(size: u64, tune: fn(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut cluster =
            Self { nodes: BTreeMap::new(), door: Arc::default(), tune, home, runtime: runtime() };
        let config = cluster.config(1);
        let (door, model) = (cluster.door.clone(), Model::open(&cluster.files(1)));
        cluster.launch(config.clone(), model.clone(), Replica::bootstrap(config, model, door));
        for id in 2..=size {
            cluster.join(id);
        }
        cluster.until("all vote", |c| {
            c.nodes.values().map(|n| n.replica.status()).all(|status| {
                !status.changing && status.members.iter().filter(|m| m.voter).count() as u64 == size
            })
        });
        cluster
    }

    pub fn config(&self, id: u64) -> Config {
        let address = format!("127.0.0.1:{}", free_port());
        let mut config = Config {
            node: id,
            folder: self.home.path().join(format!("raft-{id}")),
            peer_listen: address.parse().unwrap(),
            peer_advertise: address,
            api_url: format!("https://node-{id}.example"),
            zone: format!("room-{id}"),
            stabilization: Duration::from_millis(500),
            heartbeat: Duration::from_millis(75),
            election: (Duration::from_millis(300), Duration::from_millis(600)),
            segment_bytes: 4 << 20,
            proposal_bytes_max: 1 << 20,
            checkpoint_every: Duration::from_secs(3600),
            keep_entries: 10,
            held_at_start: false,
        };
        (self.tune)(&mut config);
        config
    }

    pub fn files(&self, id: u64) -> PathBuf {
        self.home.path().join(format!("files-{id}"))
    }

    pub fn token(&self) -> Token {
        let member = self.nodes.values().next().unwrap();
        let token = member.replica.new_token().unwrap();
        self.door.open.lock().unwrap().insert(token.secret_digest());
        token
    }

    pub fn join(&mut self, id: u64) {
        let (config, token) = (self.config(id), self.token());
        let admitted = self.wait(Replica::join(&config, &token, Vec::new())).unwrap();
        assert_eq!(admitted.grant.secrets, b"the cluster's keys");
        admitted.enter(&config.folder, &self.door.mask).unwrap();
        self.start(config);
    }

    pub fn start(&mut self, config: Config) {
        let model = Model::open(&self.files(config.node));
        let door = self.door.clone();
        self.launch(config.clone(), model.clone(), Replica::start(config, model, door));
    }

    fn launch(
        &mut self,
        config: Config,
        model: Arc<Model>,
        start: impl Future<Output = Result<Replica, Fault>> + Send + 'static,
    ) {
        let own = runtime();
        let replica = self.runtime.block_on(own.spawn(start)).unwrap().unwrap();
        self.nodes.insert(config.node, Node { config, model, replica, runtime: Some(own) });
    }

    /// Ends a node as a crash would: nothing is handed over, nothing is flushed.
    pub fn kill(&mut self, id: u64) -> Config {
        let mut node = self.nodes.remove(&id).unwrap();
        node.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(2));
        node.config.clone()
    }

    pub fn stop(&mut self, id: u64) -> Config {
        self.wait(self.nodes[&id].replica.stop());
        self.kill(id)
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(SOON, future).await.expect("in time") })
    }

    /// As [`Cluster::kill`], without waiting for the last thread to end.
    pub fn kill_now(&mut self, id: u64) -> Config {
        let mut node = self.nodes.remove(&id).unwrap();
        node.runtime.take().unwrap().shutdown_background();
        node.config.clone()
    }

    pub fn bench<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn put(&self, id: u64, body: &str) -> Result<usize, raft::Unavailable> {
        let replica = &self.nodes[&id].replica;
        let body = Bytes::from(body.to_owned());
        let done = self.wait(replica.propose(body, Duration::from_secs(5)))?;
        Ok(String::from_utf8(done.reply.to_vec()).unwrap().parse().unwrap())
    }

    pub fn leader(&self) -> u64 {
        let mut found = 0;
        self.until("one leads and all know it", |c| {
            let known = c.nodes.iter().map(|(id, node)| match *node.replica.leadership().borrow() {
                Leadership::Leader { .. } => *id,
                Leadership::Follower { leader } => leader,
                Leadership::NoLeader => 0,
            });
            let known: BTreeSet<u64> = known.collect();
            found = known.first().copied().unwrap_or(0);
            known.len() == 1 && c.nodes.contains_key(&found)
        });
        found
    }

    pub fn follower(&self) -> u64 {
        let leader = self.leader();
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < SOON, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
