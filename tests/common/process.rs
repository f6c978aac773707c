//! What the kernel knows of a process, and tests that play a second part in a process of their own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use super::eventually;

/// What each open descriptor of a process leads to.
pub fn descriptors(pid: u32) -> Vec<String> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is alive");
    // A descriptor may be closed while the directory is read.
    dir.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

/// A line of `/proc/PID/status` in kB, as bytes.
pub fn status_bytes(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let line = status.lines().find(|l| l.starts_with(key)).expect(key);
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// Accepted connections of the Unix socket at `path` that its server has not closed.
pub fn accepted_on(path: &Path) -> usize {
    let path = path.to_str().unwrap();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let connected = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.nth(5) == Some("03") && fields.nth(1) == Some(path)
    };
    table.lines().filter(connected).count()
}

/// Accepted TCP connections of a local port that its server has not closed.
pub fn accepted_on_port(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 0A is the listener itself; without an inode no process holds the socket.
        fields.len() > 9 && fields[1].ends_with(&port) && fields[3] != "0A" && fields[9] != "0"
    };
    table.lines().skip(1).filter(open).count()
}

/// Inodes of this host's TCP sockets that lead to one of `ports`.
pub fn sockets_to(ports: &[u16]) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports: Vec<String> = ports.iter().map(|port| format!(":{port:04X}")).collect();
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let there = *fields.get(2)?;
        let wanted = ports.iter().any(|port| there.ends_with(port));
        wanted.then(|| fields.get(9).copied().map(str::to_owned))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Starts a program that may have been copied a moment ago: while another thread of this process
/// is between fork and exec, its child still holds the copy open for writing.
pub fn spawn_copied(command: &mut Command) -> Child {
    eventually("the program starts", || match command.spawn() {
        Ok(child) => Some(child),
        Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
        Err(e) => panic!("{command:?}: {e}"),
    })
}

/// Awaits the end of a process.
pub fn await_exit(child: &mut Child) -> ExitStatus {
    eventually("the process ends", || child.try_wait().unwrap())
}

const PART: &str = "RDMA_ENGINE_TEST_PART";
const MARK: &str = "part: ";

/// The part this process was started to play, when a test started it.
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Tells the test that started this process something.
pub fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    // A line of its own: the test runner may have left one unfinished.
    writeln!(out, "\n{MARK}{text}").unwrap();
    out.flush().unwrap();
}

/// A process that plays the second part of a test; killed by its own id when dropped.
pub struct Second {
    pub child: Child,
    out: BufReader<ChildStdout>,
}

impl Second {
    /// Runs the test `name` of this very program in a process of its own, with a part to play.
    pub fn start(name: &str, part: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::start_program(&program, name, part, None)
    }

    /// The same from a copy of the program in `dir` and as another user.
    pub fn start_as(uid: u32, dir: &Path, name: &str, part: &str) -> Self {
        let program = dir.join("second");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        Self::start_program(&program, name, part, Some(uid))
    }

    fn start_program(program: &Path, name: &str, part: &str, uid: Option<u32>) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
        command
            .env(PART, part)
            .stdout(Stdio::piped())
            .current_dir("/");
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = spawn_copied(&mut command);
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next thing it tells.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.out.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the second process ended without a word");
            if let Some(text) = line.strip_prefix(MARK) {
                return text.trim_end().to_owned();
            }
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.end();
    }
}
