//! As much of an HTTP client as asking our own endpoint takes: one GET, one answer that ends with
//! its connection, everything bounded.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the whole answer may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of an answer: a million sessions.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// The body of `path` at `address`.
///
/// # Errors
/// When there is no answer, none in time, one that is too long, or one that is not 200.
pub(super) fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + WHOLE_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    // HTTP/1.0: the answer is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return body(answer),
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(invalid("the answer is longer than any list of sessions"));
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn body(mut answer: Vec<u8>) -> io::Result<Vec<u8>> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or_else(|| invalid("the answer is no HTTP"))?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.0" | "HTTP/1.1"), Some("200")) => {}
        (Some("HTTP/1.0" | "HTTP/1.1"), Some(status)) => {
            // It may be anybody's; only digits go to the terminal.
            let status: String = status.chars().filter(char::is_ascii_digit).collect();
            return Err(invalid(&format!("the answer is HTTP status {status}")));
        }
        _ => return Err(invalid("the answer is no HTTP")),
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) if length != body.len() => Err(invalid("the answer was cut short")),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What comes of asking somebody who answers this.
    fn asked(answer: &'static [u8]) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer).unwrap();
            request
        });
        let got = get(address, "/sessions");
        let request = server.join().unwrap();
        assert!(request.starts_with(b"GET /sessions HTTP/1.0\r\n"));
        got
    }

    #[test]
    fn the_body_of_an_answer_is_returned() {
        let answer = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(asked(answer).unwrap(), b"{}");
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(), b"");
    }

    #[test]
    fn any_other_answer_is_refused() {
        for (answer, why) in [
            (
                &b"HTTP/1.0 404\x1b[2J Not Found\r\n\r\n"[..],
                "HTTP status 404",
            ),
            (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
            (b"SSH-2.0 200\r\n\r\n", "no HTTP"),
            (b"", "no HTTP"),
            (
                b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{}",
                "cut short",
            ),
        ] {
            let error = asked(answer).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains('\x1b'));
        }
    }
}
