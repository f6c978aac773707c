//! The least a Unix-socket server can do, for `compare.sh` to hold the engine's ping against: for every
//! `--request` bytes that have arrived it answers `--reply` bytes. Nothing is parsed.
//!
//! * `--mode blocking`: a thread a connection and std's blocking sockets; the limit of what a message costs.
//! * `--mode tokio-uring`: the runtime the engine's sockets run on; what the engine adds is judged against this.
//!
//! It prints a line when it accepts connections and ends when its standard input does.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use clap::{Parser, ValueEnum};

/// A bare echo server over a Unix socket; it ends when its standard input does.
#[derive(Parser)]
struct Args {
    /// Where to listen; the path must not exist.
    #[arg(long)]
    socket: PathBuf,
    /// What the sockets run on.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Bytes of a request.
    #[arg(long)]
    request: NonZeroUsize,
    /// Bytes of a reply.
    #[arg(long)]
    reply: NonZeroUsize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Blocking,
    TokioUring,
}

/// How many bytes go each way.
#[derive(Clone, Copy)]
struct Sizes {
    request: usize,
    reply: usize,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let sizes = Sizes {
        request: args.request.get(),
        reply: args.reply.get(),
    };
    let listener = UnixListener::bind(&args.socket)?;
    println!("listening on {}", args.socket.display());
    thread::spawn(move || match args.mode {
        Mode::Blocking => serve_blocking(&listener, sizes),
        Mode::TokioUring => tokio_uring::start(serve_tokio_uring(listener, sizes)),
    });
    io::copy(&mut io::stdin(), &mut io::sink()).map(|_| ())
}

fn serve_blocking(listener: &UnixListener, sizes: Sizes) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || answer_blocking(stream, sizes));
    }
}

/// One read and one write a message, until the client hangs up.
fn answer_blocking(mut stream: UnixStream, sizes: Sizes) -> io::Result<()> {
    let mut request = vec![0; sizes.request];
    let reply = vec![0; sizes.reply];
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(&reply)?;
    }
}

async fn serve_tokio_uring(listener: UnixListener, sizes: Sizes) -> io::Result<()> {
    // tokio's listener: tokio-uring's own fails to bind a Unix socket on kernels since 6.12.9.
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        tokio_uring::spawn(answer_tokio_uring(stream, sizes));
    }
}

/// One read and one write a message, as [`answer_blocking`].
async fn answer_tokio_uring(stream: UnixStream, sizes: Sizes) -> io::Result<()> {
    let stream = tokio_uring::net::UnixStream::from_std(stream);
    let mut request = vec![0; sizes.request];
    let mut reply = vec![0; sizes.reply];
    let mut arrived = 0;
    loop {
        let (read, buffer) = stream.read(request).await;
        request = buffer;
        match read? {
            0 => return Ok(()),
            n => arrived += n,
        }
        while arrived >= sizes.request {
            arrived -= sizes.request;
            let (written, buffer) = stream.write_all(reply).await;
            reply = buffer;
            written?;
        }
    }
}
