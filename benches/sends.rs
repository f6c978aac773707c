//! Ways for a target to send a needle over TCP: from its pool by send or SEND_ZC, or from the page cache by sendfile.
//!
//! One connection over loopback, one answer at a time, from the request to the last byte received. The ways take
//! turns, so that what else goes on in the machine happens to all of them. First everything runs on one CPU, where the
//! time is what an answer costs, then on all there are, where sender and receiver work at once.
//!
//! `cargo bench --bench sends [-- --rounds N]`
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]
#![allow(unsafe_code, reason = "submission entries carry raw addresses")]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rdma_engine::crc::Crc32c;
use rdma_engine::peer::codec::encode;
use rdma_engine::peer::message::{Data, Facts, FromTarget};
use rdma_engine::peer::stream::{Stream, StreamError};
use rdma_engine::pool::{Buffer, Leased, Owner, Pages, Pool};
use rdma_engine::source::local::FilePart;
use rdma_engine::uring::{DataRing, Extent, Lent, Plan, Registration};
use rustix::net::SendFlags;
use rustix::net::sockopt::set_tcp_congestion;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const KIB: usize = 1 << 10;
const SIZES: [usize; 9] = [
    4 * KIB,
    16 * KIB,
    32 * KIB,
    64 * KIB,
    128 * KIB,
    256 * KIB,
    512 * KIB,
    1024 * KIB,
    4096 * KIB,
];
/// Where a needle's data is in its page.
const SKEW: usize = 24;
/// What is looked at of a needle before it is known that it can go out from its file.
const HEAD_BYTES: usize = 42;
const TAIL_BYTES: usize = 1024;
/// From linux/io_uring.h: have the notification tell whether the bytes were copied after all, and where it tells.
const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
const NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;

/// Sends of a needle over TCP, by size and way; medians.
#[derive(Parser)]
struct Args {
    /// How often each way has its turn
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Answers in a turn
    #[arg(long, default_value_t = 16)]
    answers: usize,
    /// How large the file is that is read again and again; more than the CPU's caches have room for
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    file: usize,
    /// TCP's congestion control; one that paces, as bbr does, costs a timer a packet
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion: String,
    /// cargo's
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Staged,
    SendfileThread,
    SendfileThreadMore,
    SendfileInlineMore,
    RingSend,
    RingSendZc,
    RingSendZcFixed,
}

/// Each in that order, what it is called and what it is held against.
const WAYS: [(Way, &str, Way); 7] = [
    (Way::Staged, "staged, writev (the product)", Way::Staged),
    (
        Way::SendfileThread,
        "sendfile on a thread (the product)",
        Way::Staged,
    ),
    (
        Way::SendfileThreadMore,
        "  its frame held back with MSG_MORE",
        Way::Staged,
    ),
    (
        Way::SendfileInlineMore,
        "  and on the worker's own thread",
        Way::Staged,
    ),
    (Way::RingSend, "staged, SEND on a bare ring", Way::RingSend),
    (Way::RingSendZc, "  SEND_ZC", Way::RingSend),
    (
        Way::RingSendZcFixed,
        "  SEND_ZC, registered buffer",
        Way::RingSend,
    ),
];

fn main() {
    let args = Args::parse();
    let file = cached_file(args.file << 20);
    let all = sched_getaffinity(None).unwrap();
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap());
    for cpus in [first, all] {
        // Threads begin on the CPUs of who starts them.
        sched_setaffinity(None, &cpus).unwrap();
        println!(
            "\n== everything on {} CPU(s), {}",
            cpus.count(),
            args.congestion
        );
        measure(&args, &file);
    }
}

/// A file that lies in the page cache.
fn cached_file(bytes: usize) -> Arc<File> {
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state ^ state >> 33).to_le_bytes()
    };
    let mut file = tempfile::tempfile().unwrap();
    for _ in 0..bytes >> 20 {
        let block: Vec<u8> = (0..1 << 17).flat_map(|_| word()).collect();
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
    Arc::new(file)
}

fn measure(args: &Args, file: &Arc<File>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client {
        socket: TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
        received: vec![0; SIZES[SIZES.len() - 1] + 4 * KIB],
        next: 0,
        end: args.file << 20,
    };
    client.socket.set_nodelay(true).unwrap();
    let (socket, _) = listener.accept().unwrap();
    set_tcp_congestion(&socket, &args.congestion).unwrap();
    let served = Arc::clone(file);
    let sender = std::thread::spawn(move || tokio_uring::start(serve(socket, served)));
    for size in SIZES {
        let mut rounds: Vec<[Turn; WAYS.len()]> = Vec::new();
        for (way, ..) in WAYS {
            client.check(way, size, file);
        }
        for round in 0..args.rounds {
            let mut turns = [Turn::default(); WAYS.len()];
            for turn in 0..WAYS.len() {
                let number = (turn + round) % WAYS.len();
                turns[number] = client.turn(WAYS[number].0, size, args.answers);
            }
            rounds.push(turns);
        }
        report(size, &rounds);
    }
    drop(client);
    let (copied, sent) = sender.join().unwrap();
    println!("of {sent} SEND_ZC the kernel copied {copied} after all");
}

fn report(size: usize, rounds: &[[Turn; WAYS.len()]]) {
    println!(
        "{:>5} KiB {:>43}     GB/s   ratio (quartiles)   sender's CPU, us   ratio",
        size / KIB,
        "us"
    );
    for (number, (_, name, against)) in WAYS.iter().enumerate() {
        let other = WAYS.iter().position(|(way, ..)| way == against).unwrap();
        let of = |what: fn(&Turn) -> f64| {
            let value = median(rounds.iter().map(|turns| what(&turns[number])));
            let ratio = |turns: &[Turn; WAYS.len()]| what(&turns[number]) / what(&turns[other]);
            let ratios = [0.25, 0.5, 0.75].map(|q| quantile(rounds.iter().map(ratio), q));
            (value, ratios)
        };
        let (seconds, [low, ratio, high]) = of(|turn| turn.seconds);
        let (cpu, [_, cpu_ratio, _]) = of(|turn| turn.sender_cpu);
        println!(
            "    {name:<40} {:8.1} {:8.2}    {ratio:4.2} ({low:.2} to {high:.2}) {:18.1} {cpu_ratio:7.2}",
            seconds * 1e6,
            size as f64 / seconds / 1e9,
            cpu * 1e6,
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// What an answer took, in seconds.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// The median of a turn's answers, from the request to the last byte.
    seconds: f64,
    /// CPU time of all threads but the receiver's, the mean of them.
    sender_cpu: f64,
}

/// CPU time used so far by the process without this thread.
fn others_cpu() -> f64 {
    let used = |clock| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is ours to write to.
        assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    used(libc::CLOCK_PROCESS_CPUTIME_ID) - used(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Who asks, and receives into the same buffer again and again.
struct Client {
    socket: TcpStream,
    received: Vec<u8>,
    /// Where in the file the next needle is: not always the same lines of the CPU's caches.
    next: usize,
    /// Where the file ends.
    end: usize,
}

impl Client {
    fn turn(&mut self, way: Way, size: usize, answers: usize) -> Turn {
        let before = others_cpu();
        let seconds = median((0..answers).map(|_| self.ask(way, size)));
        Turn {
            seconds,
            sender_cpu: (others_cpu() - before) / answers as f64,
        }
    }

    /// Asks for `size` bytes; how many seconds until the last of them is here.
    fn ask(&mut self, way: Way, size: usize) -> f64 {
        if self.next + SKEW + size + TAIL_BYTES > self.end {
            self.next = 0;
        }
        let at = self.next + SKEW;
        self.next += size.next_multiple_of(4 * KIB) + 4 * KIB;
        let mut request = 17_u32.to_le_bytes().to_vec();
        request.push(way as u8);
        request.extend((at as u64).to_le_bytes());
        request.extend((size as u64).to_le_bytes());
        let answer = frame(size).len() + size;
        let begun = Instant::now();
        self.socket.write_all(&request).unwrap();
        self.socket
            .read_exact(&mut self.received[..answer])
            .unwrap();
        begun.elapsed().as_secs_f64()
    }

    /// The same, and the bytes are the file's. Also warms everything up.
    fn check(&mut self, way: Way, size: usize, file: &File) {
        for _ in 0..8 {
            self.ask(way, size);
            let end = self.next - 4 * KIB - size.next_multiple_of(4 * KIB) + SKEW + size;
            let head = frame(size).len();
            let bytes = &self.received[head..head + size];
            let mut stored = vec![0; size];
            file.read_exact_at(&mut stored, (end - size) as u64)
                .unwrap();
            assert!(bytes == stored, "{way:?} sent other bytes");
        }
    }
}

/// What goes ahead of the bytes.
fn frame(size: usize) -> Vec<u8> {
    let facts = Facts {
        length: size as u64,
        needle_size: size as u64,
        crc: Some(u32::MAX),
        verified: true,
        stored: None,
    };
    let mut frame = Vec::new();
    encode(&FromTarget::Data(Data { id: 1, facts }), &mut frame);
    frame
}

/// Who answers, with the product's pool, data ring and stream, and a ring beside them for what the product does not.
struct Server {
    pool: Arc<Pool>,
    ring: Rc<DataRing>,
    file: Arc<File>,
    stream: Stream,
    socket: TcpStream,
    bare: RefCell<IoUring>,
    zero_copies: Cell<u64>,
    copied: Cell<u64>,
}

/// Answers until the other side hangs up. Returns how many SEND_ZC were copied after all, and how many there were.
async fn serve(socket: TcpStream, file: Arc<File>) -> (u64, u64) {
    let pool = |pages| Pool::new(16 << 20, 8 << 20, pages);
    let pool = pool(Pages::Huge)
        .or_else(|_| pool(Pages::Ordinary))
        .unwrap();
    let (ring, registration) = DataRing::new(&pool).unwrap();
    assert!(
        matches!(registration, Registration::Fixed(1)),
        "{registration:?}; is locked memory limited (ulimit -l)?"
    );
    println!("the pool lies on pages of {} KiB", pool.page_bytes() / KIB);
    let reaper = tokio_uring::spawn(Rc::clone(&ring).reap_forever());
    let bare = IoUring::builder()
        .setup_coop_taskrun()
        .setup_single_issuer()
        .build(8)
        .unwrap();
    let regions: Vec<libc::iovec> = pool
        .regions()
        .map(|(base, len)| libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        })
        .collect();
    // SAFETY: the regions are the pool's mapping, which `server` keeps longer than the ring: nothing is in flight when
    // they are dropped.
    unsafe { bare.submitter().register_buffers(&regions) }.unwrap();
    let server = Server {
        socket: socket.try_clone().unwrap(),
        stream: Stream::new(socket, Duration::from_secs(10)).unwrap(),
        bare: RefCell::new(bare),
        zero_copies: Cell::new(0),
        copied: Cell::new(0),
        pool,
        ring,
        file,
    };
    let mut bytes = Vec::new();
    loop {
        bytes = match server.stream.frame(bytes, 17).await {
            Ok(request) => request,
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error}"),
        };
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
        let (at, size) = (number(1), number(9) as usize);
        server.answer(WAYS[usize::from(bytes[0])].0, at, size).await;
    }
    reaper.abort();
    (server.copied.get(), server.zero_copies.get())
}

impl Server {
    async fn answer(&self, way: Way, at: u64, size: usize) {
        let frame = frame(size);
        let part = FilePart {
            file: Arc::clone(&self.file),
            offset: at,
            len: size as u64,
        };
        match way {
            Way::Staged => {
                let (buffer, start) = self.stage(at, size).await;
                let lent = Lent::new(Rc::new(buffer), start..start + size);
                self.stream.write_with(frame, lent).await.unwrap();
            }
            Way::SendfileThread => {
                self.look(at, size).await;
                self.stream.write_file(frame, part).await.unwrap();
            }
            Way::SendfileThreadMore => {
                self.look(at, size).await;
                let socket = self.socket.try_clone().unwrap();
                let sent = tokio::task::spawn_blocking(move || send_file(&socket, &frame, &part));
                sent.await.unwrap();
            }
            Way::SendfileInlineMore => {
                self.look(at, size).await;
                send_file(&self.socket, &frame, &part);
            }
            Way::RingSend | Way::RingSendZc | Way::RingSendZcFixed => {
                let (buffer, start) = self.stage(at, size).await;
                self.send(way, &frame, &buffer, start, size);
            }
        }
    }

    /// Reads and checks bytes as the product stages them; they begin at the second value of the buffer.
    async fn stage(&self, at: u64, size: usize) -> (Buffer<Leased>, usize) {
        let start = at as usize % (4 * KIB);
        let extent = |file_offset, at, len| Extent {
            file_offset,
            at,
            len,
            required: len,
        };
        // Head and tail come with the data.
        let before = start.min(SKEW);
        let len = before + size + TAIL_BYTES;
        let plan = Plan::new(&[extent(at - before as u64, start - before, len)]);
        let buffer = self.read(plan, before..before + size).await;
        (buffer, start)
    }

    /// Reads head and tail of a needle, as the product does ahead of sendfile.
    async fn look(&self, at: u64, size: usize) {
        let head = Extent {
            file_offset: at - SKEW as u64,
            at: 0,
            len: HEAD_BYTES,
            required: HEAD_BYTES,
        };
        let tail = Extent {
            file_offset: at + size as u64,
            at: 4 * KIB + (at as usize + size) % (4 * KIB),
            len: TAIL_BYTES,
            required: TAIL_BYTES,
        };
        drop(self.read(Plan::new(&[head, tail]), 0..0).await);
    }

    /// Reads what is planned, and computes the checksum of `checked` of the first extent as it lands.
    async fn read(&self, plan: Plan, checked: std::ops::Range<usize>) -> Buffer<Leased> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let buffer = self
            .pool
            .reserve(Owner::default(), plan.buffer_bytes(), deadline);
        let file = Arc::clone(&self.file);
        let mut flight = self.ring.read(file, buffer.await.unwrap(), plan);
        let (mut crc, mut done) = (Crc32c::new(), checked.start);
        loop {
            let over = flight.advance().await.unwrap();
            let landed = flight.landed(0).min(checked.end);
            if done < landed {
                flight.with_bytes(0, done..landed, |bytes| crc.update(bytes));
                done = landed;
            }
            if over {
                break;
            }
            tokio::task::yield_now().await;
        }
        black_box(crc.value());
        flight.finish().await.unwrap().lease()
    }

    /// Sends frame and bytes with one submission, and waits until the kernel has done with both.
    fn send(&self, way: Way, frame: &[u8], buffer: &Buffer<Leased>, start: usize, size: usize) {
        let fd = types::Fd(self.socket.as_raw_fd());
        let address = buffer.local_address(start) as *const u8;
        let whole = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let zero_copy = |registered| {
            opcode::SendZc::new(fd, address, size as u32)
                .flags(whole)
                .zc_flags(SEND_ZC_REPORT_USAGE)
                .buf_index(registered)
                .build()
        };
        let entries = [
            opcode::Send::new(fd, frame.as_ptr(), frame.len() as u32)
                .flags(whole | libc::MSG_MORE)
                .build()
                .flags(squeue::Flags::IO_LINK),
            match way {
                Way::RingSendZc => zero_copy(None),
                Way::RingSendZcFixed => zero_copy(Some(0)),
                _ => opcode::Send::new(fd, address, size as u32)
                    .flags(whole)
                    .build(),
            },
        ];
        let mut ring = self.bare.borrow_mut();
        // SAFETY: frame, buffer and socket are borrowed until all completions have been seen, below.
        unsafe { ring.submission().push_multiple(&entries) }.unwrap();
        let (mut due, mut sent) = (entries.len(), 0);
        while due > 0 {
            ring.submit_and_wait(1).unwrap();
            for entry in ring.completion() {
                due -= 1;
                if cqueue::notif(entry.flags()) {
                    let copied = entry.result() as u32 & NOTIF_USAGE_ZC_COPIED != 0;
                    self.zero_copies.set(self.zero_copies.get() + 1);
                    self.copied.set(self.copied.get() + u64::from(copied));
                } else {
                    sent += usize::try_from(entry.result()).unwrap();
                    // Its notification, after which the buffer may be used again.
                    due += usize::from(cqueue::more(entry.flags()));
                }
            }
        }
        assert_eq!(sent, frame.len() + size, "a send was cut short");
    }
}

/// Sends a frame and the bytes of a file, the frame in one packet with the first of them.
fn send_file(socket: &TcpStream, frame: &[u8], part: &FilePart) {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    assert_eq!(
        rustix::net::send(socket, frame, flags).unwrap(),
        frame.len()
    );
    let (mut at, end) = (part.offset, part.offset + part.len);
    while at < end {
        let count = (end - at) as usize;
        let sent = rustix::fs::sendfile(socket, &*part.file, Some(&mut at), count);
        assert_ne!(sent.unwrap(), 0);
    }
}
