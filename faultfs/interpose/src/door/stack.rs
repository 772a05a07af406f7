//! Where a call comes from: the return addresses on the stack of its thread.
//!
//! Everything is made ready when a session starts. A walk then allocates nothing, takes no lock but the
//! door's, asks the kernel nothing and reads only the walked stack and the unwind tables of the program, so
//! that it may happen wherever the door is: also in the handler of a trapped call, through whose frame it
//! goes on to the code that was trapped. Addresses are kept; what they mean is found out when the log is
//! read.

use std::arch::asm;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::fs;
use std::mem::offset_of;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{ptr, slice};

use addr2line::gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, MustNotAllocateDuringUnwind, Unwinder};
use libc::{Elf64_Phdr, dl_phdr_info};

use super::log::Log;

/// Frames of one walk, the door's own among them. What has more loses its outermost.
const FRAMES_MAX: usize = 96;
/// Stacks that are found again; one that finds no room is written again. A power of two.
const KNOWN_MAX: usize = 4096;
/// Places in which a stack is looked for.
const PROBES: usize = 4;

/// A file of code in the process.
pub(crate) struct Module {
    /// What was added to the addresses that it states.
    pub(crate) bias: u64,
    pub(crate) addresses: Range<u64>,
    pub(crate) path: PathBuf,
    /// Length and time, by which it is known to be the same file later.
    pub(crate) stamp: [u64; 3],
}

/// Walks the stacks of one session. To be used with the door's lock held.
pub(crate) struct Walker {
    pub(crate) modules: Vec<Module>,
    unwinder: UnwinderX86_64<&'static [u8], MustNotAllocateDuringUnwind>,
    cache: CacheX86_64<MustNotAllocateDuringUnwind>,
    /// Where code is that the unwinder knows.
    code: Vec<Range<u64>>,
    /// Behind the stack of the main thread.
    main_end: u64,
    /// Hashes of stacks in the log, and where they stand.
    known: Box<[(u64, u64)]>,
    /// The frames that were there when the session started, as `frames` and `addresses`: what called the
    /// workload is no caller of the engine.
    started: Vec<(u64, u64)>,
    /// Of the last walk: the stack pointer after each return, and where it returns to.
    frames: [u64; FRAMES_MAX],
    addresses: [u64; FRAMES_MAX],
    len: usize,
}

impl Walker {
    /// Learns what code the process has, and what this thread, which starts the session, is doing.
    pub(crate) fn new() -> Box<Walker> {
        let mut walker = Box::new(Walker {
            modules: Vec::new(),
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new_in(),
            code: Vec::new(),
            main_end: main_end(),
            known: vec![(0, 0); KNOWN_MAX].into(),
            started: Vec::new(),
            frames: [0; FRAMES_MAX],
            addresses: [0; FRAMES_MAX],
            len: 0,
        });
        let mut found: Vec<Loaded> = Vec::new();
        // SAFETY: the callback takes what it is given for what it is, and gets the address of a local.
        unsafe { libc::dl_iterate_phdr(Some(note), ptr::from_mut(&mut found).cast()) };
        found.into_iter().filter(Loaded::stays).for_each(|loaded| walker.add(loaded));
        walker.walk();
        let started = walker.frames.into_iter().zip(walker.addresses).take(walker.len);
        walker.started = started.collect();
        walker
    }

    fn add(&mut self, loaded: Loaded) {
        let path = loaded.path();
        let (Some(sections), Ok(metadata)) = (loaded.sections(), fs::metadata(&path)) else {
            return;
        };
        let at = |header: &Elf64_Phdr| {
            let start = loaded.bias.wrapping_add(header.p_vaddr);
            start..start.wrapping_add(header.p_memsz)
        };
        let parts = || loaded.headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let (Some(first), Some(last)) = (parts().next(), parts().next_back()) else { return };
        let addresses = at(first).start..at(last).end;
        self.code.extend(parts().filter(|part| part.p_flags & libc::PF_X != 0).map(at));
        let module = framehop::Module::new(String::new(), addresses.clone(), loaded.bias, sections);
        self.unwinder.add_module(module);
        let time = [metadata.mtime() as u64, metadata.mtime_nsec() as u64];
        let stamp = [metadata.size(), time[0], time[1]];
        self.modules.push(Module { bias: loaded.bias, addresses, path, stamp });
    }

    /// The return addresses on the stack of this thread, the innermost first.
    pub(crate) fn addresses(&mut self) -> &[u64] {
        self.walk();
        &self.addresses[..self.len]
    }

    pub(crate) fn walk(&mut self) {
        let (ip, sp, bp, thread): (u64, u64, u64, u64);
        // SAFETY: reads registers, and the first word of the thread's own block, which holds its address.
        unsafe {
            asm!(
                "lea {ip}, [rip]", "mov {sp}, rsp", "mov {bp}, rbp", "mov {thread}, fs:0",
                ip = out(reg) ip, sp = out(reg) sp, bp = out(reg) bp, thread = out(reg) thread,
                options(nostack, readonly, preserves_flags)
            );
        }
        let end = stack_end(sp, thread, self.main_end);
        let mut read = |at: u64| {
            let inside = sp <= at && end.checked_sub(8).is_some_and(|last| at <= last);
            // SAFETY: on the stack that is in use, see `stack_end`.
            let word =
                || unsafe { ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() };
            if inside { Ok(word()) } else { Err(()) }
        };
        let mut registers = UnwindRegsX86_64::new(ip, sp, bp);
        let mut address = FrameAddress::from_instruction_pointer(ip);
        let mut below = self.started.iter().peekable();
        self.len = 0;
        while self.len < FRAMES_MAX {
            let (unwinder, cache) = (&self.unwinder, &mut self.cache);
            let above = unwinder.unwind_frame(address, &mut registers, cache, &mut read);
            let Ok(Some(mut above)) = above else { break };
            let mut room = self.room(above);
            // SAFETY: within code of the process, which can be read.
            if room >= 9 && unsafe { returns_from_signal(above) } {
                let Some(interrupted) = interrupted(registers.sp(), &mut read) else { break };
                (registers, above) = (interrupted, interrupted.ip());
                room = self.room(above);
            }
            // Code that nobody can explain is where guessing would begin.
            if room == 0 {
                break;
            }
            let frame = (registers.sp(), above);
            while below.next_if(|started| started.0 < frame.0).is_some() {}
            if below.peek() == Some(&&frame) {
                break;
            }
            let Some(next) = FrameAddress::from_return_address(above) else { break };
            (self.frames[self.len], self.addresses[self.len], address) = (frame.0, above, next);
            self.len += 1;
        }
    }

    /// Bytes of known code from an address on.
    #[inline]
    fn room(&self, address: u64) -> u64 {
        let code = self.code.iter().find(|code| code.contains(&address));
        code.map_or(0, |code| code.end - address)
    }

    /// What the last walk found, as the log holds it.
    pub(crate) fn bytes(&self) -> &[u8] {
        let addresses = &self.addresses[..self.len];
        // SAFETY: plain numbers; the bytes of as many of them.
        unsafe { slice::from_raw_parts(addresses.as_ptr().cast(), size_of_val(addresses)) }
    }

    /// Where the log has the stack that was walked last.
    pub(crate) fn known(&self, log: &Log) -> Option<u64> {
        let hash = self.hash();
        let same = |&place: &usize| {
            let (known, position) = self.known[place];
            known == hash && position != 0 && log.data(position) == self.bytes()
        };
        places(hash).find(same).map(|place| self.known[place].1)
    }

    /// Remembers where the log has the stack that was walked last.
    pub(crate) fn remember(&mut self, position: u64) {
        let hash = self.hash();
        if let Some(free) = places(hash).find(|&place| self.known[place].1 == 0) {
            self.known[free] = (hash, position);
        }
    }

    /// FNV-1a, a word at a time: what is equal is compared as well.
    fn hash(&self) -> u64 {
        let mix = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        let hash = self.addresses[..self.len].iter().fold(0xcbf2_9ce4_8422_2325, mix);
        hash ^ hash >> 32
    }
}

/// Whether a signal handler returns to this address, from which the kernel is asked to go on with what it
/// interrupted.
///
/// # Safety
/// Nine bytes of code can be read there.
unsafe fn returns_from_signal(address: u64) -> bool {
    const RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, libc::SYS_rt_sigreturn as u8, 0, 0, 0, 0x0f, 0x05];
    let code = ptr::with_exposed_provenance::<[u8; 9]>(address as usize);
    // SAFETY: the caller answers for it.
    unsafe { *code == RETURN }
}

/// What a signal interrupted: the kernel's record of it, where the handler's return address was.
fn interrupted(sp: u64, read: &mut impl FnMut(u64) -> Result<u64, ()>) -> Option<UnwindRegsX86_64> {
    let saved = sp + offset_of!(libc::ucontext_t, uc_mcontext.gregs) as u64;
    let mut register = |index: c_int| read(saved + 8 * index as u64).ok();
    let (ip, sp) = (register(libc::REG_RIP)?, register(libc::REG_RSP)?);
    Some(UnwindRegsX86_64::new(ip, sp, register(libc::REG_RBP)?))
}

fn places(hash: u64) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |probe| (hash as usize).wrapping_add(probe) % KNOWN_MAX)
}

/// Behind the part of a stack that may be read from `sp` on. glibc puts the block of a thread that it starts on
/// the upper end of its stack, and that of the main thread far below its: what lies nearest above `sp` ends the
/// stack. One that is neither, of a coroutine or of a signal, is read where its unwind tables say: they
/// describe what was pushed there.
fn stack_end(sp: u64, thread: u64, main_end: u64) -> u64 {
    let above = [thread, main_end].into_iter().filter(|end| *end > sp).min();
    above.unwrap_or(sp)
}

/// Behind the stack of the main thread: glibc's loader keeps it.
fn main_end() -> u64 {
    // SAFETY: a null-terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_stack_end".as_ptr()) };
    // SAFETY: null, or a variable of glibc's that holds an address and never changes.
    unsafe { found.cast::<u64>().as_ref() }.copied().unwrap_or(0)
}

/// What the loader tells of one file.
struct Loaded {
    bias: u64,
    name: Vec<u8>,
    headers: Vec<Elf64_Phdr>,
}

unsafe extern "C" fn note(info: *mut dl_phdr_info, _: usize, into: *mut c_void) -> c_int {
    // SAFETY: the loader gives a description that is valid during the call, `Walker::new` the list.
    unsafe {
        let (info, found) = (&*info, &mut *into.cast::<Vec<Loaded>>());
        let headers = slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()).to_vec();
        let name = CStr::from_ptr(info.dlpi_name).to_bytes().to_vec();
        found.push(Loaded { bias: info.dlpi_addr, name, headers });
    }
    0
}

impl Loaded {
    /// Sees to it that it is never unloaded: its tables are read from now on.
    fn stays(&self) -> bool {
        if self.name.is_empty() {
            return true; // the program itself
        }
        let mut name = self.name.clone();
        name.push(0);
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: a null-terminated name. Nothing is loaded, so no code runs.
        !unsafe { libc::dlopen(name.as_ptr().cast(), flags) }.is_null()
    }

    fn path(&self) -> PathBuf {
        match self.name.is_empty() {
            true => std::env::current_exe().unwrap_or_default(),
            false => Path::new(OsStr::from_bytes(&self.name)).to_path_buf(),
        }
    }

    /// Its unwind tables, where the loader has put them.
    fn sections(&self) -> Option<ExplicitModuleSectionInfo<&'static [u8]>> {
        let index = self.headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?;
        let index_at = index.p_vaddr..index.p_vaddr + index.p_memsz;
        let index = self.bytes(&index_at);
        let bases = BaseAddresses::default().set_eh_frame_hdr(index_at.start);
        let parsed = EhFrameHdr::new(index, LittleEndian).parse(&bases, 8).ok()?;
        let Pointer::Direct(start) = parsed.eh_frame_ptr() else { return None };
        let loaded = |header: &&Elf64_Phdr| {
            let at = header.p_vaddr..header.p_vaddr + header.p_filesz;
            header.p_type == libc::PT_LOAD && at.contains(&start)
        };
        let part = self.headers.iter().find(loaded)?;
        // To the end of what is loaded there: the index says where each entry begins, and each its length.
        let tables_at = start..part.p_vaddr + part.p_filesz;
        Some(ExplicitModuleSectionInfo {
            eh_frame_hdr: Some(index),
            eh_frame_hdr_svma: Some(index_at),
            eh_frame: Some(self.bytes(&tables_at)),
            eh_frame_svma: Some(tables_at),
            ..ExplicitModuleSectionInfo::default()
        })
    }

    fn bytes(&self, at: &Range<u64>) -> &'static [u8] {
        let start = ptr::with_exposed_provenance(self.bias.wrapping_add(at.start) as usize);
        // SAFETY: the loader has mapped it from the file, read-only, and it stays, see `stays`.
        unsafe { slice::from_raw_parts(start, (at.end - at.start) as usize) }
    }
}
