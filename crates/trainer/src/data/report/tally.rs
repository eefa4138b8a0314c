//! Counts what became of the rows: the consumer of the pass that makes the report.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use ftl_core::dataset::{
    Code, CodeCount, Cut, DatasetReport, Duplicates, FileReport, Finding, RoleCount, RowCounts, Severity,
    TokenReport,
};

use super::seen::{Already, Repeats, Seen};
use super::spread::Spread;
use crate::data::fault::Fault;
use crate::data::format::FileFormat;
use crate::data::judge::{Facts, ROLES};
use crate::data::pass::{Broken, Consumer, Input, Judged, Learned, Model, Opened, Part, Piece};
use crate::data::read::file_name;

/// Whether each sample is remembered, for a split by fraction and for steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// No: memory does not grow with them.
    Nothing,
    /// 32 bytes each.
    Samples,
}

/// A sample that is trained on or held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Equal for rows that say the same, or nearly.
    pub row: u64,
    /// Equal where the tokens are.
    pub piece: u64,
    /// Tokens that go through the model.
    pub n_tokens: u32,
    /// Those that the loss counts.
    pub n_supervised: u32,
    /// Which of the training files, as the job names them, it is from.
    pub file: u32,
    /// Whether it is the first sample of its row.
    pub begins_row: bool,
}

/// What was counted so far.
pub struct Tally {
    remember: Remember,
    /// Of the file that is read now.
    part: Part,
    last_number: u64,
    files: Vec<FileReport>,
    /// Where the rows of each file begin among all.
    begins: Vec<u64>,
    counts: BTreeMap<Code, u64>,
    findings: Vec<Finding>,
    rows: RowCounts,
    duplicates: Duplicates,
    trained: Seen,
    trained_tokens: HashSet<u64, BuildHasherDefault<Already>>,
    held_out: Seen,
    n_held_out: u64,
    n_overlap: u64,
    characters: Spread,
    turns: Spread,
    roles: [u64; ROLES.len()],
    tokens: Option<Tokens>,
    kept: Vec<Kept>,
    entry: u32,
    is_hopeless: bool,
}

/// Where something is found.
#[derive(Clone, Copy)]
struct At {
    row: Option<u64>,
    line: Option<u64>,
}

/// What was counted of tokens.
struct Tokens {
    part: Part,
    per_row: Spread,
    has_conversations: bool,
    report: TokenReport,
}

impl Tally {
    /// Nothing so far.
    pub fn new(model: Option<&Model<'_>>, remember: Remember) -> Self {
        let tokens = model.map(|model| Tokens {
            part: Part::Train,
            per_row: Spread::default(),
            has_conversations: false,
            report: TokenReport {
                max_length: model.max_length as u64,
                template: model.encoder.template.as_ref().map(|template| template.origin().to_owned()),
                per_row: ftl_core::dataset::Histogram::default(),
                samples: 0,
                total: 0,
                supervised: 0,
                rows_without_supervised: 0,
                rows_with_end: 0,
                rows_with_special_tokens_in_text: 0,
                cut: Cut { strategy: model.strategy, rows: 0, tokens: 0, supervised_tokens: 0, ends: 0 },
            },
        });
        Self {
            remember,
            part: Part::Train,
            last_number: 0,
            tokens,
            files: Vec::new(),
            begins: Vec::new(),
            counts: BTreeMap::new(),
            findings: Vec::new(),
            rows: RowCounts::default(),
            duplicates: Duplicates::default(),
            trained: Seen::default(),
            trained_tokens: HashSet::default(),
            held_out: Seen::default(),
            n_held_out: 0,
            n_overlap: 0,
            characters: Spread::default(),
            turns: Spread::default(),
            roles: [0; ROLES.len()],
            kept: Vec::new(),
            entry: 0,
            is_hopeless: false,
        }
    }

    /// The samples of the training files, in order, where they are remembered.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Adds what is wrong with the files together, which is named after the first.
    pub fn find_in_all(&mut self, fault: Fault) {
        if self.files.first().is_some() {
            self.find(At { row: None, line: None }, fault);
        }
    }

    /// Whether a run can't begin, whatever the other rows say.
    pub fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    /// Rows of the evaluation file that are used, and those of them that are trained on too.
    pub fn held_out(&self) -> (u64, u64) {
        (self.n_held_out, self.n_overlap)
    }

    /// The report; what is held out and how long training takes is for others to say.
    pub fn report(self) -> DatasetReport {
        let mut counts: Vec<CodeCount> = self
            .counts
            .iter()
            .map(|(code, rows)| CodeCount { code: *code, severity: code.severity(), rows: *rows })
            .collect();
        counts.sort_by_key(|count| (count.severity, std::cmp::Reverse(count.rows), count.code));
        let mut roles: Vec<RoleCount> = ROLES
            .iter()
            .zip(self.roles)
            .filter(|(_, messages)| *messages > 0)
            .map(|(role, messages)| RoleCount { role: role.to_string(), messages })
            .collect();
        roles.sort_by_key(|count| std::cmp::Reverse(count.messages));
        let tokens = self.tokens.map(|Tokens { part: _, per_row, has_conversations, report }| TokenReport {
            per_row: per_row.histogram(),
            template: report.template.filter(|_| has_conversations),
            ..report
        });
        DatasetReport {
            files: self.files,
            rows: self.rows,
            counts,
            findings: self.findings,
            duplicates: self.duplicates,
            characters: self.characters.histogram(),
            turns: self.turns.histogram(),
            roles,
            tokens,
            held_out: None,
            steps: None,
        }
    }

    /// Counts a finding, and lists it where there is room.
    fn find(&mut self, At { row, line }: At, fault: Fault) {
        let Fault { code, what, hint } = fault;
        *self.counts.entry(code).or_default() += 1;
        if self.findings.len() == DatasetReport::LISTED {
            // What refuses a job must not be crowded out by warnings.
            let is_lesser = |finding: &Finding| finding.severity != Severity::Error;
            match self.findings.iter().rposition(is_lesser) {
                Some(place) if code.severity() == Severity::Error => drop(self.findings.remove(place)),
                Some(_) | None => return,
            }
        }
        let path = &self.files.last().expect("a file begins before what is found in it").path;
        let name = file_name(path);
        let message = match row {
            Some(row) => format!("row {row} of `{name}` {what}"),
            None => format!("`{name}` {what}"),
        };
        self.findings.push(Finding {
            code,
            severity: code.severity(),
            path: path.display().to_string(),
            row,
            line,
            message,
            hint,
        });
    }

    /// The number of a row over all files.
    fn place(&self, number: u64) -> u32 {
        let begin = *self.begins.last().expect("a file begins before its rows");
        u32::try_from(begin + number).unwrap_or(u32::MAX)
    }

    /// As in ``row 7``, with the file where it is another.
    fn named(&self, place: u32) -> String {
        if place == u32::MAX {
            return "an earlier row".to_owned();
        }
        let place = u64::from(place);
        let file = self.begins.partition_point(|begin| *begin < place).saturating_sub(1);
        let row = place - self.begins[file];
        if file + 1 == self.begins.len() {
            format!("row {row}")
        } else {
            format!("row {row} of `{}`", file_name(&self.files[file].path))
        }
    }

    /// What an accepted or dropped row repeats.
    fn repeats(&mut self, number: u64, facts: &Facts, learned: Option<&Learned>) -> Option<Fault> {
        let place = self.place(number);
        let content = facts.content;
        let repeats = match self.part {
            Part::Train => {
                if let Some(learned) = learned {
                    self.trained_tokens.insert(learned.tokens);
                }
                self.trained.add(content, place)
            }
            Part::Eval => {
                self.n_held_out += 1;
                let trained = self.trained.find(content.near);
                if trained.is_some()
                    || learned.is_some_and(|learned| self.trained_tokens.contains(&learned.tokens))
                {
                    self.n_overlap += 1;
                    let of = trained.map_or_else(|| "one".to_owned(), |place| self.named(place));
                    let what = format!("is held out for evaluation, and trained on as {of}");
                    return Some(Fault::new(Code::Overlap, what));
                }
                self.held_out.add(content, place)
            }
        };
        match repeats {
            Repeats::Nothing => None,
            Repeats::Exactly { earlier } => {
                self.duplicates.exact += 1;
                Some(Fault::new(Code::Duplicate, format!("says the same as {}", self.named(earlier))))
            }
            Repeats::Nearly { earlier } => {
                self.duplicates.near += 1;
                let what = format!("says the same as {} but for spaces and capitals", self.named(earlier));
                Some(Fault::new(Code::NearDuplicate, what))
            }
        }
    }
}

/// What became of a row, for who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is trained on.
    Accepted,
    /// It has an error.
    Rejected,
    /// It is left out, as it is too long.
    Dropped,
}

impl Tally {
    /// Takes in a row; what is found by looking at others is added to its faults.
    pub fn take(&mut self, row: &mut Judged) -> Fate {
        let fate = match row.error() {
            Some(_) => Fate::Rejected,
            None if row.faults.iter().any(|fault| fault.code == Code::Dropped) => Fate::Dropped,
            None => Fate::Accepted,
        };
        let place = At { row: Some(row.number), line: row.line };
        self.last_number = row.number;
        for counts in
            [&mut self.rows, &mut self.files.last_mut().expect("a file begins before its rows").rows]
        {
            counts.read += 1;
            match fate {
                Fate::Accepted => counts.accepted += 1,
                Fate::Rejected => counts.rejected += 1,
                Fate::Dropped => counts.dropped += 1,
            }
        }
        if let (Some(tokens), Some(learned)) = (&mut self.tokens, &row.learned) {
            tokens.add(learned, row, fate);
        }
        match fate {
            Fate::Rejected => {
                // What else was seen does not matter in a row that is not used.
                if let Some(fault) = row.faults.last().cloned() {
                    self.is_hopeless = self.is_hopeless || fault.code == Code::NoTemplate;
                    if let (Code::NothingToLearn, Some(tokens)) = (fault.code, &mut self.tokens) {
                        tokens.report.rows_without_supervised += 1;
                    }
                    self.find(place, fault);
                }
            }
            Fate::Accepted | Fate::Dropped => {
                if let Some(facts) = &row.facts {
                    if fate == Fate::Accepted {
                        self.characters.add(facts.characters);
                        self.turns.add(facts.turns());
                        self.roles.iter_mut().zip(facts.roles).for_each(|(sum, n)| *sum += u64::from(n));
                    }
                    let repeated = self.repeats(row.number, facts, row.learned.as_ref());
                    row.faults.extend(repeated);
                }
                for fault in &row.faults {
                    self.find(place, fault.clone());
                }
                match fate {
                    Fate::Accepted => self.keep(row),
                    Fate::Dropped | Fate::Rejected => {}
                }
            }
        }
        fate
    }

    fn keep(&mut self, row: &Judged) {
        let (Some(facts), learned) = (&row.facts, row.learned.as_ref()) else { return };
        let file = self.entry;
        match (self.part, self.remember) {
            (Part::Train, Remember::Samples) => {}
            (Part::Train, Remember::Nothing) | (Part::Eval, _) => return,
        }
        let row = facts.content.near;
        // Without a model a row is a sample.
        let whole = [Piece { hash: row, n_tokens: 0, n_supervised: 0 }];
        let pieces = learned.map_or(&whole[..], |learned| &learned.pieces);
        self.kept.extend(pieces.iter().enumerate().map(|(index, piece)| Kept {
            row,
            piece: piece.hash,
            n_tokens: piece.n_tokens,
            n_supervised: piece.n_supervised,
            file,
            begins_row: index == 0,
        }));
    }
}

impl Tokens {
    fn add(&mut self, learned: &Learned, row: &Judged, fate: Fate) {
        let report = &mut self.report;
        self.per_row.add(learned.n_tokens);
        self.has_conversations |= learned.has_turns;
        if let Some(lost) = learned.cut {
            report.cut.rows += 1;
            report.cut.tokens += lost.tokens;
            report.cut.supervised_tokens += lost.supervised;
            report.cut.ends += u64::from(lost.end);
        }
        if fate == Fate::Accepted {
            report.rows_with_end += u64::from(learned.has_end && !learned.cut.is_some_and(|lost| lost.end));
            let is_spelled = row.faults.iter().any(|fault| fault.code == Code::SpecialTokensInText);
            report.rows_with_special_tokens_in_text += u64::from(is_spelled);
        }
        if self.part == Part::Train {
            report.samples += learned.pieces.len() as u64;
            for piece in &learned.pieces {
                report.total += u64::from(piece.n_tokens);
                report.supervised += u64::from(piece.n_supervised);
            }
        }
    }
}

impl Consumer for Tally {
    fn begin(&mut self, input: &Input<'_>) {
        let begin = self.begins.last().map_or(0, |begin| begin + self.last_number);
        self.begins.push(begin);
        self.last_number = 0;
        self.part = input.part;
        if let Some(tokens) = &mut self.tokens {
            tokens.part = input.part;
        }
        self.entry = u32::try_from(input.entry).unwrap_or(u32::MAX);
        self.files.push(FileReport {
            path: input.path.to_owned(),
            bytes: std::fs::metadata(input.path).map_or(0, |metadata| metadata.len()),
            sha256: None,
            layout: None,
            format: None,
            confidence: 0.0,
            notes: Vec::new(),
            rows: RowCounts::default(),
        });
    }

    fn opened(&mut self, opened: &Opened) {
        let Opened { layout, format } = opened.clone();
        let FileFormat { layout: rows, confidence, others, mut notes } = format;
        if !others.is_empty() {
            let others: Vec<String> =
                others.iter().map(|other| format!("{} of {}", other.rows, other.format.name())).collect();
            notes.push(format!("among the rows looked at are others: {}", others.join(", ")));
        }
        let file = self.files.last_mut().expect("a file begins before it is opened");
        *file =
            FileReport { layout: Some(layout), format: Some(rows.format), confidence, notes, ..file.clone() };
    }

    fn closed(&mut self, notes: Vec<String>) {
        self.files.last_mut().expect("a file begins before it is closed").notes.extend(notes);
    }

    fn broken(&mut self, broken: Broken) {
        let Broken { fault, line } = broken;
        self.find(At { row: None, line }, fault);
    }

    fn row(&mut self, mut row: Judged) {
        self.take(&mut row);
    }
}
