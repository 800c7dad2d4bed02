//! Many conversations on few contexts of one account: `max_contexts` in virtual time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]

mod world;

use std::time::Duration;

use world::{Figures, Plan, run};

fn plan(conversations: usize) -> Plan {
    Plan {
        conversations,
        max_contexts: Some(15),
        vendor_contexts: 15,
        length: Duration::from_secs(90),
        seed: 20_261_121,
    }
}

#[test]
fn sixty_conversations_share_fifteen_contexts_without_a_gap_or_a_refusal() {
    let figures = run(plan(60));
    // Each of them said something every fifteen seconds or so.
    assert!(figures.turns > 240, "{} turns", figures.turns);
    assert_eq!((figures.underruns, figures.refusals, figures.failures), (0, 0, 0));
    assert!(figures.most_active > 12 && figures.most_active <= 15, "{}", figures.most_active);
    let wait = Figures::percentile(&figures.waits, 50);
    assert!(wait < Duration::from_millis(50), "half of the contexts wait for {wait:?} or more");
    assert_eq!(figures.left, 0);
}

#[test]
fn eighty_conversations_wait_longer_and_still_nobody_is_refused_or_cut() {
    let (sixty, eighty) = (run(plan(60)), run(plan(80)));
    assert_eq!((eighty.underruns, eighty.refusals, eighty.failures), (0, 0, 0));
    let mean = |figures: &Figures| figures.waits.iter().sum::<Duration>() / u32::try_from(figures.waits.len()).unwrap();
    assert!(mean(&eighty) > mean(&sixty), "{:?} and {:?}", mean(&eighty), mean(&sixty));
    assert_eq!(eighty.left, 0);
}

#[test]
fn without_sharing_out_the_same_conversations_are_refused() {
    let figures = run(Plan { max_contexts: None, ..plan(80) });
    assert!(figures.refusals > 0);
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let short = Plan { length: Duration::from_secs(30), ..plan(40) };
    assert_eq!(run(short), run(short));
    assert_ne!(run(short), run(Plan { seed: 1, ..short }));
}
