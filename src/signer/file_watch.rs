//! Notices that a file of the configuration was replaced (`reload = "watch"`), by inotify(7), which tells of names in a folder: the
//! supervisor opens no file for it. Which names matter, the reader of the configuration has found out.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::SignerError;
use super::supervisor_reload::sleep_to;
use super::watched_name::WatchedName;
use crate::poison::IgnorePoison as _;

/// For how long no further file may be replaced before a reload: certificate and anchors are replaced one after the other.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// When a reload is due although files go on being replaced.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// A name has another file, or the file that was written to is closed. A file that is gone is nothing to take.
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ONLYDIR);

/// What is read at a time: some hundred events.
const BUFFER_LEN: usize = 16 << 10;

/// By watch descriptor: the names in a folder that matter, each with the file that it leads to.
type Folders = HashMap<i32, Vec<(String, PathBuf)>>;

/// Watches the names that it is told.
pub(super) struct FileWatch {
    inotify: Arc<OwnedFd>,
    folders: Arc<Mutex<Folders>>,
    /// Holds one: more is not to be told before it is received.
    replaced: mpsc::Receiver<PathBuf>,
    due: Option<DueReload>,
}

/// A reload that waits until no further file is replaced.
struct DueReload {
    /// The first.
    file: PathBuf,
    quiet_at: Instant,
    latest: Instant,
}

impl FileWatch {
    /// Makes ready to watch, where there is something to be watched. To be called before this process is under its filter.
    ///
    /// # Errors
    /// The user has too many watches already.
    pub(super) fn prepare(names: &[WatchedName]) -> Result<Option<OwnedFd>, SignerError> {
        if names.is_empty() {
            return Ok(None);
        }
        let made = inotify::init(CreateFlags::CLOEXEC);
        made.map(Some).map_err(|error| SignerError::NotWatched {
            error: error.into(),
        })
    }

    /// Watches these names, on a thread of its own, for as long as this process lives.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(inotify: OwnedFd, names: &[WatchedName]) -> Result<Self, SignerError> {
        let (sender, replaced) = mpsc::channel(1);
        let mut watch = Self {
            inotify: Arc::new(inotify),
            folders: Arc::default(),
            replaced,
            due: None,
        };
        watch.watch(names);
        let (inotify, folders) = (Arc::clone(&watch.inotify), Arc::clone(&watch.folders));
        let read = move || {
            let error = read_events(&inotify, &folders, &sender);
            tracing::error!(%error, hint = "until a restart, SIGHUP reloads", "files are not watched any more");
        };
        let thread = thread::Builder::new().name("hsm-file-watch".to_owned());
        let spawned = thread.spawn(read);
        spawned.map_err(|error| SignerError::NotWatched { error })?;
        Ok(watch)
    }

    /// Watches these names from now on, and no others. A folder that was replaced meanwhile is another one now.
    pub(super) fn watch(&mut self, names: &[WatchedName]) {
        let mut now = Folders::new();
        // Held until the descriptors are known: no event of a new one is lost.
        let mut folders = self.folders.lock().ignore_poison();
        for watched in names {
            let WatchedName { folder, name, .. } = watched;
            match inotify::add_watch(&self.inotify, folder, EVENTS) {
                Ok(descriptor) => {
                    let names = now.entry(descriptor).or_default();
                    names.push((name.clone(), watched.file.clone()));
                }
                // That of a folder above is needed for a whole folder that is replaced only.
                Err(error) if !watched.is_file => {
                    tracing::debug!(folder = %folder.display(), %error, "not watched");
                }
                Err(error) => tracing::error!(
                    folder = %folder.display(),
                    %error,
                    hint = "the user that starts the proxy must be able to read the folder; until then, SIGHUP reloads",
                    "what is replaced in the folder is not noticed"
                ),
            }
        }
        for descriptor in folders.keys().filter(|old| !now.contains_key(old)) {
            // The kernel has removed it already where the folder is gone.
            let _ = inotify::remove_watch(&self.inotify, *descriptor);
        }
        *folders = now;
    }

    /// Waits until a file was replaced, and until no further one is for a moment. Returns the first. What has come is kept where
    /// this is not waited for to the end.
    pub(super) async fn replaced(&mut self) -> PathBuf {
        loop {
            let due = self.due.as_ref().map(|due| due.quiet_at.min(due.latest));
            tokio::select! {
                Some(file) = self.replaced.recv() => {
                    let now = Instant::now();
                    let due = self.due.get_or_insert_with(|| DueReload {
                        file,
                        quiet_at: now,
                        latest: now + MAX_DELAY,
                    });
                    due.quiet_at = now + QUIET_TIME;
                }
                () = sleep_to(due) => if let Some(due) = self.due.take() {
                    return due.file;
                },
            }
        }
    }
}

/// Tells of each name that matters, until events cannot be read any more.
fn read_events(
    inotify: &OwnedFd,
    folders: &Mutex<Folders>,
    sender: &mpsc::Sender<PathBuf>,
) -> io::Error {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_LEN];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::INTR) => continue,
            Err(error) => return error.into(),
        };
        let name = event.file_name().and_then(|name| name.to_str().ok());
        let folders = folders.lock().ignore_poison();
        let mut names = folders.get(&event.wd()).into_iter().flatten();
        let named = names.find(|(watched, _)| Some(&**watched) == name);
        let file = match named {
            Some((_, file)) => file.clone(),
            // More has happened than the kernel keeps: one of the files may be among it.
            None if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                PathBuf::from("(too many changes to tell)")
            }
            None => continue,
        };
        drop(folders);
        // Where one is waiting to be received, it stands for this one too.
        let _ = sender.try_send(file);
    }
}
