//! The engine's HTTP endpoints, and its metrics as numbers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer: status and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Fetches `path`.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer is not chunked and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP head");
    let status = head.split(' ').nth(1).expect("a status");
    Ok(Answer {
        status: status.parse().expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// One scrape: value by series, the series written as Prometheus writes it.
#[derive(Debug)]
pub struct Metrics(pub BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self(
            lines
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').expect("series and value");
                    (series.to_owned(), value.parse().expect("a number"))
                })
                .collect(),
        )
    }

    /// The sum of the series of `name` whose labels satisfy `wanted`.
    ///
    /// # Panics
    /// When there is no series of that name at all: a test must not pass on a misspelt metric.
    pub fn sum(&self, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
        let mut known = false;
        let mut sum = 0.0;
        for (series, value) in &self.0 {
            let (series_name, labels) = series.split_once('{').unwrap_or((series, ""));
            if series_name == name {
                known = true;
                if wanted(labels) {
                    sum += value;
                }
            }
        }
        assert!(known, "no metric {name} in {:#?}", self.0);
        sum
    }

    /// The sum of all series of `name`.
    pub fn get(&self, name: &str) -> f64 {
        self.sum(name, |_| true)
    }

    /// Bytes of the pool that are not free.
    pub fn pool_bytes_taken(&self) -> f64 {
        self.sum("rdma_pool_bytes", |labels| {
            !labels.contains(r#"state="free""#)
        })
    }

    /// Sessions alive.
    pub fn sessions(&self) -> f64 {
        self.get("rdma_sessions_active")
    }
}
