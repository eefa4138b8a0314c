//! Frames and journals, without a process.

use std::fs;
use std::io::{Cursor, Write};

use ftl_core::metrics::Evaluated;
use ftl_core::{Event, EventRecord};
use ftl_server::worker::frame::{FrameError, MAX_FRAME_BYTES, encode, read, write};
use ftl_server::worker::journal::{journal_path, read_journal};
use ftl_server::worker::message::{FromWorker, ToWorker};
use tempfile::TempDir;

fn evaluated(seq: u64, loss_nats: f64) -> EventRecord {
    let event = Event::Evaluated(Evaluated {
        step: seq,
        loss_nats,
        perplexity: loss_nats.exp(),
        token_accuracy: 0.1,
        tokens: 7,
        rewards: None,
    });
    EventRecord { seq, time_unix_ms: 5, event }
}

#[test]
fn frames_come_out_as_they_went_in() {
    let sent = [
        FromWorker::Hello { nonce: "n".to_owned(), pid: 7 },
        FromWorker::Events(vec![evaluated(1, 0.1 + 0.2), evaluated(2, 1e-300)]),
        FromWorker::Finished,
    ];
    let mut bytes = Vec::new();
    for frame in &sent {
        write(&mut bytes, frame).expect("a frame");
    }
    let mut stream = Cursor::new(bytes);
    for frame in &sent {
        assert_eq!(read(&mut stream).expect("a frame").as_ref(), Some(frame));
    }
    assert_eq!(read::<FromWorker>(&mut stream).expect("the end"), None);
}

#[test]
fn a_loss_that_is_no_number_passes() {
    let bytes = encode(&FromWorker::Events(vec![evaluated(1, f64::NAN)])).expect("a frame");
    let Some(FromWorker::Events(events)) = read(&mut &bytes[..]).expect("a frame") else {
        panic!("no events")
    };
    assert!(matches!(&events[0].event, Event::Evaluated(evaluated) if evaluated.loss_nats.is_nan()));
}

#[test]
fn a_frame_ends_at_its_limit() {
    let text = "x".repeat(MAX_FRAME_BYTES - 2);
    let bytes = encode(&text).expect("as long as a frame may be");
    assert_eq!(read::<String>(&mut &bytes[..]).expect("a frame"), Some(text.clone()));
    let error = encode(&(text + "x")).expect_err("one more");
    assert_eq!(error.to_string(), "a frame of 4194305 bytes exceeds the limit of 4194304");
    let mut length = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes().to_vec();
    length.extend([b' '; 8]);
    assert!(matches!(read::<String>(&mut &length[..]), Err(FrameError::TooLong(4_194_305))));
}

#[test]
fn frames_that_are_cut_off_or_unknown_are_refused() {
    let whole = encode(&ToWorker::Stop).expect("a frame");
    for length in 1..whole.len() {
        assert!(matches!(read::<ToWorker>(&mut &whole[..length]), Err(FrameError::Torn)), "{length}");
    }
    for text in ["", "stop", "\"halt\"", "{\"abort\":{}}", "[]", "{\"abort\":{\"id\":-1}}"] {
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        assert!(matches!(read::<ToWorker>(&mut &bytes[..]), Err(FrameError::Unknown(_))), "{text}");
    }
}

#[test]
fn a_torn_last_line_is_no_event_until_it_is_whole() {
    let dir = TempDir::new().expect("a directory");
    assert_eq!(read_journal(dir.path(), 1, 0).expect("nothing yet").count(), 0);

    let path = journal_path(dir.path(), 1);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    let line = |seq| serde_json::to_string(&evaluated(seq, 1.5)).expect("JSON") + "\n";
    let (half, rest) = (line(3)[..9].to_owned(), line(3)[9..].to_owned());
    fs::write(&path, line(1) + &line(2) + &half).expect("a journal");
    let seqs = |after| -> Vec<u64> {
        let journal = read_journal(dir.path(), 1, after).expect("a journal");
        journal.map(|record| record.expect("an event").seq).collect()
    };
    assert_eq!(seqs(0), [1, 2]);
    assert_eq!(seqs(1), [2]);

    let mut journal = read_journal(dir.path(), 1, 1).expect("a journal");
    assert_eq!(journal.next().expect("the second").expect("an event").seq, 2);
    assert!(journal.next().is_none());
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the journal");
    file.write_all(rest.as_bytes()).expect("the rest");
    assert_eq!(journal.next().expect("the third").expect("an event"), evaluated(3, 1.5));
    assert!(journal.next().is_none());

    file.write_all(b"what is this\n").expect("a bad line");
    let error = journal.next().expect("an error").expect_err("no event");
    assert!(error.to_string().starts_with("a line of the journal is not an event: "), "{error}");
    assert!(journal.next().is_none());
}
