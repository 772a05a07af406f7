//! Where the calls of other processes come from: their stacks are walked from outside, by the unwind tables of the
//! files of code that they have mapped.
//!
//! Each process has its code elsewhere. A log knows one place for each file: addresses are told as if there were
//! one process that had all files of code.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use libc::pid_t;
use object::{Object, ObjectSection, ObjectSegment, ReadCache, SegmentFlags};

use super::tracee::{Call, Mapping};
use crate::record::{By, Kind, Writer};

/// Frames of one walk. What has more loses its outermost.
const FRAMES_MAX: usize = 96;
/// The part of a stack that is read.
const STACK_BYTES: usize = 64 << 10;
/// What each file of code has for itself in the log.
const ROOM: u64 = 1 << 40;

type Bytes = Arc<[u8]>;

/// Of the processes of one recording.
#[derive(Default)]
pub(super) struct Stacks {
    files: HashMap<PathBuf, Option<Code>>,
    /// By thread: threads of one process find the same.
    threads: HashMap<pid_t, Process>,
    /// Where the log has a stack.
    known: HashMap<Vec<u64>, u64>,
    count: u64,
}

/// A file of code.
#[derive(Clone)]
struct Code {
    /// Where the log says that it is.
    base: u64,
    tables: ExplicitModuleSectionInfo<Bytes>,
    /// Offset in the file, length and address of each part that is code.
    parts: Arc<[(u64, u64, u64)]>,
}

struct Process {
    maps: Vec<Mapping>,
    unwinder: UnwinderX86_64<Bytes>,
    cache: CacheX86_64,
    /// What was added to the addresses of the file behind each mapping, and its place in the log.
    places: Vec<Option<(u64, u64)>>,
}

impl Stacks {
    /// Writes down from where a call is made, where that is news; its position in the log. 0 where nothing is known.
    pub(super) fn walk(&mut self, call: &Call, log: &mut Writer) -> u64 {
        let maps: Vec<Mapping> =
            call.maps().into_iter().filter(|m| m.is_code && m.path.has_root()).collect();
        if self.threads.get(&call.thread).is_none_or(|process| process.maps != maps) {
            let process = self.process(maps, log);
            self.threads.insert(call.thread, process);
        }
        let process = self.threads.get_mut(&call.thread).expect("put there");
        let stack = process.walk(call);
        if stack.is_empty() {
            return 0;
        }
        if let Some(&position) = self.known.get(&stack) {
            return position;
        }
        let bytes: Vec<u8> = stack.iter().flat_map(|address| address.to_le_bytes()).collect();
        let position = log.add(By::default(), Kind::Stack, &[], &[], &bytes);
        self.known.insert(stack, position);
        position
    }

    fn process(&mut self, maps: Vec<Mapping>, log: &mut Writer) -> Process {
        let (mut unwinder, mut places) = (UnwinderX86_64::new(), Vec::new());
        for mapping in &maps {
            let code = self.code(&mapping.path, log);
            let bias = code.as_ref().and_then(|code| code.bias(mapping));
            if let (Some(code), Some(bias)) = (&code, bias) {
                let addresses = mapping.start..mapping.end;
                let tables = code.tables.clone();
                unwinder.add_module(Module::new(String::new(), addresses, bias, tables));
            }
            places.push(bias.zip(code.map(|code| code.base)));
        }
        Process { maps, unwinder, cache: CacheX86_64::new(), places }
    }

    fn code(&mut self, path: &Path, log: &mut Writer) -> Option<Code> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        self.count += 1;
        let code = Code::open(path, self.count * ROOM);
        if let (Some(code), Ok(metadata)) = (&code, fs::metadata(path)) {
            let time = [metadata.mtime() as u64, metadata.mtime_nsec() as u64];
            let words = [code.base, code.base, code.base + ROOM, metadata.size(), time[0], time[1]];
            log.add(By::default(), Kind::Module, &words, path.as_os_str().as_bytes(), &[]);
        }
        self.files.insert(path.into(), code.clone());
        code
    }
}

impl Process {
    /// The return addresses on the stack of the thread that makes a call, the innermost first, as the log has them.
    fn walk(&mut self, call: &Call) -> Vec<u64> {
        let registers = &call.registers;
        let (ip, sp, bp) = (registers.rip, registers.rsp, registers.rbp);
        let stack = call.memory(sp, STACK_BYTES).unwrap_or_default();
        let mut read = |at: u64| {
            let from = at.checked_sub(sp).and_then(|from| usize::try_from(from).ok());
            let word = from.and_then(|from| stack.get(from..from.checked_add(8)?));
            word.map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).ok_or(())
        };
        let registers = UnwindRegsX86_64::new(ip, sp, bp);
        let mut frames = self.unwinder.iter_frames(ip, registers, &mut self.cache, &mut read);
        let mut found = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            if found.len() == FRAMES_MAX {
                break;
            }
            found.push(frame.address());
        }
        // The first is where it is, and no return address.
        found.iter().skip(1).map_while(|address| self.in_log(*address)).collect()
    }

    fn in_log(&self, address: u64) -> Option<u64> {
        let inside = |mapping: &Mapping| (mapping.start..mapping.end).contains(&address);
        let (bias, base) = self.places[self.maps.iter().position(inside)?]?;
        Some(address.wrapping_sub(bias).wrapping_add(base))
    }
}

impl Code {
    fn open(path: &Path, base: u64) -> Option<Self> {
        let cache = ReadCache::new(File::open(path).ok()?);
        let file = object::File::parse(&cache).ok()?;
        // Parts may share a page of the file, but no two that are code.
        let parts = file.segments().filter_map(|part| {
            let SegmentFlags::Elf { p_flags } = part.flags() else { return None };
            let (offset, len) = part.file_range();
            (p_flags & libc::PF_X != 0).then(|| (offset, len, part.address()))
        });
        let parts = parts.collect();
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            let data = section.data().ok()?;
            Some((section.address()..section.address() + section.size(), Bytes::from(data)))
        };
        let (text, index, tables) =
            (section(".text"), section(".eh_frame_hdr"), section(".eh_frame"));
        let tables = ExplicitModuleSectionInfo {
            text_svma: text.as_ref().map(|(at, _)| at.clone()),
            text: text.map(|(_, data)| data),
            eh_frame_hdr_svma: index.as_ref().map(|(at, _)| at.clone()),
            eh_frame_hdr: index.map(|(_, data)| data),
            eh_frame_svma: tables.as_ref().map(|(at, _)| at.clone()),
            eh_frame: tables.map(|(_, data)| data),
            ..ExplicitModuleSectionInfo::default()
        };
        Some(Self { base, tables, parts })
    }

    /// What was added to the addresses of the file where a part of it is mapped.
    fn bias(&self, mapping: &Mapping) -> Option<u64> {
        const PAGE: u64 = 4096;
        let holds = |&&(offset, len, _): &&(u64, u64, u64)| {
            (offset / PAGE * PAGE..offset + len).contains(&mapping.offset)
        };
        let (offset, _, address) = self.parts.iter().find(holds)?;
        let mapped_from = (address + mapping.offset).wrapping_sub(*offset);
        Some(mapping.start.wrapping_sub(mapped_from))
    }
}
