//! A file that is written beside whoever reads what goes into it: one chunk is on its way while the next
//! is read, and the disk begins before the last is there.

use std::io::{self, Write};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::whole_file::WholeFile;

/// So many bytes are worth beginning to sync: a disk is busy with them for some milliseconds.
const SYNCED_AT_ONCE: u64 = 32 << 20;

/// The file, or who is writing to it.
#[derive(Debug)]
pub(super) struct Behind {
    /// A write that has ended gives it back; an error keeps it.
    file: JoinHandle<io::Result<WholeFile>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
    unsynced: u64,
}

impl Behind {
    pub(super) fn new(file: WholeFile) -> Self {
        Self {
            file: spawn_blocking(|| Ok(file)),
            syncing: None,
            unsynced: 0,
        }
    }

    /// Sends off a chunk once the one before it is written.
    pub(super) async fn write<Chunk>(&mut self, chunk: Chunk) -> io::Result<()>
    where
        Chunk: AsRef<[u8]> + Send + 'static,
    {
        let mut file = (&mut self.file).await??;
        self.sync(&file).await?;
        self.unsynced += chunk.as_ref().len() as u64;
        self.file = spawn_blocking(move || file.write_all(chunk.as_ref()).map(|()| file));
        Ok(())
    }

    /// The file with all chunks in it, not yet synced to its end.
    pub(super) async fn finish(self) -> io::Result<WholeFile> {
        let file = self.file.await??;
        if let Some(syncing) = self.syncing {
            syncing.await??;
        }
        Ok(file)
    }

    /// Has the disk begin with what is written, if it has nothing to do.
    async fn sync(&mut self, file: &WholeFile) -> io::Result<()> {
        if self.unsynced < SYNCED_AT_ONCE {
            return Ok(());
        }
        match self.syncing.take_if(|syncing| syncing.is_finished()) {
            // A disk tells of a write that failed once, to whichever sync comes first.
            Some(syncing) => syncing.await??,
            None if self.syncing.is_some() => return Ok(()),
            None => {}
        }
        let file = file.another()?;
        self.syncing = Some(spawn_blocking(move || file.sync_data()));
        self.unsynced = 0;
        Ok(())
    }
}
