//! What a person should know of the samples that were read, though nothing is wrong with them.

use super::load::Request;

/// What happened to samples that is no problem, but worth a note.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) n_dropped: usize,
    pub(super) n_cut: usize,
    pub(super) n_split: usize,
    pub(super) n_pieces: usize,
    pub(super) n_pieces_left_out: usize,
    pub(super) n_with_controls: usize,
    pub(super) n_without_end: usize,
    pub(super) has_conversations: bool,
    pub(super) has_other_text: bool,
}

impl Counts {
    /// One sentence each.
    pub(super) fn notes(&self, request: &Request<'_>) -> Vec<String> {
        let limit = request.max_length;
        let mut notes = Vec::new();
        let mut note = |n: usize, text: String| {
            if n > 0 {
                notes.push(text);
            }
        };
        note(self.n_dropped, format!("{} left out, longer than {limit} tokens", samples(self.n_dropped)));
        note(
            self.n_cut,
            format!("{} cut off at {limit} tokens; their ends are not learned", samples(self.n_cut)),
        );
        note(
            self.n_split,
            format!("{} longer than {limit} tokens became {} pieces", samples(self.n_split), self.n_pieces),
        );
        note(
            self.n_pieces_left_out,
            format!("{} pieces of split samples left out, without a token to learn", self.n_pieces_left_out),
        );
        note(
            self.n_with_controls,
            format!(
                "{} with control tokens of the model written out in their text",
                samples(self.n_with_controls)
            ),
        );
        note(
            self.n_without_end,
            format!(
                "{} whose last learned token is no control token: the model may not learn to stop",
                samples(self.n_without_end)
            ),
        );
        if self.has_conversations
            && let Some(template) =
                request.encoder.template.as_ref().filter(|template| template.reads_the_clock())
        {
            notes.push(format!(
                "the chat template {} writes today's date, so another day gives other tokens",
                template.origin()
            ));
        }
        if self.has_other_text && request.encoder.tokenizer.eos().is_none() {
            notes.push("the tokenizer has no end token, so samples do not teach where to stop".to_owned());
        }
        notes
    }
}

fn samples(n: usize) -> String {
    if n == 1 { "1 sample".to_owned() } else { format!("{n} samples") }
}
