//! The program of the hello image: a small web server that says which pod answered. It ends gracefully: on SIGTERM it keeps
//! answering while the cluster takes it out of Services, finishes what it has begun, and exits. Compiled by build.rs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the signal handler writes a byte.
static STOP: AtomicI32 = AtomicI32::new(-1);
static BUSY: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn signal(signum: i32, handler: extern "C" fn(i32)) -> usize;
    fn write(fd: i32, buf: *const u8, count: usize) -> isize;
}

extern "C" fn stop(_: i32) {
    // SAFETY: write(2) is async-signal-safe and the buffer is a constant.
    unsafe { write(STOP.load(Ordering::SeqCst), b"x".as_ptr(), 1) };
}

fn main() {
    let Ok((mut stopped, stopper)) = UnixStream::pair() else { std::process::exit(1) };
    STOP.store(stopper.as_raw_fd(), Ordering::SeqCst);
    // SAFETY: the handler does nothing that is not allowed in one.
    unsafe {
        signal(15, stop);
        signal(2, stop);
    }
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = match TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))) {
        Ok(l) => l,
        Err(e) => {
            eprintln!("cannot listen on port {port}: {e}");
            std::process::exit(1);
        }
    };
    println!("hello listens on port {port}");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            BUSY.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                serve(stream);
                BUSY.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    while stopped.read_exact(&mut [0]).is_err() {}
    println!("hello stops");
    let linger: u64 = std::env::var("LINGER_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let began = Instant::now();
    // Services learn of the end a moment after the signal: keep answering for that moment.
    while began.elapsed() < Duration::from_secs(linger) || BUSY.load(Ordering::SeqCst) > 0 {
        if began.elapsed() > Duration::from_secs(linger + 20) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serve(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy.take(64 << 10));
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() || request.is_empty() {
        return;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) && !line.trim().is_empty() {
        line.clear();
    }
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let version = std::env::var("VERSION").unwrap_or_else(|_| env!("HELLO_VERSION").into());
    let body = match path {
        "/healthz" => "ok\n".to_owned(),
        "/hostname" => format!("{host}\n"),
        "/version" => format!("{version}\n"),
        _ => format!("Hello from {host}, version {version}\n"),
    };
    println!("{} {}", request.trim(), stream.peer_addr().map(|a| a.to_string()).unwrap_or_default());
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.flush();
}
