use std::io::BufReader;

use super::disk::BYTES_WAITING_MAX;
use super::*;
use crate::tape::Tape;

const CALL: &str = include_str!("../../../fixtures/calls/plain-greeting/tape.jsonl");

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("trunkline-record-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// One call on a shelf whose disk does what the test says.
struct Rig {
    directory: PathBuf,
    meter: Arc<Meter>,
    shelf: Shelf,
    jobs: Receiver<Job>,
    disk: Disk,
    tap: Option<Tap>,
}

impl Rig {
    fn new(name: &str, buffers_max: usize) -> Self {
        let (directory, meter) = (directory(name), Arc::new(Meter::default()));
        let (shelf, jobs) = Shelf::unattended(&directory, meter.clone(), buffers_max);
        let header = Tape::read(CALL.as_bytes()).unwrap().header;
        let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
        let tap = Some(shelf.begin(&header, &call, &stream, [7; 32]).unwrap());
        Rig { directory, disk: Disk::new(meter.clone()), meter, shelf, jobs, tap }
    }

    /// A wake-up; a second after the last one, what waits is handed over before.
    fn wake(&mut self, seconds: u64) {
        self.tap.as_mut().unwrap().take(CallTime::from_millis(seconds * 1_000), What::Wake, &Event::Wake);
    }

    /// The disk does one thing.
    fn write(&mut self) {
        self.disk.take(self.jobs.try_recv().unwrap());
    }

    /// Ends the call, and gives the tape and the metrics once the disk has done the rest.
    fn end(self) -> (Vec<What>, String) {
        let Rig { directory, meter, shelf, jobs, mut disk, tap } = self;
        drop(tap);
        jobs.try_iter().for_each(|job| disk.take(job));
        // The shelf is open, and other calls go on: that one has ended must be seen all the same.
        disk.end_tapes();
        assert_eq!(disk.open_files(), 0);
        assert_eq!(shelf.queued.load(std::sync::atomic::Ordering::Relaxed), 0);
        let file = std::fs::File::open(directory.join("CA1-MZ1.jsonl")).unwrap();
        let tape = Tape::read(BufReader::new(file)).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        (tape.entries.into_iter().map(|entry| entry.what).collect(), meter.render())
    }
}

#[test]
fn lines_that_a_full_queue_refuses_are_told_of_once_each() {
    let mut rig = Rig::new("lost", 1);
    // How the tape begins takes the only place. The second refusal finds the line that tells of the first.
    (0..3).for_each(|second| rig.wake(second));
    rig.write();
    rig.wake(3);
    // The queue is full again, so that no word of the end gets through.
    let (whats, metrics) = rig.end();
    let [What::Lost(2), What::Wake, What::Wake, What::End(_)] = whats[..] else { panic!("{whats:?}") };
    assert!(metrics.contains("tape_lines_lost_total 2"), "{metrics}");
}

#[test]
fn what_waits_is_limited_in_bytes_and_an_end_gets_through() {
    let mut rig = Rig::new("bytes", 64);
    rig.write();
    let others = Buffer::forced(&rig.shelf.queued, vec![0; BYTES_WAITING_MAX]);
    (0..3).for_each(|second| rig.wake(second));
    let header = Tape::read(CALL.as_bytes()).unwrap().header;
    let (call, stream) = (CallSid::parse("CA2").unwrap(), StreamSid::parse("MZ2").unwrap());
    assert!(rig.shelf.begin(&header, &call, &stream, [7; 32]).is_none());
    drop(rig.tap.take());
    drop(others);
    let (whats, _) = rig.end();
    let [What::Lost(3), What::End(_)] = whats[..] else { panic!("{whats:?}") };
}

#[test]
fn what_a_kill_left_behind_does_not_keep_a_gateway_from_starting() {
    let directory = directory("probe");
    std::fs::write(directory.join(PROBE), "left behind").unwrap();
    let shelf = Shelf::open(&directory, Arc::new(Meter::default())).unwrap();
    shelf.close();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    std::fs::remove_dir_all(directory).unwrap();
}
