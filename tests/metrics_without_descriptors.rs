//! The endpoints when the process has run out of file descriptors. The limit is the whole
//! process's, so this test has a program of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdma_engine::telemetry::{
    Endpoints, Metrics, MetricsSettings, Observe, Observed, Page, Readiness,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

struct Nothing;

impl Observe for Nothing {
    fn observe(&self) -> Observed {
        Observed::default()
    }
}

/// The log, line by line.
#[derive(Clone)]
struct Log(mpsc::Sender<String>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_finds_no_descriptor_is_served_when_there_are_some_again() {
    let (sender, log) = mpsc::channel();
    let log_to = Log(sender);
    tracing_subscriber::fmt()
        .with_writer(move || log_to.clone())
        .init();
    let page = Page {
        metrics: Arc::new(Metrics::new(&MetricsSettings::default())),
        observe: Arc::new(Nothing),
        readiness: Arc::new(Readiness::new()),
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoints = Endpoints::start(Some(any), page).unwrap();
    let address = endpoints.address().unwrap();

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum,
        },
    )
    .unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(taken.len() < 64);
    // One for the client's end; the server's end then has none.
    taken.pop().expect("some were free");
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: engine\r\n\r\n")
        .unwrap();
    let complaint = loop {
        let line = log.recv_timeout(Duration::from_secs(60));
        let line = line.expect("a complaint in the log");
        if line.contains("accepting a connection") {
            break line;
        }
    };
    assert!(complaint.contains("Too many open files"), "{complaint}");

    drop(taken);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    endpoints.stop();
}
