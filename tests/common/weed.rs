//! A real SeaweedFS, master and volume server in one process, and its HTTP interface.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rdma_engine::client::FileId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Needle, PATIENCE, eventually, process};

/// A running SeaweedFS; stopped by its own id when dropped.
pub struct Weed {
    child: Child,
    master: u16,
    master_grpc: u16,
    dir: TempDir,
}

/// Where a needle is: on which volume, under which address.
#[derive(Clone)]
pub struct Stored {
    pub volume: u32,
    pub needle: Needle,
    port: u16,
    path: String,
}

impl Weed {
    /// Starts it with a directory of its own and room for one volume, and waits until it takes
    /// files.
    pub fn start() -> Self {
        Self::with_room(1)
    }

    /// The same with room for so many volumes; the shards of one take that of 14.
    pub fn with_room(volumes: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("weed").tempdir().unwrap();
        let [master, master_grpc, volume, volume_grpc] = free_ports();
        let log = File::create(dir.path().join("log")).unwrap();
        std::fs::create_dir(dir.path().join("vol")).unwrap();
        let mut command = Command::new(program());
        command
            .arg("server")
            .arg(format!("-dir={}", dir.path().join("vol").display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .arg("-master.telemetry=false")
            .arg(format!("-volume.max={volumes}"))
            .arg("-volume.preStopSeconds=0")
            .arg(format!("-master.port={master}"))
            .arg(format!("-master.port.grpc={master_grpc}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-volume.port.grpc={volume_grpc}"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().expect("weed, which config/setup.sh brings");
        let mut weed = Self {
            child,
            master,
            master_grpc,
            dir,
        };
        eventually("weed gives out places for files", || {
            if let Some(status) = weed.child.try_wait().unwrap() {
                panic!("weed ended, {status}");
            }
            weed.assign()
        });
        weed
    }

    /// Its directory of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.dir.path().join("vol")
    }

    /// A place for a file: port and file id.
    fn assign(&self) -> Option<(u16, String)> {
        let (status, body) = call(self.master, "GET", "/dir/assign", b"").ok()?;
        let answer: Value = serde_json::from_slice(&body).ok()?;
        let (_, port) = answer["url"].as_str()?.rsplit_once(':')?;
        let fid = answer["fid"].as_str()?;
        (status == 200).then_some((port.parse().ok()?, fid.to_owned()))
    }

    /// Stores `data` as a new needle.
    pub fn store(&self, data: Vec<u8>) -> Stored {
        let (port, fid) = eventually("weed gives out a place", || self.assign());
        self.put(port, fid, data, "")
    }

    /// Stores `data` as a new needle of this volume; with further `headers`, a line each.
    pub fn store_in(&self, volume: u32, data: Vec<u8>, headers: &str) -> Stored {
        let prefix = format!("{volume},");
        let (port, fid) = eventually("weed gives out a place in this volume", || {
            self.assign().filter(|(_, fid)| fid.starts_with(&prefix))
        });
        self.put(port, fid, data, headers)
    }

    fn put(&self, port: u16, fid: String, data: Vec<u8>, headers: &str) -> Stored {
        let id: FileId = fid.parse().unwrap();
        let path = format!("/{fid}");
        let (status, body) = call_with(port, "PUT", &path, headers, &data).unwrap();
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        Stored {
            volume: id.volume_id,
            needle: Needle {
                cookie: id.cookie,
                ..Needle::new(id.needle_id, data)
            },
            port,
            path,
        }
    }

    /// Stores other data in its place.
    pub fn overwrite(&self, stored: &mut Stored, data: Vec<u8>) {
        let (status, _) = call(stored.port, "PUT", &stored.path, &data).unwrap();
        assert_eq!(status, 201);
        stored.needle.data = data;
    }

    /// Reads it over HTTP; None where it is not found.
    pub fn read(&self, stored: &Stored) -> Option<Vec<u8>> {
        let (status, body) = call(stored.port, "GET", &stored.path, b"").unwrap();
        assert!([200, 404].contains(&status), "{status}");
        (status == 200).then_some(body)
    }

    /// Deletes it.
    pub fn delete(&self, stored: &Stored) {
        let (status, _) = call(stored.port, "DELETE", &stored.path, b"").unwrap();
        assert!([200, 202].contains(&status), "{status}");
    }

    /// Has every volume with anything to gain vacuumed, and waits until that is done.
    pub fn vacuum(&self) {
        let path = "/vol/vacuum?garbageThreshold=0.0001";
        let (status, _) = call(self.master, "GET", path, b"").unwrap();
        assert_eq!(status, 200);
    }

    /// Has a volume erasure-coded, all shards in its directory.
    pub fn encode(&self, volume: u32) {
        self.shell(&format!("ec.encode -volumeId={volume} -force"));
        let of = |extension| self.volumes().join(format!("{volume}.{extension}"));
        eventually("weed has encoded it", || {
            (of("ec13").exists() && !of("dat").exists()).then_some(())
        });
    }

    /// Runs commands of weed's shell, a line each, under its lock.
    pub fn shell(&self, commands: &str) {
        let mut shell = Command::new(program())
            .arg("shell")
            .arg(format!(
                "-master=127.0.0.1:{}.{}",
                self.master, self.master_grpc
            ))
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = format!("lock\n{commands}\nunlock\n");
        let mut input = shell.stdin.take().unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        drop(input);
        let output = shell.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && !said.contains("error:"),
            "{commands}: {said}"
        );
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !std::thread::panicking() {
            process::await_exit(&mut self.child);
        } else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("weed's log:\n{}", String::from_utf8_lossy(&log));
        }
    }
}

/// The one that config/setup.sh brings, or the one on the path.
fn program() -> PathBuf {
    let brought = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/bin/weed");
    if brought.exists() {
        brought
    } else {
        "weed".into()
    }
}

/// Ports that are free now, below those the kernel hands to clients.
fn free_ports<const N: usize>() -> [u16; N] {
    let mut held: Vec<TcpListener> = Vec::new();
    while held.len() < N {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 10_000 + u16::from_ne_bytes(random) % 22_000;
        held.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    let mut ports = held.iter().map(|l| l.local_addr().unwrap().port());
    std::array::from_fn(|_| ports.next().unwrap())
}

/// One request; status and body.
fn call(port: u16, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    call_with(port, method, path, "", body)
}

/// One request with further headers, a line each; status and body.
fn call_with(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // A vacuum waits for heartbeats, some seconds for every volume.
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    // HTTP/1.0, so that the answer is not chunked and ends with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n{headers}\
         Content-Type: application/octet-stream\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let broken = || std::io::Error::other("not an HTTP answer");
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or_else(broken)? + 4);
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.ok_or_else(broken)?, body.to_vec()))
}
