//! A connection that is kept, as a client that is told to go sees it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// One HTTP/1.1 connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
    host: String,
}

/// What was answered on it.
pub struct Told {
    pub status: u16,
    /// The connection ends with this answer.
    pub closes: bool,
    pub json: Value,
}

impl Wire {
    pub fn open(url: &str) -> io::Result<Self> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream), host })
    }

    /// Sends a write and reads its answer; an error when the connection ended without one.
    pub fn post(&mut self, path: &str, token: &str, request: &str, body: &str) -> io::Result<Told> {
        let head = self.head(path, token, request, body.len());
        self.send(&(head + body))?;
        self.answer()
    }

    /// The head of a write whose body has so many bytes.
    pub fn head(&self, path: &str, token: &str, request: &str, bytes: usize) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nx-request-id: {request}\r\n\
             content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n",
            self.host,
        )
    }

    /// Sends a part of a request.
    pub fn send(&mut self, part: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(part.as_bytes())
    }

    /// Reads the next answer; an error when the connection ended without one.
    pub fn answer(&mut self) -> io::Result<Told> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?;
        let (mut closes, mut length) = (false, 0);
        loop {
            let line = self.line()?.to_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => break,
                Some(("connection", value)) => closes = value == "close",
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Told { status, closes, json: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
