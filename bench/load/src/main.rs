//! Load for tests and benchmark: a server that does what a connection's first byte says, and clients that measure it or
//! check every byte. Each client prints one JSON object; an error is one line on stderr and exit code 1.

mod client;
mod http;
mod llm_client;
mod llm_server;
mod options;
mod pattern;
mod server;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "usage: kube-gateway-load VERB OPTIONS
  serve    --listen ADDRESS:PORT
  bulk     --to A --connections N --seconds S --direction up|down
  echo     --to A --connections N --bytes TOTAL
  pingpong --to A --connections N --seconds S
  connect  --to A --concurrency N (--seconds S | --count C)
  upload   --to A --bytes N
  llm-serve --listen ADDRESS:PORT --events N --pause-us N
  llm-ask   --to A --connections N --seconds S --bytes N --stream yes|no --model NAME --key KEY";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let Some(known) = known(&verb) else { return usage(&format!("no such verb {verb:?}")) };
    let options = match Options::parse(words, known) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error.to_string()),
    };
    let result = runtime.block_on(async {
        match verb.as_str() {
            "serve" => server::serve(&options).await,
            "bulk" => client::bulk(&options).await,
            "echo" => client::echo(&options).await,
            "pingpong" => client::pingpong(&options).await,
            "connect" => client::connect(&options).await,
            "upload" => client::upload(&options).await,
            "llm-serve" => llm_server::serve(&options).await,
            "llm-ask" => llm_client::ask(&options).await,
            other => Err(format!("usage: no such verb {other:?}")),
        }
    });
    // Tasks that still wait for a peer must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) if error.starts_with("usage: ") => usage(&error),
        Err(error) => failure(&error),
    }
}

/// The options of a verb.
fn known(verb: &str) -> Option<&'static [&'static str]> {
    Some(match verb {
        "serve" => &["listen"],
        "bulk" => &["to", "connections", "seconds", "direction"],
        "echo" => &["to", "connections", "bytes"],
        "pingpong" => &["to", "connections", "seconds"],
        "connect" => &["to", "concurrency", "seconds", "count"],
        "upload" => &["to", "bytes"],
        "llm-serve" => &["listen", "events", "pause-us"],
        "llm-ask" => &["to", "connections", "seconds", "bytes", "stream", "model", "key"],
        _ => return None,
    })
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {}\n{USAGE}", error.trim_start_matches("usage: "));
    ExitCode::from(2)
}

fn failure(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
