//! Events that the gateway adds: what was held back of a text goes out in a copy of the event that it came with.

use super::edits::Edits;
use super::frames::{BYTE_ORDER_MARK, Frames};
use super::json::{Kind, Reader, Tree};
use super::plan::FilterPlan;
use super::view::View;

/// An event, as it came: what is before its data, the data, and what is behind it.
#[derive(Debug, Default)]
pub(super) struct Template {
    before: Vec<u8>,
    data: Vec<u8>,
    behind: Vec<u8>,
    /// The string with the text, as the reader numbers it.
    node: u32,
}

/// What else is different in a copy.
pub(super) struct Changes<'a> {
    pub(super) text: &'a [u8],
    pub(super) model: Option<&'a [u8]>,
    pub(super) sequence: Option<i64>,
    pub(super) strip_usage: bool,
}

/// Memory that all copies use in turn.
#[derive(Default)]
pub(super) struct Copier {
    reader: Reader,
    view: View,
    edits: Edits,
}

impl Template {
    pub(super) fn set(&mut self, frames: &Frames, raw: std::ops::Range<usize>, node: u32) {
        let (bytes, data) = (frames.bytes(), frames.data());
        let span = data.span();
        self.before.clear();
        let before = &bytes[raw.start..span.start];
        // The mark of the first event has no place in the middle of a stream.
        self.before.extend_from_slice(before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before));
        self.data.clear();
        // Line breaks between lines of data are white space: a string cannot have one.
        self.data.extend(data.bytes.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        self.behind.clear();
        self.behind.extend_from_slice(&bytes[span.end..raw.end]);
        self.node = node;
    }
}

impl Copier {
    /// Appends the copy to `out`.
    pub(super) fn copy(&mut self, plan: &FilterPlan, template: &Template, changes: &Changes<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&template.before);
        let Self { reader, view, edits } = self;
        if let Ok(tree) = reader.read(&template.data, &plan.steps) {
            view.look(plan, &tree);
            edits.clear();
            edit(edits, &tree, view, template.node, changes);
            edits.apply(&template.data, out);
        }
        out.extend_from_slice(&template.behind);
    }
}

fn edit(edits: &mut Edits, tree: &Tree<'_>, view: &View, node: u32, changes: &Changes<'_>) {
    let span = |node: u32| tree.nodes[node as usize].range();
    let text = span(node);
    edits.replace(text.start + 1..text.end - 1, changes.text);
    let others = view.hits.iter().map(|hit| hit.node).filter(|other| *other != node);
    others.for_each(|other| {
        let is_string = tree.nodes[other as usize].kind == Kind::String;
        edits.replace(span(other), if is_string { b"\"\"" } else { b"0" });
    });
    for finish in &view.finish {
        if tree.nodes[*finish as usize].kind != Kind::Null {
            edits.replace(span(*finish), b"null");
        }
    }
    if let (Some(number), Some(sequence)) = (changes.sequence, view.sequence) {
        edits.replace(span(sequence), number.to_string().as_bytes());
    }
    if let Some(model) = changes.model {
        view.models.iter().for_each(|node| edits.replace(span(*node), model));
    }
    let is_null = |node: &&u32| changes.strip_usage && tree.nodes[**node as usize].kind == Kind::Null;
    let removed = view.scrub.iter().chain(&view.scrub_after).chain(&view.once);
    for gone in removed.chain(view.usage_members.iter().filter(is_null)) {
        let value = &tree.nodes[*gone as usize];
        if !value.range().contains(&text.start) {
            edits.remove(value.member as usize..value.end as usize);
        }
    }
}
