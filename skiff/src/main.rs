//! The one binary: `skiff up` and its siblings for people, `skiff server` and `skiff agent` for machines, and every upstream
//! component by its own name.

mod cli;
mod commands;
mod containerd;
mod images;
mod layout;
mod multicall;
mod nested;
mod process;
mod progress;
mod server;
mod settings;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // `skiff status | head` ends quietly, as other programs do; the server ignores SIGPIPE again when it starts.
    // SAFETY: no other thread runs yet, and the disposition is one of the two fixed ones.
    #[allow(unsafe_code)]
    let _ = unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
    match cli::run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("skiff: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
