//! Lines that are dropped, and the lines after them.

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

const SILENT: Notices = Notices {
    lost: |_| {},
    failing: |_| {},
    recovered: |_| {},
};

fn owned(stream: impl Into<OwnedFd>) -> Target {
    Target::Owned(stream.into())
}

fn writer_to_pipe(capacity: usize, notices: Notices) -> (LossyWriter, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let lossy = LossyWriter::new("test", owned(writer), capacity, notices, false);
    (lossy, reader)
}

#[test]
fn lines_are_queued_until_release() {
    let (mut reader, writer) = pipe().unwrap();
    let writer = LossyWriter::new("test", owned(writer), 1 << 10, SILENT, true);
    writer.add(b"first\n".to_vec());
    writer.add(b"second\n".to_vec());
    assert!(!writer.0.lock().running);
    writer.release();
    assert!(writer.flush(TIMEOUT));
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first\nsecond\n");
}

#[test]
fn lines_beyond_the_capacity_are_counted_and_reported_on_recovery() {
    static LOST: AtomicU64 = AtomicU64::new(0);
    static FAILED: AtomicU64 = AtomicU64::new(0);
    static RECOVERED: AtomicU64 = AtomicU64::new(0);
    let notices = Notices {
        lost: |lines| {
            LOST.fetch_add(lines, Ordering::Relaxed);
        },
        failing: |_| {
            FAILED.fetch_add(1, Ordering::Relaxed);
        },
        recovered: |lost| {
            RECOVERED.fetch_add(lost, Ordering::Relaxed);
        },
    };
    let (writer, mut reader) = writer_to_pipe(1 << 20, notices);
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    // 64 KiB in the pipe, 1 MiB in the queue.
    for _ in 0..2048 {
        writer.add(line.clone());
    }
    let lost = LOST.load(Ordering::Relaxed);
    assert!((900..=1024).contains(&lost), "{lost}");
    assert!(!writer.flush(Duration::from_millis(10)));
    let again = Instant::now();
    assert!(
        !writer.flush(TIMEOUT),
        "a flush after a timeout does not wait again"
    );
    assert!(again.elapsed() < TIMEOUT / 2);
    let expected = (2048 - lost) as usize * line.len();
    let mut text = vec![0; expected];
    reader.read_exact(&mut text).unwrap();
    assert!(writer.flush(TIMEOUT));
    let counts = [&FAILED, &RECOVERED, &LOST].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, lost, lost]);
}

#[test]
fn an_incomplete_line_is_ended_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let sink = Sink {
        target: owned(File::create(&path).unwrap()),
        partial_line: true,
    };
    let writer = LossyWriter::new("test", owned(pipe().unwrap().1), 1 << 10, SILENT, true);
    *writer.0.sink.lock().unwrap() = sink;
    writer.add(b"next\n".to_vec());
    assert!(writer.flush(TIMEOUT));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "\nnext\n");
}

#[test]
fn a_non_blocking_pipe_is_polled() {
    let (mut reader, stream) = pipe().unwrap();
    rustix::io::ioctl_fionbio(stream.as_fd(), true).unwrap();
    let writer = LossyWriter::new("test", owned(stream), 1 << 20, SILENT, false);
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    for _ in 0..512 {
        writer.add(line.clone());
    }
    let mut text = vec![0; 512 << 10];
    reader.read_exact(&mut text).unwrap();
    assert!(writer.flush(TIMEOUT));
    assert_eq!(writer.0.lock().lost, 0);
}

#[test]
fn lines_without_a_reader_are_lost_and_a_new_target_is_written() {
    static LOST: AtomicU64 = AtomicU64::new(0);
    let notices = Notices {
        lost: |lines| {
            LOST.fetch_add(lines, Ordering::Relaxed);
        },
        ..SILENT
    };
    let (writer, reader) = writer_to_pipe(1 << 10, notices);
    drop(reader);
    for _ in 0..3 {
        writer.add(b"one\ntwo\n".to_vec());
        assert!(writer.flush(TIMEOUT));
    }
    assert_eq!(LOST.load(Ordering::Relaxed), 6);
    let (mut reader, another) = pipe().unwrap();
    #[cfg(feature = "front-end")]
    writer.switch_to(owned(another));
    #[cfg(not(feature = "front-end"))]
    drop(another);
    writer.add(b"three\n".to_vec());
    assert!(writer.flush(TIMEOUT));
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(
        text,
        if cfg!(feature = "front-end") {
            "three\n"
        } else {
            ""
        }
    );
}
