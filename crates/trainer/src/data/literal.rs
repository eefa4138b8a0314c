//! Text in which only some control tokens are meant. A data set may spell out `<|im_end|>` or `</s>` in a message: that
//! is something that somebody said, not the end of a turn. Taken for one, it would let a text put words into another
//! role's mouth and end the answer that is learned.
//!
//! The tokenizer's own steps are taken, but with another list of added tokens: control tokens are ordinary text in it,
//! and an alias that occurs nowhere else stands for those that are meant.

use std::ops::Range;

use tokenizers::tokenizer::{OffsetReferential, OffsetType};
use tokenizers::{AddedToken, AddedVocabulary, Model, PreTokenizedString, PreTokenizer, Tokenizer};

use super::tokenize::{Around, Tokenized};

/// Control tokens as ordinary text.
pub(super) struct Literal {
    vocabulary: AddedVocabulary,
    /// By id, ascending: what stands for it, and the id of that.
    aliases: Vec<(u32, Alias)>,
}

struct Alias {
    text: String,
    id: u32,
}

/// A control token in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its id.
    pub id: u32,
    /// Where it is spelled.
    pub bytes: Range<usize>,
}

impl Literal {
    /// Of a tokenizer with these control tokens, ascending.
    pub(super) fn new(tokenizer: &Tokenizer, specials: &[u32]) -> Result<Self, tokenizers::Error> {
        let mut vocabulary = tokenizer.get_added_vocabulary().clone();
        let (model, normalizer) = (tokenizer.get_model(), tokenizer.get_normalizer());
        let added: Vec<(u32, AddedToken)> = specials
            .iter()
            .filter_map(|id| vocabulary.get_added_tokens_decoder().get(id).map(|token| (*id, token.clone())))
            .collect();
        // Only what counts as special is left alone when special tokens are text.
        let hidden = added.iter().map(|(_, token)| AddedToken { special: true, ..token.clone() });
        vocabulary.add_tokens(hidden.collect::<Vec<_>>(), model, normalizer)?;
        // Characters that Unicode keeps free for such use; the numbers keep one from being the beginning of another.
        let text = |index: usize| format!("\u{FDD0}{index}\u{FDD1}");
        let stand_ins: Vec<AddedToken> = added
            .iter()
            .enumerate()
            .map(|(index, (_, token))| AddedToken { content: text(index), special: false, ..token.clone() })
            .collect();
        vocabulary.add_tokens(stand_ins, model, normalizer)?;
        vocabulary.set_encode_special_tokens(true);
        let aliases = added
            .iter()
            .enumerate()
            .filter_map(|(index, (id, _))| {
                let text = text(index);
                let alias = vocabulary.token_to_id(&text, model)?;
                Some((*id, Alias { text, id: alias }))
            })
            .collect();
        Ok(Self { vocabulary, aliases })
    }

    /// The ids of `text`, in which `meant`, in order, are control tokens and nothing else is.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        (text, meant): (&str, &[Control]),
        around: Around,
    ) -> Result<Tokenized, tokenizers::Error> {
        let mut with_aliases = String::with_capacity(text.len());
        let mut places = Places::default();
        let mut done = 0;
        for control in meant {
            let Ok(index) = self.aliases.binary_search_by_key(&control.id, |(id, _)| *id) else { continue };
            with_aliases.push_str(&text[done..control.bytes.start]);
            let start = with_aliases.len();
            with_aliases.push_str(&self.aliases[index].1.text);
            places.push(start..with_aliases.len(), control.bytes.clone());
            done = control.bytes.end;
        }
        with_aliases.push_str(&text[done..]);

        let mut pieces =
            self.vocabulary.extract_and_normalize(tokenizer.get_normalizer(), with_aliases.as_str());
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        tokenizer.get_model().tokenize_in_pretokenized(&mut pieces, None)?;
        let encoding = pieces.into_encoding(None, 0, OffsetType::Byte)?;
        let encoding = tokenizer.post_process(encoding, None, around == Around::Specials)?;
        let real = |id: &u32| {
            let found = self.aliases.iter().find(|(_, alias)| alias.id == *id);
            found.map_or(*id, |(id, _)| *id)
        };
        Ok(Tokenized {
            ids: encoding.get_ids().iter().map(real).collect(),
            offsets: encoding
                .get_offsets()
                .iter()
                .map(|(start, end)| places.original(*start, Side::Start)..places.original(*end, Side::End))
                .collect(),
        })
    }
}

/// The control tokens that the tokenizer finds in `text`, of those that `is_special`.
pub(super) fn controls_in(
    tokenizer: &Tokenizer,
    text: &str,
    is_special: impl Fn(u32) -> bool,
) -> Vec<Control> {
    let vocabulary = tokenizer.get_added_vocabulary();
    let pieces: PreTokenizedString = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
    let mut controls = Vec::new();
    for (_, (start, end), tokens) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        let Some([token]) = tokens.as_deref() else { continue };
        if !is_special(token.id) {
            continue;
        }
        // A token may take the white space beside it along.
        let spelled =
            vocabulary.get_added_tokens_decoder().get(&token.id).map(|token| token.content.as_str());
        let place = spelled.and_then(|spelled| Some((text[start..end].find(spelled)?, spelled.len())));
        let (offset, length) = place.unwrap_or((0, end - start));
        controls.push(Control { id: token.id, bytes: start + offset..start + offset + length });
    }
    controls
}

/// Which bytes of a text with aliases stand for which of the text without.
#[derive(Default)]
struct Places {
    aliases: Vec<(Range<usize>, Range<usize>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Start,
    End,
}

impl Places {
    fn push(&mut self, alias: Range<usize>, original: Range<usize>) {
        self.aliases.push((alias, original));
    }

    fn original(&self, at: usize, side: Side) -> usize {
        // The last alias that begins before.
        let next = self.aliases.partition_point(|(alias, _)| alias.start < at);
        let Some((alias, original)) = next.checked_sub(1).map(|last| &self.aliases[last]) else { return at };
        match side {
            _ if at >= alias.end => original.end + (at - alias.end),
            Side::Start => original.start,
            Side::End => original.end,
        }
    }
}
