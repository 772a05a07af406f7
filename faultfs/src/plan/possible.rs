//! Which errors a kernel can give for which op, on a regular file or directory: a table, each cell with
//! its source.
//!
//! It holds the errors that come from the state of disk, filesystem and machine, and so may come at any
//! time. Those that follow from what the caller asked for are not in it: a kernel that answers `ENOENT`
//! for a file that is there does not fail, it lies, and an engine that believes it has done nothing wrong.
//!
//! Sources: a manual page means its section ERRORS, in man-pages 6.03; files are those of Linux 6.1. Each cell
//! was looked up there.

use super::rule::OpKind;
use crate::errno::*;

impl OpKind {
    /// The errors that a kernel can give for an op of this kind although all that the op asks for is in
    /// order, in the order of their numbers, each with its source.
    ///
    /// Of any other error a correct engine may draw wrong conclusions. It can be injected, and decides
    /// nothing: see [`Rule::is_hostile`].
    ///
    /// ```
    /// use faultfs::errno::{EIO, ENOENT};
    /// use faultfs::plan::OpKind;
    ///
    /// let (_, source) = OpKind::Sync.errnos().find(|(errno, _)| *errno == EIO).unwrap();
    /// assert_eq!(source, "fsync(2)");
    /// assert!(!OpKind::Open.can_fail_with(ENOENT));
    /// ```
    ///
    /// [`Rule::is_hostile`]: super::Rule::is_hostile
    pub fn errnos(self) -> impl Iterator<Item = (Errno, &'static str)> {
        let mut cells: Vec<_> = TABLE
            .iter()
            .filter(|(_, _, kinds)| kinds.contains(&self))
            .map(|(errno, source, _)| (*errno, *source))
            .collect();
        cells.sort();
        cells.into_iter()
    }

    /// True where `errno` is one of [`OpKind::errnos`].
    pub fn can_fail_with(self, errno: Errno) -> bool {
        TABLE.iter().any(|(cell, _, kinds)| *cell == errno && kinds.contains(&self))
    }
}

use OpKind::*;

/// Error, source, and the ops for which that source says so. No pair of error and op comes twice.
const TABLE: &[(Errno, &str, &[OpKind])] = &[
    // The device does not answer, or not with what was asked for.
    (EIO, "read(2)", &[Read]),
    (EIO, "write(2)", &[Write]),
    (EIO, "fsync(2)", &[Sync, SyncDir]),
    (EIO, "sync(2), syncfs", &[SyncAll]),
    (EIO, "truncate(2)", &[SetLen]),
    (EIO, "chmod(2)", &[SetMode]),
    (EIO, "unlink(2)", &[Remove]),
    (EIO, "link(2)", &[Link]),
    (EIO, "symlink(2)", &[Symlink]),
    (EIO, "readlink(2)", &[ReadLink]),
    (EIO, "fs/ext4/inode.c, __ext4_iget: the inode cannot be read", &[Open, Metadata]),
    (
        EIO,
        "fs/ext4/namei.c, __ext4_read_dirblock: the directory cannot be read",
        &[Create, CreateDir, Rename, Exchange, RemoveDir, ReadDir],
    ),
    (EIO, "fs/ext4/file.c, ext4_file_mmap: the filesystem is shut down", &[Map]),
    (EIO, "mm/filemap.c, filemap_fault: SIGBUS, the page cannot be read", &[Load, Store]),
    (EIO, "mm/msync.c, vfs_fsync_range: as fsync(2)", &[SyncMap]),
    (
        EINTR,
        "fs/locks.c, __break_lease: a signal while another process gives its lease up",
        &[Open],
    ),
    (EINTR, "fs/fuse/dev.c, request_wait_answer: a server that was told of a signal", &[Create]),
    (EINTR, "read(2)", &[Read]),
    (EINTR, "write(2)", &[Write]),
    (EINTR, "fsync(2)", &[Sync, SyncDir]),
    (EINTR, "mm/msync.c, vfs_fsync_range: as fsync(2)", &[SyncMap]),
    (EINTR, "truncate(2)", &[SetLen]),
    // Direct reads and writes give the caller the status of the block layer; write-back keeps it for fsync
    // (fs/ext4/page-io.c, ext4_end_bio; include/linux/pagemap.h, mapping_set_error). Of a page that cannot be
    // read a buffered read says EIO only.
    (ENODATA, "block/blk-core.c, blk_errors: BLK_STS_MEDIUM", &[Read, Write, Sync, SyncMap]),
    (EILSEQ, "block/blk-core.c, blk_errors: BLK_STS_PROTECTION", &[Read, Write, Sync, SyncMap]),
    (ENOLINK, "block/blk-core.c, blk_errors: BLK_STS_TRANSPORT", &[Read, Write, Sync, SyncMap]),
    (EREMOTEIO, "block/blk-core.c, blk_errors: BLK_STS_TARGET", &[Read, Write, Sync, SyncMap]),
    (ETIMEDOUT, "block/blk-core.c, blk_errors: BLK_STS_TIMEOUT", &[Read, Write, Sync, SyncMap]),
    (ENODEV, "block/blk-core.c, blk_errors: BLK_STS_OFFLINE", &[Read, Write, Sync, SyncMap]),
    // What the filesystem keeps for itself is damaged.
    (
        EUCLEAN,
        "fs/ext4/ext4.h, EFSCORRUPTED: an inode or directory that makes no sense",
        &[Open, Create, Metadata, Rename, Exchange, Remove, RemoveDir, Link, Symlink, CreateDir],
    ),
    (EUCLEAN, "fs/ext4/namei.c, __ext4_read_dirblock: EFSCORRUPTED", &[ReadDir]),
    // Of reads, direct ones: as above.
    (
        EUCLEAN,
        "fs/ext4/extents.c, __ext4_ext_check: an extent tree that makes no sense",
        &[Read, Write, SetLen],
    ),
    (
        EBADMSG,
        "fs/ext4/ext4.h, EFSBADCRC: the checksum of an inode or directory is wrong",
        &[Open, Create, Metadata, Rename, Exchange, Remove, RemoveDir, Link, Symlink, CreateDir],
    ),
    (EBADMSG, "fs/ext4/namei.c, __ext4_read_dirblock: EFSBADCRC", &[ReadDir]),
    (
        EBADMSG,
        "fs/ext4/extents.c, __ext4_ext_check: the checksum of an extent tree is wrong",
        &[Read, Write, SetLen],
    ),
    // No room.
    (ENOSPC, "open(2)", &[Create]),
    (ENOSPC, "write(2)", &[Write]),
    (ENOSPC, "fsync(2)", &[Sync, SyncDir]),
    (ENOSPC, "mm/msync.c, vfs_fsync_range: as fsync(2)", &[SyncMap]),
    (
        ENOSPC,
        "fs/ext4/inode.c, ext4_page_mkwrite: SIGBUS (include/linux/buffer_head.h, \
         block_page_mkwrite_return)",
        &[Store],
    ),
    (ENOSPC, "sync(2), syncfs", &[SyncAll]),
    (ENOSPC, "fallocate(2)", &[SetLen]),
    (ENOSPC, "rename(2)", &[Rename, Exchange]),
    (ENOSPC, "link(2)", &[Link]),
    (ENOSPC, "symlink(2)", &[Symlink]),
    (ENOSPC, "mkdir(2)", &[CreateDir]),
    (ENOSPC, "fs/btrfs/inode.c, __unlink_start_trans: a removal needs room", &[Remove, RemoveDir]),
    (ENOSPC, "fs/btrfs/inode.c, btrfs_dirty_inode: a new mode needs room", &[SetMode]),
    (EDQUOT, "open(2)", &[Create]),
    (EDQUOT, "write(2)", &[Write]),
    // Of data that was written: a directory has none.
    (EDQUOT, "fsync(2)", &[Sync]),
    (EDQUOT, "mm/msync.c, vfs_fsync_range: as fsync(2)", &[SyncMap]),
    (EDQUOT, "fs/ext4/inode.c, ext4_page_mkwrite: SIGBUS", &[Store]),
    (EDQUOT, "sync(2), syncfs", &[SyncAll]),
    (EDQUOT, "rename(2)", &[Rename, Exchange]),
    (EDQUOT, "link(2)", &[Link]),
    (EDQUOT, "symlink(2)", &[Symlink]),
    (EDQUOT, "mkdir(2)", &[CreateDir]),
    (EFBIG, "write(2)", &[Write]),
    (EFBIG, "truncate(2)", &[SetLen]),
    // The filesystem was made read-only, by an administrator or by an error before.
    // An open for reading succeeds: a sweep leaves it out there.
    (EROFS, "open(2)", &[Open]),
    (EROFS, "fs/namei.c, lookup_open", &[Create]),
    (EROFS, "fs/ext4/ext4_jbd2.c, ext4_journal_check_start", &[Write]),
    (EROFS, "fs/ext4/ext4_jbd2.c, ext4_journal_check_start: SIGBUS", &[Store]),
    (EROFS, "fs/ext4/fsync.c, ext4_sync_file", &[Sync, SyncDir, SyncMap]),
    (EROFS, "truncate(2)", &[SetLen]),
    (EROFS, "chmod(2)", &[SetMode]),
    (EROFS, "rename(2)", &[Rename, Exchange]),
    (EROFS, "unlink(2)", &[Remove]),
    (EROFS, "rmdir(2)", &[RemoveDir]),
    (EROFS, "link(2)", &[Link]),
    (EROFS, "symlink(2)", &[Symlink]),
    (EROFS, "mkdir(2)", &[CreateDir]),
    // The machine has no more of something.
    (EMFILE, "open(2)", &[Open, Create]),
    (EMFILE, "opendir(3)", &[ReadDir]),
    (ENFILE, "open(2)", &[Open, Create]),
    (ENFILE, "opendir(3)", &[ReadDir]),
    (ENOMEM, "open(2)", &[Open, Create]),
    (ENOMEM, "mm/filemap.c, filemap_create_folio", &[Read]),
    (ENOMEM, "mm/filemap.c, __filemap_get_folio", &[Write, SetLen]),
    (ENOMEM, "mmap(2)", &[Map]),
    (ENOMEM, "stat(2)", &[Metadata]),
    (ENOMEM, "chmod(2)", &[SetMode]),
    (ENOMEM, "rename(2)", &[Rename, Exchange]),
    (ENOMEM, "unlink(2)", &[Remove]),
    (ENOMEM, "rmdir(2)", &[RemoveDir]),
    (ENOMEM, "link(2)", &[Link]),
    (ENOMEM, "symlink(2)", &[Symlink]),
    (ENOMEM, "readlink(2)", &[ReadLink]),
    (ENOMEM, "mkdir(2)", &[CreateDir]),
    (ENOMEM, "opendir(3)", &[ReadDir]),
    // A server has forgotten the file. The sync of a directory asks it nothing (fs/nfs/dir.c, nfs_fsync_dir),
    // and it knows no exchange.
    (
        ESTALE,
        "RFC 1813, section 3.3: NFS3ERR_STALE, of every procedure",
        &[
            Open, Create, Read, Write, Sync, SyncMap, SetLen, Metadata, SetMode, Rename, Remove,
            RemoveDir, Link, Symlink, ReadLink, CreateDir, ReadDir,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_can_meet_a_broken_device_and_no_cell_comes_twice() {
        for kind in OpKind::ALL {
            assert!(kind.can_fail_with(EIO), "{kind}");
            let errnos: Vec<Errno> = kind.errnos().map(|(errno, _)| errno).collect();
            assert!(errnos.windows(2).all(|pair| pair[0] < pair[1]), "{kind}: {errnos:?}");
        }
    }

    #[test]
    fn what_follows_from_the_question_is_in_no_cell() {
        let asked = [ENOENT, EEXIST, ENOTDIR, EISDIR, EINVAL, EBADF, EFAULT, EAGAIN, ENAMETOOLONG];
        for (errno, _, kinds) in TABLE {
            assert!(!asked.contains(errno), "{errno} {kinds:?}");
        }
    }

    #[test]
    fn an_op_that_changes_nothing_needs_neither_room_nor_a_writable_disk() {
        for kind in [Read, Metadata, ReadLink, ReadDir] {
            let found = [ENOSPC, EDQUOT, EROFS].map(|errno| kind.can_fail_with(errno));
            assert_eq!(found, [false; 3], "{kind}");
        }
    }
}
