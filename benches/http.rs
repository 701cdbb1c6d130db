//! The smallest HTTP/1.1 client that does: one kept connection, a request made beforehand, an answer whose
//! length is announced. Anything more would cost the cores that are being measured.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for an answer: an import of 34 MB is one request.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// One kept connection.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
}

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    head: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The entry that a write became.
    pub fn log_index(&self) -> Option<u64> {
        let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        head.lines().find_map(|line| line.strip_prefix("x-log-index:")?.trim().parse().ok())
    }
}

struct Head {
    status: u16,
    length: usize,
    body: usize,
}

/// A request's bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

impl Client {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: vec![0; 16 << 10], filled: 0 })
    }

    /// Sends a request, waits for the answer, tells its status. No timer: this is the loop that is measured.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let head = self.converse(request).await?;
        Ok(head.status)
    }

    /// The same with the body, and an end to patience.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let head = timeout(ANSWER_WITHIN, self.converse(request)).await??;
        let body = self.input[head.body..head.body + head.length].to_vec();
        Ok(Answer { status: head.status, body, head: self.input[..head.body].to_vec() })
    }

    async fn converse(&mut self, request: &[u8]) -> io::Result<Head> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        loop {
            if let Some(head) = self.head()? {
                let end = head.body + head.length;
                if self.input.len() < end {
                    self.input.resize(end, 0);
                }
                while self.filled < end {
                    self.fill().await?;
                }
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }

    /// The head, once all of it has arrived. Chunked answers are not for us: none that is measured has one.
    fn head(&self) -> io::Result<Option<Head>> {
        let input = &self.input[..self.filled];
        let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&input[..end]).map_err(io::Error::other)?;
        let status = text.get(9..12).and_then(|digits| digits.parse().ok());
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let status =
            status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "an answer without a status"))?;
        Ok(Some(Head { status, length: length.unwrap_or(0), body: end + 4 }))
    }
}

/// One request on a connection of its own; `None` when nobody answers.
pub async fn once(address: SocketAddr, request: &[u8], within: Duration) -> Option<Answer> {
    let asked = async { Client::open(address).await?.ask(request).await };
    timeout(within, asked).await.ok()?.ok()
}
