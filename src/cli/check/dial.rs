//! `trunkline check --dial`: whether every server that the configuration names can be reached from here.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Url;
use tokio::runtime::Builder;
use trunkline::config::Config;
use trunkline::driver::probe::{Place, Probe, Reached, Step, Unreached, Why};
use trunkline::gateway::outside::{Asker, Outside, outside};
use trunkline::http::{Proxies, proxy_for};

/// Servers that are gone to at one time: a configuration names few, and each has seconds.
const AT_ONCE: usize = 8;

/// Goes to every server that `config` names; one line for each. The exit code is 1 if one was not reached.
pub(super) fn dial(config: &Config, out: &mut dyn Write) -> io::Result<ExitCode> {
    let servers = outside(config);
    if servers.is_empty() {
        writeln!(out, "nothing to dial: this configuration names no server outside")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "dialling {} {}: name, TCP, TLS. No WebSocket upgrade, no request, no key is sent",
        servers.len(),
        if servers.len() == 1 { "server" } else { "servers" }
    )?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let outcomes: Vec<Outcome> = runtime.block_on(stream::iter(servers).map(go_to).buffered(AT_ONCE).collect());
    // A resolver that hangs has a thread of its own, which nobody can stop; it is not waited for.
    runtime.shutdown_background();
    for outcome in &outcomes {
        writeln!(out, "{}", outcome.line())?;
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{failed} of {} cannot be reached", outcomes.len())?;
    Ok(ExitCode::FAILURE)
}

/// What came of going to one server.
struct Outcome {
    server: Outside,
    /// Where we went: to the server, or to the proxy before it.
    place: String,
    by_proxy: bool,
    result: Result<Reached, Fault>,
}

/// Why nothing came of it.
enum Fault {
    /// What is to be trusted, or the URL, cannot be used; in words.
    Unusable(String),
    /// The way there ends early.
    Unreached(Unreached),
}

async fn go_to(server: Outside) -> Outcome {
    let proxy = Url::parse(&server.url).ok().filter(|_| server.proxies == Proxies::Environment);
    let proxy = proxy.as_ref().and_then(proxy_for);
    let by_proxy = proxy.is_some();
    let place = Place::of(proxy.as_ref().map_or(server.url.as_str(), Url::as_str));
    let result = match (&place, Probe::new(server.authorities.as_deref(), server.limit)) {
        (None, _) => Err(Fault::Unusable("its url cannot be dialled".to_owned())),
        (_, Err(error)) => Err(Fault::Unusable(error.to_string())),
        (Some(place), Ok(probe)) => probe.reach(place, server.rules.as_ref()).await.map_err(Fault::Unreached),
    };
    let place = place.map(|place| place.to_string()).unwrap_or_default();
    Outcome { server, place, by_proxy, result }
}

impl Outcome {
    fn line(&self) -> String {
        let key = &self.server.key;
        let place = if self.by_proxy { format!("the proxy {}", self.place) } else { self.place.clone() };
        match &self.result {
            Ok(reached) => {
                let mut steps = vec![
                    format!("name in {}", millis(reached.resolved)),
                    format!("TCP in {}", millis(reached.connected)),
                    reached.secured.map_or_else(|| "no TLS".to_owned(), |took| format!("TLS in {}", millis(took))),
                ];
                if self.by_proxy {
                    steps.push("what lies behind it was not tried".to_owned());
                }
                format!("ok    {key}  {place}: {}", steps.join(", "))
            }
            Err(Fault::Unusable(reason)) => format!("FAIL  {key}  {place}: {reason}"),
            Err(Fault::Unreached(unreached)) => format!(
                "FAIL  {key}  {place}: {} failed after {}: {unreached}; {}",
                step_name(unreached.step),
                millis(unreached.after),
                self.fix(unreached)
            ),
        }
    }

    /// What to try first.
    fn fix(&self, unreached: &Unreached) -> String {
        let fix = match (&unreached.why, unreached.step) {
            (Why::Name(_), _) | (Why::Slow, Step::Name) => {
                "check the spelling of the host, and the resolver of this machine (/etc/resolv.conf)".to_owned()
            }
            (Why::Refused(_), _) => "list the host in outbound.private, if it is to be asked".to_owned(),
            (Why::Tcp(_), _) => "check the port, and that the server runs".to_owned(),
            (Why::Slow, Step::Tcp) => "check that no firewall or network policy is in between".to_owned(),
            (Why::Untrusted(_), _) => match &self.server.authorities_key {
                Some(key) => format!("the key is {key}"),
                None => "there is no such key here: it needs a certificate of a public authority".to_owned(),
            },
            (Why::Tls(_) | Why::Slow, _) => "check that the server speaks TLS on this port".to_owned(),
        };
        match self.server.asker {
            Asker::Node => fix,
            Asker::Carrier => format!("{fix}. The carrier asks this one: from its side it may look different"),
        }
    }
}

const fn step_name(step: Step) -> &'static str {
    match step {
        Step::Name => "name",
        Step::Tcp => "TCP",
        Step::Tls => "TLS",
    }
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests;
