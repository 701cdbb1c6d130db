//! Clients that connect and then hang: they cost a place each for a while, and nobody else an answer.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::harness::{Caller, Wire, World, await_condition, free_port};

/// Connections that the listener under test takes at a time, the least there may be.
const PLACES: usize = 16;
const ORGANIZATIONS: &str = "/api/v2/organizations";
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client that hangs has to say.
#[derive(Clone, Copy)]
enum Says {
    Nothing,
    /// What could be the beginning of either version of HTTP, and no more.
    ThisMuch(&'static str),
    /// A request that is never done, a byte at a time.
    Ever,
}

struct Hung {
    stream: TcpStream,
    says: Says,
}

impl Hung {
    fn at(address: &str, says: Says) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        if let Says::ThisMuch(text) = says {
            stream.write_all(text.as_bytes()).unwrap();
        }
        Self { stream, says }
    }

    /// Whether the node has let it go.
    fn is_over(&mut self) -> bool {
        if matches!(self.says, Says::Ever) && self.stream.write_all(b"x").is_err() {
            return true;
        }
        match self.stream.read(&mut [0; 512]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn clients_that_hang_on_the_management_listener_keep_nobody_from_it_for_long_and_are_let_go() {
    let management = format!("127.0.0.1:{}", free_port());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    let settings = format!(
        "management_listen = \"{management}\"\nconnections_max = {PLACES}\nheader_timeout_ms = 1000\n"
    );
    std::fs::write(&config, settings).unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    let own = Caller::within(&format!("http://{management}"), PATIENCE);
    let kinds = [Says::Nothing, Says::ThisMuch("P"), Says::ThisMuch("PRI * HTTP/2.0\r\n"), Says::Ever];
    // More than there are places: those that do not fit wait where they cost the node nothing.
    let mut hung: Vec<_> =
        kinds.into_iter().cycle().take(PLACES * 3).map(|says| Hung::at(&management, says)).collect();
    assert_eq!(world.anonymous().get("/livez").status, 200, "the other listener has places of its own");
    for path in ["/livez", "/metrics"] {
        let answer = own.try_get(path).unwrap_or_else(|| panic!("{path}: no answer in {PATIENCE:?}"));
        assert_eq!(answer.status, 200, "{path}");
    }
    await_condition("all that hang to be let go", PATIENCE, || {
        hung.retain_mut(|client| !client.is_over());
        hung.is_empty()
    });
    assert_eq!(own.get("/readyz").status, 200);
}

#[test]
fn a_client_that_is_answered_before_its_body_was_sent_keeps_its_answer_and_its_connection() {
    let world = World::one_node();
    let mut wire = Wire::open(&world.url).unwrap();
    for request in ["first", "second"] {
        // Nobody reads the body of a write that nobody may make.
        wire.send(&wire.head(ORGANIZATIONS, "none", request, 6)).unwrap();
        let told = wire.answer().unwrap();
        assert_eq!((told.status, told.closes), (401, false), "{request}");
        wire.send("{} ").unwrap();
        wire.send("   ").unwrap();
    }
    // What never ends is not read for ever: the client has its answer, and then the connection ends.
    wire.send(&wire.head(ORGANIZATIONS, "none", "third", usize::MAX >> 1)).unwrap();
    assert_eq!(wire.answer().unwrap().status, 401);
    let (part, mut parts) = (" ".repeat(64 << 10), 0);
    while wire.send(&part).is_ok() {
        parts += 1;
        assert!(parts < 4096, "256 MiB of a refused body were taken");
    }
}
