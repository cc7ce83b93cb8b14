use std::os::unix::fs::PermissionsExt;

use time::macros::date;
use uuid::Uuid;

use super::*;

fn record(ended_at: &str) -> Record {
    let at = OffsetDateTime::parse(ended_at, &time::format_description::well_known::Rfc3339).unwrap();
    let ended_at = Moment::from_unix(at.unix_timestamp());
    Record {
        id: Uuid::nil(),
        trip: None,
        city: None,
        caller: None,
        callee: None,
        offered_at: ended_at.plus(-70),
        answered_at: Some(ended_at.plus(-60)),
        ended_at,
        seconds: 60,
        ended: "hangup",
        recorded: false,
        lane: Some("uring".into()),
        legs: Vec::new(),
    }
}

fn writer(folder: &Path) -> Writer {
    Writer::new(folder.to_owned(), 30, Arc::default())
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_day_has_a_file_that_others_cannot_read() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("calls");
    let records = Records::start(folder.clone(), 30).unwrap();
    assert!(!folder.exists(), "nothing was written");
    let today = Moment::now();
    for record in [record("2026-11-22T23:59:59Z"), record("2026-11-22T00:00:00Z")] {
        records.keep(Record { ended_at: today, ..record });
    }
    let lost = Arc::clone(&records.lost);
    drop(records);
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    let [(_, path)] = files(&folder).try_into().unwrap();
    let written = lines(&path);
    assert_eq!((written.len(), &written[0]["ended"]), (2, &serde_json::json!("hangup")));
    assert_eq!(written[0]["offered_at"], "2026-11-22T23:58:49Z");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));

    let mut writer = writer(&folder);
    for at in ["2020-02-29T23:59:59Z", "2020-03-01T00:00:00Z", "2020-02-29T12:00:00Z"] {
        writer.write(&record(at));
    }
    let count = |name| lines(&folder.join(name)).len();
    assert_eq!((count("2020-02-29.jsonl"), count("2020-03-01.jsonl")), (2, 1));
}

#[test]
fn old_files_are_removed_once_a_day_and_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    let write = |name: &str| fs::write(state.path().join(name), "").unwrap();
    let left = || {
        let mut left: Vec<_> = fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        left
    };
    for name in ["2026-10-23.jsonl", "2026-10-24.jsonl", "2030-01-01.jsonl", "notes", "2020-01-01.jsonl.old"]
    {
        write(name);
    }
    let mut writer = writer(state.path());
    writer.remove_old(date!(2026 - 11 - 22));
    assert_eq!(left(), ["2020-01-01.jsonl.old", "2026-10-24.jsonl", "2030-01-01.jsonl", "notes"]);
    write("2020-01-01.jsonl");
    writer.remove_old(date!(2026 - 11 - 22));
    assert_eq!(left().len(), 5, "it was done today");
    writer.remove_old(date!(2026 - 11 - 23));
    assert_eq!(left(), ["2020-01-01.jsonl.old", "2030-01-01.jsonl", "notes"]);

    // With 0 days none is kept, not even today's.
    write(&OffsetDateTime::now_utc().date().format(NAME).unwrap());
    let records = Records::start(state.path().to_owned(), 0).unwrap();
    records.keep(record("2026-11-22T12:00:00Z"));
    drop(records);
    assert_eq!(left(), ["2020-01-01.jsonl.old", "2030-01-01.jsonl", "notes"]);
}

#[test]
fn what_a_full_disk_does_not_take_is_counted_and_told_once_a_minute() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("2026-11-22.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (mut writer, start) = (writer(state.path()), Instant::now());
    assert_eq!(writer.complaint(start), None);
    writer.write(&record("2026-11-22T12:00:00Z"));
    let complaint = writer.complaint(start).unwrap();
    assert!(
        complaint.starts_with("1 call records lost, ") && complaint.contains("No space left"),
        "{complaint}"
    );
    writer.write(&record("2026-11-22T12:00:00Z"));
    writer.write(&record("2026-11-22T12:00:00Z"));
    assert_eq!(writer.complaint(start + COMPLAINT / 2), None);
    assert!(writer.complaint(start + COMPLAINT).unwrap().starts_with("2 "));
    assert_eq!(writer.complaint(start + 2 * COMPLAINT), None, "nothing new");

    // There is room again; a line that was cut off costs no other.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{\"id\":").unwrap();
    writer.write(&record("2026-11-22T12:00:00Z"));
    let text = fs::read_to_string(&path).unwrap();
    let whole: Vec<_> =
        text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()).collect();
    assert_eq!((text.lines().count(), whole.len()), (2, 1));
    assert_eq!(writer.lost.load(Ordering::Relaxed), 3);
}
