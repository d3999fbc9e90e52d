//! Where the database lies: a file, memory, or whatever a test makes of it. Opening checks the format record.

use crate::{Error, Result};
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};
use std::io;
use std::path::{Path, PathBuf};

/// Revision -> record.
pub const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// `format`, `compacted`, `trimmed`.
pub const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub const FORMAT: &str = "format";
pub const COMPACTED: &str = "compacted";
pub const TRIMMED: &str = "trimmed";

/// The format this version writes, and the newest it reads.
pub const CURRENT_FORMAT: u64 = 1;

/// Something to open a database on, more than once: after an IO error the database is opened anew.
pub trait Disk: Send + Sync + 'static {
    fn open(&self, builder: &Builder) -> std::result::Result<Database, DatabaseError>;
    /// Bytes in use.
    fn size(&self) -> io::Result<u64>;
    /// How errors call it.
    fn name(&self) -> String;
}

/// A file, locked against a second process while open.
pub struct FileDisk(PathBuf);

impl FileDisk {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Disk for FileDisk {
    fn open(&self, builder: &Builder) -> std::result::Result<Database, DatabaseError> {
        builder.create(&self.0)
    }
    fn size(&self) -> io::Result<u64> {
        // Blocks, not length: the file is grown ahead of its content.
        #[cfg(unix)]
        return Ok(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&self.0)?) * 512);
        #[cfg(not(unix))]
        return Ok(std::fs::metadata(&self.0)?.len());
    }
    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

/// Memory; never fails, so it is opened once only.
#[derive(Default)]
pub struct MemoryDisk(());

impl Disk for MemoryDisk {
    fn open(&self, builder: &Builder) -> std::result::Result<Database, DatabaseError> {
        builder.create_with_backend(InMemoryBackend::new())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn name(&self) -> String {
        "memory".into()
    }
}

/// Opens the database, makes its tables if it is new, and refuses what this version can't read.
pub fn open(disk: &dyn Disk, cache_bytes: usize) -> Result<Database> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    let name = disk.name();
    let db = disk.open(&builder).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => unavailable(format!(
            "the store {name} is in use by another process: stop that one first, or choose another data directory"
        )),
        DatabaseError::UpgradeRequired(v) => Error::Corrupt(format!(
            "the store {name} has file format {v}, written by another version of Skiff: open it with the version that wrote it, \
             or restore a backup"
        )),
        DatabaseError::Storage(e) => storage_error(&format!("opening the store {name}"), e),
        e => unavailable(format!("opening the store {name}: {e}")),
    })?;
    match read_meta(&db, FORMAT) {
        Ok(Some(CURRENT_FORMAT)) => Ok(db),
        Ok(Some(format)) => Err(Error::Corrupt(format!(
            "the store {name} has format {format}, written by a newer version of Skiff; this one reads up to {CURRENT_FORMAT}: \
             use the newer version, or restore a backup made by this one"
        ))),
        Ok(None) => {
            initialize(&db).map_err(|e| io_error(&format!("making the tables of the store {name}"), e))?;
            Ok(db)
        }
        Err(e) => Err(io_error(&format!("reading the format of the store {name}"), e)),
    }
}

pub fn read_meta(db: &Database, key: &str) -> std::result::Result<Option<u64>, redb::Error> {
    let txn = db.begin_read()?;
    match txn.open_table(META) {
        Ok(table) => Ok(table.get(key)?.map(|v| v.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn initialize(db: &Database) -> std::result::Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        txn.open_table(LOG)?;
        let mut meta = txn.open_table(META)?;
        meta.insert(FORMAT, CURRENT_FORMAT)?;
        meta.insert(COMPACTED, 0)?;
        meta.insert(TRIMMED, 0)?;
    }
    txn.commit()?;
    Ok(())
}

pub fn unavailable(message: String) -> Error {
    Error::Unavailable { message, maybe_written: false }
}

fn storage_error(what: &str, e: StorageError) -> Error {
    match e {
        StorageError::Corrupted(why) => Error::Corrupt(format!("{what}: {why}; restore a backup")),
        StorageError::Io(e) if matches!(e.kind(), io::ErrorKind::InvalidData) => {
            Error::Corrupt(format!("{what}: {e}: not a store, or damaged; restore a backup"))
        }
        e => unavailable(format!("{what}: {e}")),
    }
}

/// A failure of redb as ours.
pub fn io_error(what: &str, e: redb::Error) -> Error {
    match e {
        redb::Error::Corrupted(why) => storage_error(what, StorageError::Corrupted(why)),
        redb::Error::Io(e) => storage_error(what, StorageError::Io(e)),
        e => unavailable(format!("{what}: {e}")),
    }
}
