//! `FaultFile` around what is read and written asynchronously.
//!
//! An op is whatever a reader or writer completes: it is judged at its first poll, and that stands until
//! a poll is ready, whoever polls. `flush`, `shutdown` and seeks are no ops, as for synchronous files.

use std::io::{self, IoSlice, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::FaultFile;
use super::door::OpKind;
use super::poll::{call, poll_read, poll_write};

/// ```
/// # #[cfg(feature = "faults")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use faultfs::errno::ENOSPC;
/// use faultfs::plan::on;
/// use faultfs::{FaultFile, Injector};
/// use tokio::io::AsyncWriteExt;
///
/// let injector = Injector::new([
///     on::write().take(1).short(4),
///     on::sync().take(1).fail(ENOSPC),
/// ]);
/// let file = tokio::fs::File::from_std(tempfile::tempfile()?);
/// let mut log = FaultFile::armed(file, &injector, "log");
/// assert_eq!(log.write(b"record").await?, 4);
/// assert_eq!(log.sync_data().await.unwrap_err().raw_os_error(), Some(28));
/// injector.finish().unwrap();
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "faults"))]
/// # fn main() {}
/// ```
impl<F: AsyncRead + Unpin> AsyncRead for FaultFile<F> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (inner, gate) = self.get_mut().parts();
        match gate.armed() {
            None => Pin::new(inner).poll_read(context, buf),
            Some(door) => poll_read(door, Pin::new(inner), context, buf),
        }
    }
}

impl<F: AsyncWrite + Unpin> AsyncWrite for FaultFile<F> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (inner, gate) = self.get_mut().parts();
        match gate.armed() {
            None => Pin::new(inner).poll_write(context, buf),
            Some(door) => poll_write(door, Pin::new(inner), context, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (inner, gate) = self.get_mut().parts();
        match gate.armed() {
            None => Pin::new(inner).poll_write_vectored(context, bufs),
            Some(door) => {
                let whole: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
                poll_write(door, Pin::new(inner), context, &whole)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().get_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().get_mut()).poll_shutdown(context)
    }
}

impl<F: AsyncSeek + Unpin> AsyncSeek for FaultFile<F> {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        Pin::new(self.get_mut().get_mut()).start_seek(to)
    }

    fn poll_complete(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(self.get_mut().get_mut()).poll_complete(context)
    }
}

impl FaultFile<File> {
    /// Sets the size in bytes. This corresponds to [`tokio::fs::File::set_len`].
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match self.gate().armed() {
            None => self.get_ref().set_len(len).await,
            Some(door) => call(door, OpKind::SetLen, len, self.get_ref().set_len(len)).await,
        }
    }

    /// Makes data and metadata durable. This corresponds to [`tokio::fs::File::sync_all`].
    pub async fn sync_all(&self) -> io::Result<()> {
        match self.gate().armed() {
            None => self.get_ref().sync_all().await,
            Some(door) => call(door, OpKind::Sync, 0, self.get_ref().sync_all()).await,
        }
    }

    /// Makes data durable. This corresponds to [`tokio::fs::File::sync_data`].
    pub async fn sync_data(&self) -> io::Result<()> {
        match self.gate().armed() {
            None => self.get_ref().sync_data().await,
            Some(door) => call(door, OpKind::Sync, 0, self.get_ref().sync_data()).await,
        }
    }
}
