//! The HTTP endpoints: `/metrics` for Prometheus, `/sessions` for whoever wants to know who holds
//! what, `/healthz` and `/readyz` for whoever keeps the daemon running. They have a thread of their
//! own. One request a connection, everything bounded: connections, the header's size, and how long
//! each may take.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Metrics, Observe, RateLimited, Readiness, live};

/// How long nothing is accepted after accepting failed; running out of descriptors does not pass
/// by trying at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a stop waits for answers that are on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest request line and header, bytes.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// What every client may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once; further ones are closed.
    connections: usize,
    /// From the connection to the end of the header.
    header_timeout: Duration,
    /// From the connection to the end of the answer.
    whole_timeout: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    header_timeout: Duration::from_secs(5),
    whole_timeout: Duration::from_secs(15),
};

/// Why the endpoints could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can not be listened on.
    #[error(
        "listening on {address} for /metrics: {source}; choose another address with \
         --metrics-listen, or --metrics-listen off"
    )]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("starting the telemetry thread: {0}; see the limits on threads and descriptors")]
    Thread(io::Error),
}

/// What the endpoints tell.
pub struct Page {
    /// The events.
    pub metrics: Arc<Metrics>,
    /// Who knows the states.
    pub observe: Arc<dyn Observe>,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
}

/// The running endpoints. Dropping them stops them and waits for their thread.
#[derive(Debug)]
pub struct Endpoints {
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoints {
    /// Listens on `address` (port 0: any free one) and serves until [`Endpoints::stop`]. With no
    /// address nothing is served.
    ///
    /// # Errors
    /// When the address can not be had, or the thread can not be started.
    pub fn start(address: Option<SocketAddr>, page: Page) -> Result<Self, ListenError> {
        Self::start_with(address, page, LIMITS)
    }

    fn start_with(
        address: Option<SocketAddr>,
        page: Page,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ListenError::Thread)?;
        let listener = address
            .map(|address| {
                let bound = runtime.block_on(TcpListener::bind(address));
                bound.map_err(|source| ListenError::Bind { address, source })
            })
            .transpose()?;
        let address = listener.as_ref().and_then(|l| l.local_addr().ok());
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || runtime.block_on(serve(listener, Arc::new(page), limits, stopped)))
            .map_err(ListenError::Thread)?;
        if let Some(address) = address {
            tracing::info!("metrics on http://{address}/metrics");
        }
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The address that is listened on, with the port that was found; None when there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Closes the listener, lets answers that are on their way finish, ends the thread.
    pub fn stop(self) {}
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the telemetry thread had panicked");
        }
    }
}

async fn serve(
    listener: Option<TcpListener>,
    page: Arc<Page>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Also when the sender is gone.
            _ = stopped.changed() => break,
            stream = accept(listener.as_ref()) => {
                while connections.try_join_next().is_some() {}
                if connections.len() < limits.connections {
                    connections.spawn(connection(stream, page.clone(), limits, stopped.clone()));
                }
            }
        }
    }
    drop(listener);
    // Whoever is not done by then is cut off when the set goes.
    let _ = timeout(STOP_TIMEOUT, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// The next connection; never, without a listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    static FAILING: RateLimited = RateLimited::new(Duration::from_secs(10));
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if let Some(suppressed) = FAILING.pass(Instant::now()) {
                    tracing::warn!(suppressed, "accepting a connection for /metrics: {error}");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    page: Arc<Page>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let response = page.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let whole = async {
        tokio::select! {
            result = served.as_mut() => result,
            _ = stopped.changed() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    match timeout(limits.whole_timeout, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a client of /metrics: {error}"),
        Err(_) => tracing::debug!("a client of /metrics took too long"),
    }
}

impl Page {
    /// The answer to a request. Its body, if it has one, is left unread.
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let page = match request.uri().path() {
            "/metrics" => Self::metrics,
            "/healthz" => |_: &Self| reply(StatusCode::OK, "ok\n"),
            "/readyz" => Self::readiness,
            "/sessions" => Self::sessions,
            _ => {
                let hint = "try /metrics, /sessions, /healthz or /readyz\n";
                return reply(StatusCode::NOT_FOUND, hint);
            }
        };
        if request.method() == Method::GET {
            return page(self);
        }
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, "try GET\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        refusal
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let (observed, live) = (self.observe.observe(), self.observe.sessions());
        let page = self.metrics.page(&observed, &live);
        // https://prometheus.io/docs/instrumenting/exposition_formats/
        typed(page, "text/plain; version=0.0.4")
    }

    fn sessions(&self) -> Response<Full<Bytes>> {
        let observed = self.observe.observe();
        let limit = observed.sessions_limit.max(observed.leases_limit);
        let list = live::json(&self.observe.sessions(), limit);
        typed(list, "application/json")
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        match self.readiness.obstacle() {
            None => reply(StatusCode::OK, "ready\n"),
            Some(why) => reply(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }
}

fn typed(body: impl Into<Bytes>, format: &'static str) -> Response<Full<Bytes>> {
    let mut response = reply(StatusCode::OK, body);
    let format = HeaderValue::from_static(format);
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn reply(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
