//! What each vendor can do, seen in a call in which nothing goes wrong, and how long calls fare with it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::bench::Bench;
use crate::checks;
use crate::docs;
use crate::network::{Made, Network, Times, Wire};
use crate::runs::{Time, side_by_side};
use crate::vendors::{ROWS, Row, Said};

const FIRST: &str = "Two answers are given at once, and the caller hears one behind the other. ";
const SECOND: &str = "This is the second one. It is made while the first one is still being heard. ";

/// What was seen of a vendor.
struct Seen {
    /// Samples a second that were asked for.
    rate: u32,
    /// How many contexts there were for a turn of one sentence, and for one of two.
    contexts: (usize, usize),
    /// The second turn was made while the first one was heard.
    is_ahead: bool,
    /// What was heard is known from times that the vendor told, not from estimates.
    are_words_timed: bool,
    /// The vendor made less than all of a turn that was cut off.
    is_stopped_by_cut: bool,
    /// The next turn used the same socket.
    is_socket_kept: bool,
}

#[test]
fn what_each_vendor_can_do() {
    let rows: Vec<&Row> = ROWS.iter().collect();
    let seen: Vec<Seen> = side_by_side(Time::Paused, &rows, see).into_iter().map(Result::unwrap).collect();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let line = |name: &str, cell: &dyn Fn(&Seen) -> String| (name.to_owned(), seen.iter().map(cell).collect());
    let lines = [
        line("audio that is asked for", &|seen| format!("{} Hz", seen.rate)),
        line("contexts or requests for one sentence, for two", &|seen| {
            format!("{}, {}", seen.contexts.0, seen.contexts.1)
        }),
        line("the next turn is made while one is heard", &|seen| yes(seen.is_ahead)),
        line("heard words are known from the vendor's times", &|seen| yes(seen.are_words_timed)),
        line("the vendor stops at an interruption", &|seen| yes(seen.is_stopped_by_cut)),
        line("the socket is kept after an interruption", &|seen| yes(seen.is_socket_kept)),
    ];
    let head: Vec<&str> = ["Seen"].into_iter().chain(ROWS.iter().map(|row| row.name)).collect();
    docs::compare("capabilities", &docs::table(&head, &lines));
}

async fn see(row: &Row) -> Seen {
    let vendor = (row.vendor)(&[]).unwrap();
    let network = Network::of(Made::Pipes);
    network.place(&row.host(), vendor.clone(), Wire::Good, Times::Once);
    let bench = Bench::start(&network, &row.toml(&[]));
    let dialled = || network.counts.dialled.load(Ordering::Relaxed);
    let (first, second) = (bench.say(FIRST).await, bench.say(SECOND).await);
    bench.sounds(first).await;
    bench.over(first).await;
    let made_by_then = vendor.said();
    bench.over(second).await;
    sleep(Duration::from_secs(1)).await;
    let whole = vendor.said();
    let dialled_before = dialled();
    let cut = bench.cut_off(&[FIRST, SECOND].concat(), Duration::from_millis(300)).await;
    sleep(Duration::from_secs(5)).await;
    let after_cut = vendor.said();
    bench.speak(SECOND).await;
    let is_socket_kept = dialled() == dialled_before;
    bench.hang_up().await;
    let of = |text: &str| whole.iter().filter(|said| is_of(said, text)).count();
    let rates: BTreeSet<u32> = whole.iter().map(|said| said.rate).collect();
    assert_eq!(rates.len(), 1);
    let of_cut = after_cut.iter().filter(|said| said.at >= cut.from);
    let speech: Duration = of_cut.map(Said::length).sum();
    Seen {
        rate: whole[0].rate,
        contexts: (of(FIRST), of(SECOND)),
        is_ahead: made_by_then.iter().any(|said| is_of(said, SECOND) && said.samples > 0),
        are_words_timed: !cut.heard.estimated,
        is_stopped_by_cut: speech < checks::length_of(&cut.text) / 2,
        is_socket_kept,
    }
}

/// Whether it is a text, or a piece of it.
fn is_of(said: &Said, text: &str) -> bool {
    // Whoever joins texts with spaces of its own has more of them.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    words(text).contains(&words(&said.text))
}
