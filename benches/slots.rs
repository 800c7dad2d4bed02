//! Conversations that share the contexts of one account: how long they wait for one, and what callers notice of it. In
//! virtual time, so that the figures are the same on every machine; the model is that of `tests/slots`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a bench may fail")]

mod support;
#[path = "../tests/slots/world.rs"]
mod world;

use std::time::Duration;

use support::page;
use world::{Figures, Plan, run};

/// Contexts of the account: the largest plan that Cartesia lists.
const CONTEXTS: u32 = 15;
/// Conversations at once.
const CONVERSATIONS: [usize; 7] = [20, 40, 60, 70, 80, 90, 100];
/// How long each is watched.
const LENGTH: Duration = Duration::from_secs(600);
const SEED: u64 = 20_261_121;

fn main() {
    if !page::is_asked_for("slots") {
        return;
    }
    let markdown = measure();
    if page::is_for_the_page() {
        page::replace("slots", &markdown);
    } else {
        page::show(&markdown);
    }
}

fn measure() -> String {
    let mut lines = vec![
        format!(
            "| conversations on {CONTEXTS} contexts | turns | wait for a context: median, 99 %, longest, ms | first frame after \
             the agent's first words: median, 99 %, ms | underruns | refused (429) | turns not spoken | refused without \
             `max_contexts` |"
        ),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for conversations in CONVERSATIONS {
        let plan = Plan {
            conversations,
            max_contexts: Some(CONTEXTS),
            vendor_contexts: CONTEXTS as usize,
            length: LENGTH,
            seed: SEED,
        };
        let (shared, alone) = (run(plan), run(Plan { max_contexts: None, ..plan }));
        let at = |values: &[Duration], percent| Figures::percentile(values, percent).as_millis();
        lines.push(format!(
            "| {conversations} | {} | {}, {}, {} | {}, {} | {} | {} | {} | {} |",
            shared.turns,
            at(&shared.waits, 50),
            at(&shared.waits, 99),
            at(&shared.waits, 100),
            at(&shared.answers, 50),
            at(&shared.answers, 99),
            shared.underruns,
            shared.refusals,
            shared.failures,
            alone.refusals,
        ));
    }
    lines.join("\n")
}
