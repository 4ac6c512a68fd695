//! One call that was decided, from the decision to its end, whatever wire it is on.
//!
//! The policy is told of the end exactly once: when the last of this is dropped, so no way out can miss it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Held;
use super::coding::{CodingError, Decoder};
use super::policy::{Again, AnswerPlan, Call, Decision, Facts, Failed, Filter, LlmRequest, Policy, Reply, Verdict};

/// What one piece of an encoded answer may bring.
const MOST_OF_A_PIECE: usize = 64 * 1024 * 1024;

/// Stands for every content type that has no framing of its own, and for none.
const ANY_TYPE: &str = "*";
/// The framing of an answer that is one document.
const WHOLE: &str = "whole";

/// What is done with the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Nobody looks.
    Pass,
    /// It goes on as it comes, and the filter sees it too.
    Look,
    /// It goes through the filter.
    Stream,
    /// It is collected, and goes on when the filter has seen all of it.
    Whole,
}

#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Coding(#[from] CodingError),
    #[error(transparent)]
    Policy(#[from] Failed),
}

pub struct Exchange {
    call: Arc<dyn Call>,
    answer: Option<Box<dyn AnswerPlan>>,
    filter: Option<Box<dyn Filter>>,
    decoder: Option<Decoder>,
    ended: bool,
    /// Nobody looks, or a filter that only looks could not read on.
    blind: bool,
    /// Accounts for the body, as long as somebody may have it.
    held: Held,
    began: Instant,
    sent: Option<Instant>,
    overhead: Duration,
    pub facts: Facts,
}

/// Runs `work` where it may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failed(error.to_string())),
    }
}

/// Has the policy decide. `began` is when the head of the request had come. Until `accept`, it counts as given up by the
/// client. May block.
pub fn decide(
    policy: &dyn Policy,
    request: LlmRequest,
    began: Instant,
    held: Held,
) -> Result<(Verdict, Exchange), Failed> {
    let asked = Instant::now();
    let Decision { verdict, call } = policy.decide(request)?;
    let exchange = Exchange {
        call: Arc::from(call),
        answer: None,
        filter: None,
        decoder: None,
        ended: false,
        blind: false,
        held,
        began,
        sent: None,
        overhead: asked.elapsed(),
        facts: Facts { client_gone: true, ..Facts::default() },
    };
    Ok((verdict, exchange))
}

impl Exchange {
    /// The decision has arrived at whoever asked.
    pub fn accept(&mut self, answer: Option<Box<dyn AnswerPlan>>, asked: Instant) {
        self.answer = answer;
        self.overhead = asked.elapsed();
        self.facts.client_gone = false;
    }

    /// What is sent to the server begins: before it does, so that nothing is with a server that nobody counts.
    pub fn sent(&mut self) {
        self.sent.get_or_insert_with(Instant::now);
    }

    pub fn first_byte(&mut self) {
        let since = self.since_sent();
        self.facts.seconds_to_first_byte.get_or_insert(since);
    }

    fn since_sent(&self) -> f64 {
        self.sent.unwrap_or(self.began).elapsed().as_secs_f64()
    }

    /// Whether the policy may change the answer, so that it must be able to read it.
    pub fn edits(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.edits())
    }

    /// Chooses what is done with the body of an answer, and gets ready for it.
    pub async fn treat(&mut self, content_type: Option<&str>, codings: &[String]) -> Result<Treatment, AnswerError> {
        self.blind = true;
        let Some(answer) = self.answer.take() else { return Ok(Treatment::Pass) };
        let known = content_type.and_then(|content_type| answer.framing_of(content_type));
        let Some(framing) = known.or_else(|| answer.framing_of(ANY_TYPE)) else { return Ok(Treatment::Pass) };
        let (edits, blocks) = (answer.edits(), answer.blocks());
        match Decoder::new(codings, MOST_OF_A_PIECE) {
            Ok(decoder) => self.decoder = decoder,
            Err(error) if edits => return Err(error.into()),
            Err(_) => return Ok(Treatment::Pass),
        }
        let is_whole = framing == WHOLE;
        let start = move || answer.start(&framing);
        self.filter = Some(if blocks { blocking(start).await? } else { start()? });
        self.blind = false;
        Ok(match (edits, is_whole) {
            (false, _) => Treatment::Look,
            (true, false) => Treatment::Stream,
            (true, true) => Treatment::Whole,
        })
    }

    /// The content that the answer's next bytes bring.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, CodingError> {
        let Some(decoder) = &mut self.decoder else { return Ok(Cow::Borrowed(bytes)) };
        decoder.allow_more();
        decoder.feed(bytes).map(Cow::Owned)
    }

    /// The content that is left at the answer's end.
    pub fn decode_rest(&mut self) -> Result<Vec<u8>, CodingError> {
        let Some(decoder) = &mut self.decoder else { return Ok(Vec::new()) };
        decoder.allow_more();
        decoder.finish()
    }

    pub fn is_encoded(&self) -> bool {
        self.decoder.is_some()
    }

    /// Takes room for `more` bytes of a document that is collected and has `length` by now. Why not, else.
    pub fn hold(&mut self, length: usize, limit: usize, more: usize) -> Result<(), (&'static str, Again)> {
        if length > limit {
            return Err(("its answer is too large to be looked at", Again::No));
        }
        if self.held.grow(more) { Ok(()) } else { Err(("there are too many large answers at once", Again::Yes)) }
    }

    /// What can go on, with `content` behind what came before.
    pub async fn filter(&mut self, content: &[u8]) -> Result<Vec<u8>, Failed> {
        if content.is_empty() || self.ended {
            return Ok(Vec::new());
        }
        self.filtered(content, false).await
    }

    /// What goes on at the end.
    pub async fn finish(&mut self) -> Result<Vec<u8>, Failed> {
        if self.ended { Ok(Vec::new()) } else { self.filtered(&[], true).await }
    }

    async fn filtered(&mut self, content: &[u8], finish: bool) -> Result<Vec<u8>, Failed> {
        let Some(filter) = self.filter.take() else { return Ok(content.to_vec()) };
        let began = Instant::now();
        let (filter, result) = if filter.blocks() {
            let content = content.to_vec();
            blocking(move || Ok(run(filter, &content, finish))).await?
        } else {
            run(filter, content, finish)
        };
        self.ended = filter.ended();
        if filter.has_event() {
            let since = self.since_sent();
            self.facts.seconds_to_first_chunk.get_or_insert(since);
        }
        self.filter = Some(filter);
        self.overhead += began.elapsed();
        result
    }

    /// Shows content to a filter that only looks: what it cannot read it does not see, and nothing fails.
    pub async fn look(&mut self, bytes: &[u8]) {
        if self.blind || self.ended {
            return;
        }
        let content = self.decode(bytes).map(Cow::into_owned);
        self.blind = match content {
            Ok(content) => self.filter(&content).await.is_err(),
            Err(_) => true,
        };
    }

    /// The same at the end.
    pub async fn looked(&mut self) {
        if self.blind || self.ended {
            return;
        }
        let rest = self.decode_rest().unwrap_or_default();
        self.blind = self.filter(&rest).await.is_err() || self.finish().await.is_err();
    }

    /// Whether the filter has ended the answer.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What ends the stream that the filter has ended.
    pub async fn ending(&mut self) -> Result<Vec<u8>, Failed> {
        self.ask(|call, outcome| call.ending(outcome)).await
    }

    /// What is sent in place of the answer that the filter has ended.
    pub async fn refuse(&mut self) -> Result<Reply, Failed> {
        self.ask(|call, outcome| call.refuse(outcome)).await
    }

    /// What is sent in place of an answer that the policy has to see and cannot. What asking again may mend is said in
    /// plain text, which clients do; the rest in the policy's words.
    pub async fn unreadable(&mut self, why: &str, again: Again) -> Result<Reply, Failed> {
        self.facts.upstream_failed = true;
        let text = format!("the server failed: {why}");
        let reply = match again {
            Again::Yes => Reply::plain(502, &format!("kube-gateway: {text}\n"), again),
            Again::No => self.ask(move |call, _| call.unreadable(&text)).await?,
        };
        self.facts.status = reply.status;
        Ok(reply)
    }

    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&dyn Call, &[u8]) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let (call, filter) = (Arc::clone(&self.call), self.filter.take());
        let asked = Instant::now();
        let work = move || {
            let outcome = outcome_of(filter.as_deref());
            let result = question(call.as_ref(), &outcome);
            Ok((filter, result))
        };
        let (filter, result) = blocking(work).await?;
        self.filter = filter;
        self.overhead += asked.elapsed();
        result
    }
}

fn run(mut filter: Box<dyn Filter>, content: &[u8], finish: bool) -> (Box<dyn Filter>, Result<Vec<u8>, Failed>) {
    let result = if finish { filter.finish() } else { filter.feed(content) };
    (filter, result)
}

fn outcome_of(filter: Option<&dyn Filter>) -> Vec<u8> {
    filter.map_or_else(|| b"{}".to_vec(), Filter::outcome)
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.facts.seconds = self.began.elapsed().as_secs_f64();
        self.facts.overhead_seconds = self.overhead.as_secs_f64();
        self.facts.sent = self.sent.is_some();
        let (call, filter, facts) = (Arc::clone(&self.call), self.filter.take(), self.facts.clone());
        let tell = move || call.ended(&outcome_of(filter.as_deref()), &facts);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(tell)),
            // The threads are being stopped, and this is one of those that may block.
            Err(_) => tell(),
        }
    }
}
