//! What a `pwrite` of 4 KiB costs through the door: instructions in user space, counted one by
//! one, and medians of interleaved rounds.
//!
//! Each round of a `rep movsb` counts as an instruction: of those inside the root, 4096 are the
//! copy into the log. Their time is mostly the kernel's, for the page of memory that the copy takes.
//!
//! The filter of the trap cannot be removed, so what is timed with it comes last.

#![allow(unsafe_code, reason = "system calls, and another process's steps")]

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::fs::{self, File};
    use std::mem::transmute;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use faultfs_interpose::{Options, Session};

    const ROUNDS: usize = 41;
    const CALLS: u32 = 1_000;
    static DATA: [u8; 4096] = [7; 4096];

    /// Who makes the system call.
    #[derive(Clone, Copy)]
    enum By {
        /// glibc's own function, found past ours.
        Glibc,
        /// The symbol that the program calls.
        Door,
        /// Neither: rustix, which the trap sends to the door.
        Rustix,
    }

    /// Where the file is.
    #[derive(Clone, Copy)]
    enum At {
        Outside,
        Inside,
    }

    /// A name, and what it measures.
    type Way = (&'static str, By, At);

    /// What is timed together: without a session, with one, and with one that traps.
    const GROUPS: [(&str, Option<bool>, &[Way]); 3] = [
        (
            "no session",
            None,
            &[
                ("glibc", By::Glibc, At::Outside),
                ("door", By::Door, At::Outside),
                ("raw system call", By::Rustix, At::Outside),
            ],
        ),
        (
            "session",
            Some(false),
            &[
                ("outside the root, glibc", By::Glibc, At::Outside),
                ("outside the root, door", By::Door, At::Outside),
                ("inside the root, glibc, unseen", By::Glibc, At::Inside),
                ("inside the root, door", By::Door, At::Inside),
            ],
        ),
        (
            "session with the trap",
            Some(true),
            &[
                ("outside the root, door", By::Door, At::Outside),
                ("outside the root, raw system call", By::Rustix, At::Outside),
                ("inside the root, door", By::Door, At::Inside),
                ("inside the root, raw system call", By::Rustix, At::Inside),
            ],
        ),
    ];

    pub(crate) fn main() {
        // Cargo runs benches as tests too; then once through is enough.
        let quick = !std::env::args().any(|arg| arg == "--bench");
        let (rounds, calls) = if quick { (1, 10) } else { (ROUNDS, CALLS) };
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(folder).unwrap();
        let place = Place::new(folder.path());
        // Before the first session: the children start their own.
        let counts = GROUPS.map(|(_, session, ways)| {
            let count = |&(_, by, at): &Way| instructions(&place, session, by, at);
            ways.iter().map(count).collect::<Vec<_>>()
        });
        for ((title, session, ways), counts) in GROUPS.into_iter().zip(counts) {
            println!("{title}");
            let running = session.map(|trap| place.start(trap));
            let files = [At::Outside, At::Inside].map(|at| place.file(at));
            let mut times = vec![Vec::new(); ways.len()];
            for _ in 0..rounds {
                for (&(_, by, at), times) in ways.iter().zip(&mut times) {
                    times.push(timed(calls, by, &files[at as usize]));
                }
            }
            for ((&(name, ..), times), count) in ways.iter().zip(&mut times).zip(counts) {
                times.sort();
                let median = times[times.len() / 2].as_nanos() / u128::from(calls);
                println!("  {name:36} {median:6} ns {count:6} instructions");
            }
            drop(running);
        }
    }

    /// A root, a log, and what is outside.
    struct Place<'a>(&'a Path);

    impl<'a> Place<'a> {
        fn new(folder: &'a Path) -> Self {
            fs::create_dir(folder.join("root")).unwrap();
            Self(folder)
        }

        fn start(&self, trap: bool) -> Session {
            let (root, log) = (&self.0.join("root"), &self.0.join("log"));
            Session::start(&Options { log_bytes_max: 4 << 30, trap, ..Options::new(root, log) })
                .unwrap()
        }

        fn file(&self, at: At) -> File {
            let path = match at {
                At::Outside => "outside",
                At::Inside => "root/inside",
            };
            File::create(self.0.join(path)).unwrap()
        }
    }

    type Pwrite = unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize;

    fn glibc() -> Pwrite {
        // SAFETY: glibc's function of that name and type.
        unsafe {
            let found = libc::dlsym(libc::RTLD_NEXT, c"pwrite64".as_ptr());
            assert!(!found.is_null());
            transmute::<*mut c_void, Pwrite>(found)
        }
    }

    fn write(by: By, glibc: Pwrite, file: &File) {
        let (fd, data) = (file.as_raw_fd(), DATA.as_ptr().cast());
        let written = match by {
            // SAFETY: the file is open, the data static.
            By::Glibc => unsafe { glibc(fd, data, DATA.len(), 0) },
            // SAFETY: as above.
            By::Door => unsafe { libc::pwrite64(fd, data, DATA.len(), 0) },
            By::Rustix => rustix::io::pwrite(file, &DATA, 0).unwrap() as isize,
        };
        assert_eq!(written, 4096);
    }

    fn timed(calls: u32, by: By, file: &File) -> Duration {
        let glibc = glibc();
        let start = Instant::now();
        for _ in 0..calls {
            write(by, glibc, file);
        }
        start.elapsed()
    }

    /// Instructions in user space that a call takes: a child makes two calls and one, and is
    /// stepped through them one instruction at a time.
    fn instructions(place: &Place<'_>, session: Option<bool>, by: By, at: At) -> u64 {
        let [one, two] = [1, 2].map(|calls| steps(place, session, by, at, calls));
        two - one
    }

    fn steps(place: &Place<'_>, session: Option<bool>, by: By, at: At, calls: u32) -> u64 {
        // SAFETY: there is no other thread whose locks the child could miss.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let running = session.map(|trap| place.start(trap));
                let (file, glibc) = (place.file(at), glibc());
                write(by, glibc, &file);
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
                for _ in 0..calls {
                    write(by, glibc, &file);
                }
                drop(running);
                libc::_exit(0);
            }
            count_steps(child)
        }
    }

    fn count_steps(child: c_int) -> u64 {
        let (mut count, mut status) = (0, 0);
        loop {
            // SAFETY: the child is ours and stops before it is stepped again.
            unsafe {
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                if !libc::WIFSTOPPED(status) {
                    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
                    return count;
                }
                // The signal of a trapped call is the child's own; those of stops and steps are not.
                let signal = libc::WSTOPSIG(status);
                let delivered = if signal == libc::SIGSYS { signal } else { 0 };
                libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, delivered);
            }
            count += 1;
        }
    }
}

fn main() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    linux::main();
}
