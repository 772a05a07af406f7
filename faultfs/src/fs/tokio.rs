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
            Some(door) => door.poll_read(Pin::new(inner), context, buf),
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
            Some(door) => door.poll_write(Pin::new(inner), context, buf),
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
                door.poll_write(Pin::new(inner), context, &whole)
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
