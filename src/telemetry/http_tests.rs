//! The endpoints over real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::telemetry::live::tests::live;
use crate::telemetry::metrics::tests::local;
use crate::telemetry::{ClientSeries, Live, Observed, Operation, SessionList, State};

struct Sessions(u64);

impl Observe for Sessions {
    fn observe(&self) -> Observed {
        Observed {
            sessions_active: self.0,
            sessions_limit: 100,
            ..Observed::default()
        }
    }

    fn sessions(&self) -> Vec<Live> {
        vec![live(1, "a client", &ClientSeries::new(1), 4096, 2)]
    }
}

/// Limits nobody runs into by accident, even on a busy machine.
const PATIENT: Limits = Limits {
    connections: 64,
    header_timeout: Duration::from_secs(3_600),
    whole_timeout: Duration::from_secs(3_600),
};

struct Running {
    endpoints: Endpoints,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

fn page() -> Page {
    Page {
        metrics: Arc::new(local()),
        observe: Arc::new(Sessions(42)),
        readiness: Arc::new(Readiness::new()),
    }
}

fn start(limits: Limits) -> Running {
    let page = page();
    let (metrics, readiness) = (page.metrics.clone(), page.readiness.clone());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoints = Endpoints::start_with(Some(any), page, limits).unwrap();
    let address = endpoints.address().expect("listening");
    assert_ne!(address.port(), 0);
    Running {
        endpoints,
        address,
        metrics,
        readiness,
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        // Only so that a failure is one and not a hang; less than hyper's own header timeout of 30 s.
        let hang = Some(Duration::from_secs(20));
        stream.set_read_timeout(hang).unwrap();
        stream
    }

    /// The status line and the whole answer.
    fn ask(&self, method: &str, path: &str) -> (String, String) {
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Length: 4\r\n\r\nbody"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.lines().next().unwrap_or_default().to_owned();
        (status, answer)
    }
}

/// Waits until the other side closes, and gives what it said until then. A reset is a close too.
fn until_closed(mut stream: &TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    said
}

#[test]
fn metrics_are_served_in_prometheus_text_format_with_fresh_states() {
    let running = start(PATIENT);
    running
        .metrics
        .operation(Operation::Ping, Ok(()), Duration::ZERO);
    let (status, answer) = running.ask("GET", "/metrics?from=prometheus");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4\r\n"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("\nrdma_operations_total{type=\"ping\",result=\"ok\"} 1\n"));
    assert!(answer.contains("\nrdma_sessions_active 42\n"));
}

#[test]
fn the_open_sessions_are_served_as_json() {
    let (status, answer) = start(PATIENT).ask("GET", "/sessions");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let list: SessionList = serde_json::from_str(body).unwrap();
    assert_eq!(list.limit, 100);
    assert_eq!(list.sessions[0].client, "a client");
    assert_eq!(list.sessions[0].bytes, 4096);
}

#[test]
fn health_is_ok_as_long_as_the_thread_answers() {
    let (status, answer) = start(PATIENT).ask("GET", "/healthz");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[test]
fn readiness_follows_the_engines_state_and_says_why_not() {
    let running = start(PATIENT);
    for (state, status, text) in [
        (
            State::Starting,
            "HTTP/1.1 503 Service Unavailable",
            "starting: ",
        ),
        (State::Ready, "HTTP/1.1 200 OK", "ready\n"),
        (
            State::Draining,
            "HTTP/1.1 503 Service Unavailable",
            "draining: ",
        ),
    ] {
        running.readiness.set(state);
        let answer = running.ask("GET", "/readyz");
        assert_eq!(answer.0, status);
        assert!(
            answer.1.contains(&format!("\r\n\r\n{text}")),
            "{}",
            answer.1
        );
    }
}

#[test]
fn an_unknown_path_is_not_found_whatever_the_method() {
    let running = start(PATIENT);
    for path in ["/", "/metrics/", "/metric", "//metrics", "/sessions/1"] {
        assert_eq!(
            running.ask("GET", path).0,
            "HTTP/1.1 404 Not Found",
            "{path}"
        );
        assert_eq!(
            running.ask("POST", path).0,
            "HTTP/1.1 404 Not Found",
            "{path}"
        );
    }
}

#[test]
fn a_method_other_than_get_is_refused_with_the_one_that_is_allowed() {
    let running = start(PATIENT);
    for path in ["/metrics", "/sessions", "/healthz", "/readyz"] {
        for method in ["POST", "PUT", "DELETE", "HEAD", "BREW"] {
            let (status, answer) = running.ask(method, path);
            assert_eq!(status, "HTTP/1.1 405 Method Not Allowed", "{method} {path}");
            assert!(answer.contains("allow: GET\r\n"), "{answer}");
        }
    }
}

#[test]
fn garbage_and_oversized_headers_close_the_connection_and_harm_nobody() {
    let running = start(PATIENT);
    let oversized = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    for said in [
        &b"\x16\x03\x01 this is not HTTP\r\n\r\n"[..],
        oversized.as_bytes(),
    ] {
        let mut stream = running.connect();
        // The other side may close before it has all of it.
        let _ = stream.write_all(said);
        let answer = until_closed(&stream);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(running.ask("GET", "/healthz").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_client_that_says_nothing_or_half_a_header_is_closed_at_the_header_timeout() {
    let running = start(Limits {
        header_timeout: Duration::from_millis(100),
        ..PATIENT
    });
    for said in ["", "GET /metrics HTTP/1.1\r\nHost: eng"] {
        let mut stream = running.connect();
        stream.write_all(said.as_bytes()).unwrap();
        assert!(!until_closed(&stream).starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_client_that_takes_too_long_is_closed_and_its_place_is_free_again() {
    let running = start(Limits {
        whole_timeout: Duration::from_millis(200),
        connections: 1,
        ..PATIENT
    });
    // The header is never finished and its timeout is an hour: only the whole timeout ends this.
    let mut idle = running.connect();
    idle.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    assert!(until_closed(&idle).is_empty());
    assert_eq!(running.ask("GET", "/healthz").0, "HTTP/1.1 200 OK");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_a_freed_place_is_taken_again() {
    let running = start(Limits {
        connections: 2,
        ..PATIENT
    });
    let held = [running.connect(), running.connect()];
    // Connections are accepted in order, so these find both places taken.
    for _ in 0..8 {
        assert!(until_closed(&running.connect()).is_empty());
    }
    held[0].shutdown(Shutdown::Both).unwrap();
    // The place is free as soon as the close is seen.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut stream = running.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: engine\r\n\r\n");
        if until_closed(&stream).starts_with(b"HTTP/1.1 200 OK") {
            break;
        }
        assert!(Instant::now() < deadline, "the place is never free again");
    }
}

#[test]
fn a_stop_closes_everything_and_ends_the_thread() {
    let running = start(PATIENT);
    let idle = running.connect();
    let mut half = running.connect();
    half.write_all(b"GET /metrics HT").unwrap();
    // Answered, so both of them were accepted before.
    assert_eq!(running.ask("GET", "/healthz").0, "HTTP/1.1 200 OK");
    running.endpoints.stop();
    assert!(until_closed(&idle).is_empty());
    assert!(!until_closed(&half).starts_with(b"HTTP/1.1 200"));
    let refused = TcpStream::connect(running.address).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_in_use_is_an_error_that_names_it_and_the_flag() {
    let running = start(PATIENT);
    let error = Endpoints::start(Some(running.address), page()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("listening on {} ", running.address)),
        "{text}"
    );
    assert!(text.contains("Address already in use"), "{text}");
    assert!(text.contains("--metrics-listen"), "{text}");
}

#[test]
fn without_an_address_nothing_listens_and_it_still_stops() {
    let endpoints = Endpoints::start(None, page()).unwrap();
    assert_eq!(endpoints.address(), None);
    endpoints.stop();
}
