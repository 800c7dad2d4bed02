use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hound::WavReader;

use super::*;

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("trunkline-recording-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn plenty(_: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// One call whose disk does what the test says.
struct Rig {
    directory: PathBuf,
    meter: Arc<Meter>,
    recordings: Recordings,
    openings: Receiver<Opening>,
    disk: Disk,
}

impl Rig {
    fn new(name: &str, free_bytes: fn(&Path) -> io::Result<u64>) -> Self {
        let (directory, meter) = (directory(name), Arc::new(Meter::default()));
        let (recordings, openings) = Recordings::unattended(&directory, meter.clone());
        let settings = Settings { directory: directory.clone(), free_bytes_min: 1_000 };
        let disk = Disk::new(&settings, free_bytes, recordings.room.clone(), meter.clone());
        Rig { directory, meter, recordings, openings, disk }
    }

    fn begin(&mut self) -> Recording {
        let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ/1").unwrap());
        let (format, outbound) = (MediaFormat::TELEPHONE, Some(MediaFormat::TELEPHONE));
        let recording = self.recordings.begin(&call, &stream, format, outbound).unwrap();
        self.disk.begin(self.openings.try_recv().unwrap());
        recording
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.meter.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is missing")).parse().unwrap()
    }

    fn end(self) {
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

/// Both sides speak for the seconds from `from` until `until`, in frames of 20 ms.
fn talk(recording: &mut Recording, from: u64, until: u64) {
    for n in from * 50..until * 50 {
        let frame = Bytes::from_static(&[0x00; 160]);
        let now = CallTime::from_millis(n * 20 + 20);
        let event = Event::Carrier(CarrierEvent::Media(frame.clone()));
        recording.take(now, &event, Some(Duration::from_millis(n * 20)));
        recording.sent(&CarrierCommand::Media { frame, late: Duration::ZERO });
    }
}

/// For each side, whether it sounds in each tenth of a second.
fn sound(path: &Path) -> [Vec<bool>; 2] {
    let mut file = WavReader::open(path).unwrap();
    assert_eq!((file.spec().channels, file.spec().sample_rate), (2, 8_000));
    let samples: Vec<i16> = file.samples().map(Result::unwrap).collect();
    [0, 1].map(|side| {
        let side: Vec<i16> = samples.iter().copied().skip(side).step_by(2).collect();
        side.chunks(800).map(|tenth| tenth.iter().filter(|sample| **sample != 0).count() > 400).collect()
    })
}

#[test]
fn a_recording_grows_with_its_call_and_can_be_opened_at_any_time() {
    let mut rig = Rig::new("grows", plenty);
    let mut recording = rig.begin();
    let part = rig.path("CA1-MZ_1.wav.part");
    assert_eq!(File::open(&part).unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for second in 0..20 {
        talk(&mut recording, second, second + 1);
        rig.disk.write();
        let [caller, heard] = sound(&part);
        assert!(caller.iter().skip(1).chain(heard.iter().skip(1)).all(|sounds| *sounds));
        // A second for the queue, two that are not settled yet, four without a new header.
        assert!(caller.len() as u64 + 70 >= second * 10, "{} tenths after {second} s", caller.len());
    }
    drop(recording);
    rig.disk.write();
    assert!(!part.exists());
    let [caller, heard] = sound(&rig.path("CA1-MZ_1.wav"));
    assert_eq!((caller.len(), heard.len()), (200, 200));
    assert!(caller.iter().chain(&heard).all(|sounds| *sounds));
    assert_eq!(rig.metric("trunkline_recordings_total"), 1.0);
    assert_eq!(rig.metric("trunkline_recordings_broken_total"), 0.0);
    // A second call of the same names takes nothing from the first.
    drop(rig.begin());
    rig.disk.write();
    assert!(rig.path("CA1-MZ_1-2.wav").exists());
    assert_eq!(sound(&rig.path("CA1-MZ_1.wav"))[0].len(), 200);
    rig.end();
}

#[test]
fn what_a_slow_disk_drops_is_silence_and_the_rest_lies_where_it_was() {
    let mut rig = Rig::new("slow", plenty);
    let mut recording = rig.begin();
    talk(&mut recording, 0, 2);
    rig.disk.write();
    // The disk hangs for longer than a call's queue can bear.
    talk(&mut recording, 2, 20);
    rig.disk.write();
    talk(&mut recording, 20, 25);
    drop(recording);
    rig.disk.write();
    let sides = sound(&rig.path("CA1-MZ_1.wav"));
    let lost = rig.metric("trunkline_recording_lost_seconds_total");
    assert!((8.0..=12.0).contains(&lost), "{lost}");
    for side in sides {
        assert_eq!(side.len(), 250);
        let silent = side.iter().filter(|sounds| !**sounds).count() as f64 / 10.0;
        assert!((silent - lost).abs() < 0.3, "{silent} s of silence, {lost} s lost");
        assert!(side[..90].iter().all(|sounds| *sounds) && side[220..].iter().all(|sounds| *sounds));
    }
    assert_eq!(rig.metric("trunkline_recordings_broken_total"), 0.0);
    rig.end();
}

#[test]
fn on_a_full_disk_a_recording_stops_and_another_one_begins_once_there_is_space() {
    static FREE: AtomicU64 = AtomicU64::new(u64::MAX);
    let mut rig = Rig::new("full", |_| Ok(FREE.load(Ordering::Relaxed)));
    let mut recording = rig.begin();
    talk(&mut recording, 0, 40);
    for second in 0..40 {
        // More than a look at the space is apart.
        talk(&mut recording, 40 + second, 41 + second);
        rig.disk.write();
    }
    FREE.store(999, Ordering::Relaxed);
    for second in 80..130 {
        talk(&mut recording, second, second + 1);
        rig.disk.write();
    }
    let done = rig.path("CA1-MZ_1.wav");
    let [caller, heard] = sound(&done);
    assert!((700..1_250).contains(&caller.len()) && caller.len() == heard.len(), "{}", caller.len());
    assert_eq!(rig.metric("trunkline_recordings_broken_total"), 1.0);
    let (call, stream) = (CallSid::parse("CA2").unwrap(), StreamSid::parse("MZ2").unwrap());
    let begin = |rig: &Rig| rig.recordings.begin(&call, &stream, MediaFormat::TELEPHONE, None);
    assert!(begin(&rig).is_none());
    assert_eq!(rig.metric("trunkline_recordings_broken_total"), 2.0);
    drop(recording);
    rig.disk.write();
    let written = caller.len() as f64 / 10.0;
    let lost = rig.metric("trunkline_recording_lost_seconds_total");
    assert!(lost > 5.0 && written + lost > 100.0, "{written} s written, {lost} s lost");
    FREE.store(1_000, Ordering::Relaxed);
    rig.disk.write();
    assert!(begin(&rig).is_some());
    rig.end();
}

#[test]
fn a_directory_that_is_closed_waits_for_the_calls_and_takes_no_more() {
    let (directory, meter) = (directory("close"), Arc::new(Meter::default()));
    let settings = Settings { directory: directory.clone(), free_bytes_min: 0 };
    let recordings = Recordings::open(&settings, meter).unwrap();
    let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
    let begin = || recordings.begin(&call, &stream, MediaFormat::TELEPHONE, None);
    let mut recording = begin().unwrap();
    talk(&mut recording, 0, 3);
    drop(recording);
    recordings.close();
    assert_eq!(sound(&directory.join("CA1-MZ1.wav"))[0].len(), 30);
    assert!(begin().is_none());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn where_no_file_can_be_made_nobody_is_told_that_he_is_recorded() {
    let mut rig = Rig::new("barred", plenty);
    let away = rig.directory.with_extension("away");
    std::fs::rename(&rig.directory, &away).unwrap();
    // The first call is the one that finds out.
    drop(rig.begin());
    rig.disk.write();
    let names = (CallSid::parse("CA2").unwrap(), StreamSid::parse("MZ2").unwrap());
    let begin = |rig: &Rig| {
        rig.recordings.begin(&names.0, &names.1, MediaFormat::TELEPHONE, Some(MediaFormat::TELEPHONE)).is_some()
    };
    assert!(!begin(&rig));
    std::fs::rename(&away, &rig.directory).unwrap();
    rig.disk.write();
    assert!(begin(&rig));
    rig.end();
}

#[test]
fn a_recording_is_told_from_other_files() {
    let mut rig = Rig::new("told", plenty);
    drop(rig.begin());
    rig.disk.write();
    let is = |name: &str, path: &Path| is_recording(name, File::open(path).unwrap());
    let recording = rig.path("CA1-MZ_1.wav");
    assert!(is("CA1-MZ_1.wav", &recording) && is("CA1-MZ_1-2.wav.part", &recording));
    for name in ["music.wav", "CA1-MZ_1.mp3", "my notes-2.wav", "-MZ1.wav", "CA1-MZ_1.wav.bak"] {
        assert!(!is(name, &recording), "{name}");
    }
    let other = rig.path("other");
    std::fs::write(&other, "no sound at all, but long enough for a header of forty-four bytes").unwrap();
    assert!(!is("CA1-MZ_1.wav", &other));
    // Somebody else's: a chunk of his own stands before the samples.
    let mut foreign = std::fs::read(&recording).unwrap();
    foreign.splice(36..36, *b"LIST\x04\0\0\0INFO");
    std::fs::write(&other, foreign).unwrap();
    assert!(!is("hold-music.wav", &other));
    rig.end();
}
