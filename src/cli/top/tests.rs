//! What is drawn, on a terminal that is none; and what keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::Instant;

use super::look::{Call, Look, Node};
use super::scrape::Scrape;
use super::screen::{Screen, Sort, Wish};
use super::{plain, view};

fn call(id: &str, seconds: f64) -> Call {
    Call {
        id: id.to_owned(),
        seconds,
        state: "speaking".to_owned(),
        voice: Some("cartesia".to_owned()),
        turn_count: 3,
        interruptions: 1,
        last_wait_ms: None,
        underruns: 0,
        failovers: 0,
        late_p99_ms: 1.25,
    }
}

fn look(frames: u64, uptime_s: f64, calls: Vec<Call>) -> Look {
    let metrics = format!(
        "trunkline_frames_total{{kind=\"in\"}} {frames}\ntrunkline_frames_total{{kind=\"out\"}} {frames}\n\
         trunkline_refused_total{{kind=\"full\"}} 2\ntrunkline_tts_breaker{{voice=\"cartesia\"}} 2\n\
         trunkline_send_lateness_seconds_bucket{{le=\"0.001\"}} {frames}\n\
         trunkline_send_lateness_seconds_bucket{{le=\"+Inf\"}} {frames}\n"
    );
    let node = Node { uptime_s, calls: calls.len() as u64, calls_max: 100, draining: false };
    Look { at: Instant::now(), node, calls, metrics: Scrape::parse(&metrics) }
}

fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(screen, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> Wish {
    screen.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[tokio::test(start_paused = true)]
async fn the_head_tells_of_the_last_minute_and_the_table_of_each_call() {
    let mut screen = Screen::new(Sort::Age);
    assert!(drawn(&screen, 100, 10)[0].contains("waiting for the gateway"));
    screen.take(look(1_000, 100.0, vec![]));
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    let hurt = Call { failovers: 2, last_wait_ms: Some(812.4), ..call("CAyoung", 7.0) };
    screen.take(look(6_000, 110.0, vec![hurt, call("CA0123456789abcdef0123456789abcdef", 65.0)]));
    let lines = drawn(&screen, 100, 10);
    assert_eq!(lines[0], "up 1m50s   calls 2/100   ready");
    assert!(lines[1].starts_with("frames/s in 500 out 500   late ms p50 0.5 p99 1.0"), "{}", lines[1]);
    assert!(lines[2].contains("refused 2"), "{}", lines[2]);
    assert_eq!(lines[3], "voices cartesia open");
    assert!(lines[5].starts_with("CALL           AGE      STATE"), "{}", lines[5]);
    assert!(lines[6].starts_with("…456789abcdef  1m05s    speaking  cartesia       3     1    -"), "{}", lines[6]);
    assert!(lines[7].contains("CAyoung") && lines[7].contains("812"), "{}", lines[7]);
    assert!(lines[9].starts_with("q quit   s sort: age"), "{}", lines[9]);
}

#[tokio::test(start_paused = true)]
async fn keys_sort_select_and_quit() {
    let mut screen = Screen::new(Sort::Age);
    let slow = Call { last_wait_ms: Some(900.0), ..call("CAslow", 1.0) };
    screen.take(look(0, 1.0, vec![call("CAold", 50.0), slow.clone(), call("CAmid", 20.0)]));
    let order = |screen: &Screen| -> Vec<String> {
        screen.latest().unwrap().calls.iter().map(|call| call.id.clone()).collect()
    };
    assert_eq!(order(&screen), ["CAold", "CAmid", "CAslow"]);
    assert_eq!(press(&mut screen, KeyCode::Down), Wish::Stay);
    press(&mut screen, KeyCode::Down);
    assert_eq!(screen.selected.as_deref(), Some("CAmid"));
    press(&mut screen, KeyCode::Char('s'));
    assert_eq!(order(&screen), ["CAslow", "CAold", "CAmid"]);
    // The mark stays on its call, wherever that goes.
    assert_eq!(screen.place(), Some(2));
    press(&mut screen, KeyCode::Down);
    assert_eq!(screen.place(), Some(2));
    screen.take(look(0, 2.0, vec![slow]));
    assert_eq!((screen.place(), order(&screen).len()), (None, 1));
    press(&mut screen, KeyCode::Up);
    assert_eq!(screen.place(), Some(0));
    assert!(drawn(&screen, 80, 12).iter().any(|line| line == "call CAslow"));
    for _ in 0..5 {
        press(&mut screen, KeyCode::Char('s'));
    }
    assert_eq!(screen.sort, Sort::Age);
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Wish::Quit);
    assert_eq!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_goes_away_is_told_of_and_its_last_words_stay() {
    let mut screen = Screen::new(Sort::Age);
    screen.take(look(5_000, 500.0, vec![call("CA1", 5.0)]));
    screen.fail("the gateway cannot be reached".to_owned());
    let lines = drawn(&screen, 100, 12);
    assert_eq!(lines[0], "the gateway cannot be reached; below is what it told last");
    assert!(lines.iter().any(|line| line.starts_with("CA1")), "{lines:?}");
    // It is back, and counts from zero: nothing is compared with what it was.
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    screen.take(look(100, 1.0, vec![]));
    let lines = drawn(&screen, 100, 12);
    assert!(lines[0].starts_with("up 1s") && lines[1].starts_with("frames/s in 100 out 100"), "{lines:?}");
    // Any size can be drawn on.
    for (width, height) in [(1, 1), (10, 3), (300, 2)] {
        drawn(&screen, width, height);
    }
}

#[tokio::test]
async fn the_plain_table_has_a_line_for_each_call() {
    let text = plain::table(&look(10, 60.0, vec![call("CA1", 5.0), call("CA2", 9.0)]), Sort::Age);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4 + 1 + 1 + 2, "{text}");
    assert!(lines[5].starts_with("CALL") && lines[6].starts_with("CA2") && lines[7].starts_with("CA1"), "{text}");
    assert!(lines[7].ends_with("1.2") || lines[7].ends_with("1.3"), "{text}");
}
