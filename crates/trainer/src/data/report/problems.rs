//! What a job is told when its data are refused.

use ftl_core::dataset::{Code, CodeCount, DatasetReport, Finding, Severity};
use ftl_core::{Problem, ProblemKind};

/// How many findings are told one by one.
pub const LISTED_PROBLEMS: usize = 20;

/// The errors of a report: the first one by one, then how many more there are of each sort. None: it has none.
pub fn problems(report: &DatasetReport) -> Vec<Problem> {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors: Vec<&Finding> = report.findings.iter().filter(is_error).collect();
    // What the whole job lacks is one problem, not one for each row.
    if let Some(finding) = errors.iter().find(|finding| finding.code == Code::NoTemplate) {
        let message = "the model has no chat template, which messages need";
        let problem = Problem::new(ProblemKind::BadTemplate, message).at("data.chat_template");
        return vec![Problem { hint: finding.hint.clone(), ..problem }];
    }
    let mut problems: Vec<Problem> =
        errors.iter().take(LISTED_PROBLEMS).map(|finding| problem(finding)).collect();
    let counts: Vec<&CodeCount> =
        report.counts.iter().filter(|count| count.severity == Severity::Error).collect();
    let n_errors: u64 = counts.iter().map(|count| count.rows).sum();
    let n_more = n_errors - problems.len() as u64;
    if n_more > 0 {
        let sorts: Vec<String> =
            counts.iter().map(|count| format!("{} {}", count.rows, count.code.meaning())).collect();
        let rows = if n_more == 1 { "1 more row".to_owned() } else { format!("{n_more} more rows") };
        let message = format!("{rows} can't be used; in all: {}", sorts.join(", "));
        let hint = "`ftl-train check` names the first 1,000 of them";
        problems.push(Problem::new(ProblemKind::BadData, message).at("data").hint(hint));
    }
    problems
}

fn problem(finding: &Finding) -> Problem {
    let Finding { code, severity: _, path, row, line, message, hint } = finding;
    let field = match line.or(*row) {
        Some(number) => format!("{path}:{number}"),
        None => path.clone(),
    };
    let problem = Problem::new(kind_of(*code), message.clone()).at(field);
    Problem { hint: hint.clone(), ..problem }
}

fn kind_of(code: Code) -> ProblemKind {
    let is_about_templates = matches!(code, Code::NoTemplate | Code::TemplateFails | Code::TemplateLeavesOut);
    match code == Code::UnreadableFile {
        true => ProblemKind::NotFound,
        false if is_about_templates => ProblemKind::BadTemplate,
        false => ProblemKind::BadData,
    }
}
