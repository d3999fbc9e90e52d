//! The program of the pause image: holds a pod's namespaces, reaps orphans where the PID namespace is shared, and ends on
//! SIGINT or SIGTERM. No libc and no heap, so that the image is a few KiB. Compiled by build.rs.
#![no_std]
#![no_main]

use core::arch::asm;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const SIGPROCMASK: usize = 14;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod nr {
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let r: isize;
    // SAFETY: the kernel only reads the signal set that the caller passes, and clobbers rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => r, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    r
}
#[cfg(target_arch = "aarch64")]
fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let r: isize;
    // SAFETY: the kernel only reads the signal set that the caller passes.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a as isize => r, in("x1") b, in("x2") c, in("x3") d, options(nostack));
    }
    r
}

fn exit(code: usize) -> ! {
    loop {
        syscall(nr::EXIT_GROUP, code, 0, 0, 0);
    }
}

const SIGINT: u64 = 2;
const SIGTERM: u64 = 15;
const SIGCHLD: u64 = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;

// SAFETY: the entry point of a program without runtime; the kernel jumps here once.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let set: u64 = (1 << (SIGINT - 1)) | (1 << (SIGTERM - 1)) | (1 << (SIGCHLD - 1));
    let set_at = &raw const set as usize;
    syscall(nr::SIGPROCMASK, SIG_BLOCK, set_at, 0, 8);
    loop {
        let signal = syscall(nr::SIGTIMEDWAIT, set_at, 0, 0, 8);
        if signal == SIGCHLD as isize {
            while syscall(nr::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {}
        } else if signal > 0 {
            exit(0)
        }
    }
}
