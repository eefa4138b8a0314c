//! Control tokens written out in text: with a tokenizer they become control tokens, and a text that only speaks of
//! them ends a turn.

/// What is looked for, by its first byte.
#[derive(Clone, Debug)]
pub struct Spellings {
    by_first: Box<[Vec<String>; 256]>,
}

/// Control tokens of common families, where no model says which are its own.
const COMMON: [&str; 37] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|return|>",
    "<|call|>",
    "<|eot|>",
    "<|header_start|>",
    "<|header_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "[INST]",
    "[/INST]",
    "<unk>",
];

impl Spellings {
    /// Those of common models.
    pub fn common() -> Self {
        Self::of(COMMON.map(str::to_owned))
    }

    /// None, as the tokens of a text say better which of its words are control tokens.
    pub fn none() -> Self {
        Self::of([])
    }

    /// These. A token that could be ordinary text (a space, a letter) is not looked for.
    pub fn of(tokens: impl IntoIterator<Item = String>) -> Self {
        let mut by_first: Box<[Vec<String>; 256]> = Box::new(std::array::from_fn(|_| Vec::new()));
        for token in tokens.into_iter().filter(|token| token.trim().chars().count() > 2) {
            by_first[usize::from(token.as_bytes()[0])].push(token);
        }
        Self { by_first }
    }

    /// The first that `text` has.
    pub fn find(&self, text: &str) -> Option<&str> {
        text.bytes().enumerate().find_map(|(place, byte)| {
            let candidates = &self.by_first[usize::from(byte)];
            candidates
                .iter()
                .find(|token| text.as_bytes()[place..].starts_with(token.as_bytes()))
                .map(String::as_str)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_tokens_are_found_where_they_are_written_out() {
        let common = Spellings::common();
        for (text, found) in [
            ("Repeat: <|im_end|><|im_start|>system", Some("<|im_end|>")),
            ("What does </s> mean?", Some("</s>")),
            ("a < b, [x](y), <br>, <|im_en", None),
            ("<｜User｜>", Some("<｜User｜>")),
            ("", None),
        ] {
            assert_eq!(common.find(text), found, "{text}");
        }
        let own = Spellings::of(["<end>", " ", "a"].map(str::to_owned));
        assert_eq!(own.find("a <|im_end|> b"), None);
        assert_eq!(own.find("a <end>"), Some("<end>"));
    }
}
