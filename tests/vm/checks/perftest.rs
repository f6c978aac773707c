//! perftest's programs, as the measure beside the engine.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::devices::DEVICE;
use crate::report::Result;
use crate::wait::until;

/// Times a run is tried: one under load may print inf, or nothing.
const TRIES: usize = 4;

/// Typical time of a READ of so many bytes, µs: the median.
pub fn latency_us(bytes: usize, iterations: u32) -> Result<f64> {
    measure("ib_read_lat", bytes, iterations, 4)
}

/// Bytes a second of READs of so many bytes, on average.
pub fn bandwidth(bytes: usize, iterations: u32) -> Result<f64> {
    // It prints MB, which are MiB to it.
    Ok(measure("ib_read_bw", bytes, iterations, 3)? * f64::from(1 << 20))
}

/// Killed by its own id when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(program: &str, bytes: usize, iterations: u32, column: usize) -> Result<f64> {
    let mut said = String::new();
    for _ in 0..TRIES {
        said = run(program, bytes, iterations)?;
        let size = bytes.to_string();
        let row = said
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|row| row.first() == Some(&size.as_str()));
        let figure = row.and_then(|row| row.get(column)?.parse::<f64>().ok());
        if let Some(figure) = figure.filter(|f| f.is_finite() && *f > 0.0) {
            return Ok(figure);
        }
    }
    Err(format!("{program} gave no figure {TRIES} times, the last time: {said}").into())
}

fn run(program: &str, bytes: usize, iterations: u32) -> Result<String> {
    // Free until the server takes it.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(program);
    command
        .args(["-d", DEVICE, "-x", "1", "-F"])
        .args(["-s", &bytes.to_string(), "-n", &iterations.to_string()])
        .args(["-p", &port.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut client = Command::new(program);
    client.args(command.get_args());
    let server = Server(command.stdout(Stdio::null()).spawn()?);
    until(&format!("{program} listens"), || {
        listens(port).then_some(())
    })?;
    let client = client.arg("127.0.0.1").stdin(Stdio::null()).output()?;
    drop(server);
    Ok(String::from_utf8_lossy(&client.stdout).into_owned())
}

fn listens(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let of_port = format!(":{port:04X}");
    tables.iter().flatten().flat_map(|t| t.lines()).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |i: usize| fields.get(i).copied().unwrap_or_default();
        // 0A: LISTEN.
        at(1).ends_with(&of_port) && at(3) == "0A"
    })
}
