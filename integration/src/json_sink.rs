//! A server that keeps the JSON that it is sent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::Context;
use serde_json::Value;

/// Takes requests by HTTP until the process ends.
#[derive(Debug)]
pub struct JsonSink {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl JsonSink {
    /// Starts it on loopback.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr().context("a listener without an address")?;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Ok(request) = take(&mut reader) {
                        kept.lock().expect("nobody panics while appending").push(request);
                    }
                });
            }
        });
        Ok(Self { address, taken })
    }

    /// Returns where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the bodies that were sent to a path so far.
    pub fn taken(&self, path: &str) -> Vec<Value> {
        let taken = self.taken.lock().expect("nobody panics while appending");
        taken.iter().filter(|(it, _)| it == path).map(|(_, body)| body.clone()).collect()
    }
}

/// Takes one request and answers it. Fails at the end of the connection.
fn take(reader: &mut BufReader<TcpStream>) -> anyhow::Result<(String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("no request")?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    reader.get_mut().write_all(answer.as_bytes())?;
    Ok((path, serde_json::from_slice(&body)?))
}
