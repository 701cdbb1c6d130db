//! The way to each node's peer port, which can be made slow: bytes arrive later, in order.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::lab::{Lab, NODES, PEER_PORT};

/// One listener for each node; each connection to it is carried on to the node.
pub struct Proxies {
    pub ports: Vec<u16>,
    shared: Arc<Shared>,
}

struct Shared {
    delay_ms: AtomicU64,
    carried: AtomicU64,
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxies {
    /// Listens on the bridge, for nodes that advertise these ports as theirs.
    pub fn open(lab: &Lab) -> Self {
        let shared = Arc::new(Shared {
            delay_ms: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let listen = |node: usize| {
            let listener = TcpListener::bind((lab.own_address(), 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let target: SocketAddr = format!("{}:{PEER_PORT}", lab.address(node)).parse().unwrap();
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.accept(&listener, target));
            port
        };
        Self { ports: NODES.into_iter().map(listen).collect(), shared }
    }

    /// From now on every byte waits that long, in each direction; what went before is not counted.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.carried.store(0, Ordering::SeqCst);
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Bytes that went this way.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener, target: SocketAddr) {
        for accepted in listener.incoming() {
            let Ok(near) = accepted else { continue };
            let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { continue };
            self.open.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
            if self.closed.load(Ordering::SeqCst) {
                return self
                    .open
                    .lock()
                    .unwrap()
                    .drain(..)
                    .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            }
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            self.carry(near, far);
            self.carry(far_too, near_too);
        }
    }

    fn carry(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream) {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        let shared = Arc::clone(self);
        let _ = to.set_nodelay(true);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let delay = Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst));
                let due = Instant::now() + delay;
                if sender.send((due, buffer[..read].to_vec())).is_err() {
                    break;
                }
            }
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            for (due, bytes) in receiver {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
                shared.carried.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
