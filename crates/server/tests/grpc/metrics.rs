//! `/metrics`: OpenMetrics text, parsed by its own rules.

use std::collections::{BTreeMap, HashMap};

use ftl_core::job::{Exit, State};
use ftl_store::{AttemptEnd, Change};
use tokio::net::{TcpStream, UnixStream};
use tonic::metadata::MetadataMap;

use super::http1::{Answer, head, send};
use super::raw::call;
use super::support::Service;

type Labels = BTreeMap<String, String>;

/// What a page says.
#[derive(Debug, Default)]
struct Page {
    /// Of each family: its type, and its unit.
    families: HashMap<String, (String, Option<String>)>,
    samples: Vec<(String, Labels, f64)>,
}

impl Page {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>: metadata before samples, each family in one piece, an
    /// end mark.
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut family = String::new();
        let (lines, end) = text.trim_end_matches('\n').rsplit_once('\n').expect("several lines");
        assert_eq!(end, "# EOF");
        for line in lines.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let mut word = || words.next().unwrap_or_else(|| panic!("{line}")).to_owned();
                let (kind, name, text) = (word(), word(), word());
                match kind.as_str() {
                    "HELP" => {
                        assert!(!page.families.contains_key(&name), "{name} is there twice");
                        assert!(text.ends_with('.'), "{line}");
                        page.families.insert(name.clone(), (String::new(), None));
                        family = name;
                    }
                    "TYPE" => page.families.get_mut(&family).expect("HELP comes first").0 = text,
                    "UNIT" => {
                        assert!(name.ends_with(&format!("_{text}")), "{line}");
                        page.families.get_mut(&family).expect("HELP comes first").1 = Some(text);
                    }
                    other => panic!("{other}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = match sample.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').expect("an end of labels")),
                None => (sample, ""),
            };
            assert!(name.starts_with(&family), "{name} stands among {family}");
            let kind = page.families[&family].0.as_str();
            let suffix = &name[family.len()..];
            let suffixes: &[&str] = match kind {
                "gauge" => &[""],
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_count", "_sum", "_bucket"],
                other => panic!("{other}"),
            };
            assert!(suffixes.contains(&suffix), "{name} is a {kind}");
            let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
                let (key, value) = label.split_once("=\"").expect("a label");
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            });
            page.samples.push((name.to_owned(), labels.collect(), value.parse().expect("a number")));
        }
        page
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches =
            |found: &Labels| labels.iter().all(|(key, value)| found.get(*key).is_some_and(|v| v == value));
        let mut found = self.samples.iter().filter(|(other, has, _)| other == name && matches(has));
        let value = found.next().map(|(_, _, value)| *value);
        assert!(found.next().is_none(), "{name} {labels:?} is there twice");
        value
    }
}

async fn get(service: &Service) -> Answer {
    let stream = UnixStream::connect(service.socket()).await.expect("it listens");
    send(stream, head("GET", "/metrics", &[("host", "localhost")]).as_bytes()).await
}

async fn page(service: &Service) -> Page {
    let answer = get(service).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Page::parse(&answer.text())
}

#[tokio::test]
async fn page_is_for_whoever_is_let_in() {
    let service = Service::start().await;
    let kind = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let answer = get(&service).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, kind));
    let host = format!("127.0.0.1:{}", service.port);
    let bearer = format!("Bearer {}", service.token);
    for (headers, expected) in
        [(vec![("host", host.as_str())], 401), (vec![("host", &host), ("authorization", &bearer)], 200)]
    {
        let stream = TcpStream::connect(("127.0.0.1", service.port)).await.expect("it listens");
        let answer = send(stream, head("GET", "/metrics", &headers).as_bytes()).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    let page = page(&service).await;
    assert_eq!(page.value("ftl_requests_refused_total", &[("reason", "TOKEN_MISSING")]), Some(1.0));
}

#[tokio::test]
async fn page_tells_of_jobs_attempts_and_steps() {
    let service = Service::start().await;
    service.job().await;
    let dead = service.running_job().await;
    let change = Change { to: State::Failed, reason: None, problems: Vec::new() };
    let exit = Exit::Crashed { signal: Some(9), code: None };
    let end = AttemptEnd { exit, log_tail: None, change: Some(change) };
    service.store.end_attempt(&dead, 1, end).await.expect("it runs");
    let running = service.running_job().await;
    service.steps(&running, 1, 5).await;

    let page = page(&service).await;
    let state = |state| page.value("ftl_jobs", &[("state", state)]);
    assert_eq!((state("QUEUED"), state("RUNNING"), state("FAILED")), (Some(1.0), Some(1.0), Some(1.0)));
    assert_eq!(state("CANCELLED"), Some(0.0));
    assert_eq!(page.value("ftl_attempts", &[("exit", "CRASHED")]), Some(1.0));
    let job = [("job", running.as_str())];
    assert_eq!(page.value("ftl_job_step", &job), Some(5.0));
    assert_eq!(page.value("ftl_job_loss_nats", &job), Some(2.0));
    assert_eq!(page.value("ftl_job_tokens_per_second", &job), Some(640.0));
    assert_eq!(page.value("ftl_job_step", &[("job", dead.as_str())]), None);
    let commits = page.value("ftl_store_commit_seconds_count", &[]).expect("a histogram");
    assert!(commits > 8.0, "{commits}");
    assert_eq!(page.value("ftl_store_commit_seconds_bucket", &[("le", "+Inf")]), Some(commits));
    assert_eq!(page.value("ftl_store_failed_commits_total", &[]), Some(0.0));
}

#[tokio::test]
async fn page_tells_of_requests_the_service_and_its_machine() {
    let service = Service::start().await;
    let channel = service.channel().await;
    for path in ["/ftl.v1.JobService/ListJobs", "/ftl.v1.JobService/GetJob", "/ftl.v1.JobService/NoSuch/x"] {
        for _ in 0..2 {
            let _ = call(&channel, path, None, MetadataMap::new()).await;
        }
    }
    let page = page(&service).await;
    let requests = |method, code| page.value("ftl_requests_total", &[("method", method), ("code", code)]);
    assert_eq!(requests("/ftl.v1.JobService/ListJobs", "OK"), Some(2.0));
    assert_eq!(requests("/ftl.v1.JobService/GetJob", "INVALID_ARGUMENT"), Some(2.0));
    assert_eq!(requests("unknown", "UNIMPLEMENTED"), Some(2.0));
    assert_eq!(page.value("ftl_requests_in_flight", &[]), Some(0.0));
    assert!(page.value("ftl_connections_open", &[("listener", "unix")]) >= Some(2.0));
    assert_eq!(page.value("ftl_connections_open", &[("listener", "tcp")]), Some(0.0));
    assert_eq!(page.value("ftl_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(page.value("ftl_streams_open", &[]), Some(0.0));
    for name in [
        "ftl_data_directory_free_bytes",
        "ftl_database_size_bytes",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ] {
        assert!(page.value(name, &[]) > Some(0.0), "{name} in {page:?}");
    }
    assert_eq!(page.value("ftl_store_answer_seconds_count", &[]), Some(0.0));
}
