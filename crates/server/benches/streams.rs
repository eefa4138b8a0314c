//! What streams cost, measured over the socket against a service in a process of its own:
//! `cargo bench -p ftl-server --bench streams -- --record FILE`.
//!
//! - crowd: 1,000 subscribers follow one job that gets 100 rows a second. Every row must reach everyone once and in
//!   order; the latency is from COMMIT, when the store's writer tells of it, to receipt.
//! - crowd of replays: as many ask for all of a job at once; how much memory that takes.
//! - replay: one client reads a million metrics.
//! - list: 50 of 10,000 jobs, page after page.

#![expect(clippy::print_stdout, reason = "the figures, and what the child says to its parent")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ftl_client::{Client, Endpoint, Follow};
use ftl_core::job::State;
use ftl_core::metrics::Stepped;
use ftl_core::{Event, EventRecord, JobId, JobSpec, PageRequest};
use ftl_server::commits::Commits;
use ftl_server::connections::Connections;
use ftl_server::data_dir::DataDir;
use ftl_server::datasets::Datasets;
use ftl_server::grpc::{Parts, Services};
use ftl_server::guard::Guard;
use ftl_server::hugging_face::Cache;
use ftl_server::jobs::Jobs;
use ftl_server::resolve::Resolver;
use ftl_server::worker::Workers;
use ftl_store::{Change, NewJob, Store};
use futures_util::StreamExt;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

const N_SUBSCRIBERS: usize = 1_000;
const N_CONNECTIONS: usize = 10;
const ROWS_PER_SEC: u64 = 100;
const CROWD_SECS: u64 = 30;
const N_ROWS: u64 = 1_000_000;
const N_JOBS: u64 = 10_000;

/// The job that is followed, and the one that is replayed.
fn live() -> JobId {
    JobId::from_bits(1)
}

fn large() -> JobId {
    JobId::from_bits(2)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return runtime().block_on(serve(Path::new(&words[1])));
    }
    let record = words.iter().position(|word| word == "--record").and_then(|place| words.get(place + 1));
    let home = tempfile::tempdir().expect("a directory");
    let figures = runtime().block_on(measure(home.path()));
    println!("{figures}");
    if let Some(path) = record {
        std::fs::write(path, figures + "\n").expect("the record can be written");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads")
}

fn socket(home: &Path) -> PathBuf {
    home.join("ftl.sock")
}

/// When each COMMIT of the followed job came, as `seq nanoseconds` lines.
fn commits_file(home: &Path) -> PathBuf {
    home.join("commits")
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// The service, and whoever feeds it: says `ready` on stdout, feeds on the first line of stdin, ends with the second.
async fn serve(home: &Path) {
    let dir = DataDir::open(&home.join("data")).expect("a data directory");
    let commits = Commits::new();
    let told = commits.clone();
    let (sender, times) = std::sync::mpsc::channel();
    let store = Store::open(&dir.database(), move |id, seq| {
        if *id == live() {
            // Before anybody is told of it.
            let _ = sender.send((seq, unix_nanos()));
        }
        told.published(id, seq);
    })
    .expect("a database");
    let workers = Workers::start("/proc/self/exe".into(), dir.workers()).expect("a place for logs");
    let jobs = Jobs::start(store.clone(), workers.clone(), dir.clone()).await.expect("an empty queue");
    let cache = Cache::at(home.join("hub"));
    let resolver = Resolver::new(store.clone(), cache.clone());
    let datasets = Datasets::start(store.clone(), workers.clone(), dir.clone(), resolver.clone());
    let parts = Parts {
        store: store.clone(),
        workers,
        datasets: datasets.await.expect("empty directories"),
        jobs,
        commits,
        dir: dir.clone(),
        resolver,
        cache,
        shutdown: CancellationToken::new(),
    };
    let services = Services::new(parts);
    for id in [live(), large()] {
        run(&store, &dir, id).await;
    }
    for from in (1..N_ROWS).step_by(1_000) {
        let records = (from..from + 1_000).map(stepped).collect();
        store.append_events(&large(), 1, records).await.expect("kept");
    }
    for bits in 0..N_JOBS - 2 {
        create(&store, &dir, JobId::from_bits(100 + bits)).await;
    }
    let unix = UnixListener::bind(socket(home)).expect("a socket");
    let connections = Connections::with_time(N_CONNECTIONS * 2 + 16, Duration::from_secs(60));
    tokio::spawn(
        ftl_server::server(Guard::unix(&services.metrics), &services.metrics)
            .add_routes(services.routes)
            .serve_with_incoming(connections.over_unix(unix)),
    );
    println!("ready");
    let wait = || tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    wait().await.expect("no panic").expect("a line");
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / ROWS_PER_SEC));
    for seq in 1..=ROWS_PER_SEC * CROWD_SECS {
        ticks.tick().await;
        // Not waited for: the next row is due before this one is committed.
        drop(store.append_events(&live(), 1, vec![stepped(seq)]));
    }
    let change = Change { to: State::Failed, reason: None, problems: Vec::new() };
    store.transition(&live(), change).await.expect("it runs");
    let lines = times.try_iter().fold(String::new(), |mut lines, (seq, nanos)| {
        let _ = writeln!(lines, "{seq} {nanos}");
        lines
    });
    std::fs::write(commits_file(home), lines).expect("it can be written");
    println!("fed");
    wait().await.expect("no panic").expect("a line");
}

async fn create(store: &Store, dir: &DataDir, id: JobId) {
    let directory = dir.job(&id);
    let job = NewJob {
        id,
        name: "bench".to_owned(),
        spec: JobSpec::default(),
        directory,
        request_id: None,
        parent: None,
    };
    store.create_job(job).await.expect("a new id");
}

async fn run(store: &Store, dir: &DataDir, id: JobId) {
    create(store, dir, id.clone()).await;
    store.begin_attempt(&id).await.expect("it is queued");
    let change = Change { to: State::Running, reason: None, problems: Vec::new() };
    store.transition(&id, change).await.expect("it is starting");
}

fn stepped(step: u64) -> EventRecord {
    let stepped = Stepped {
        step,
        epoch: step as f64 / 7.0,
        loss_nats: 2.5,
        grad_norm: 0.3,
        learning_rate: 2e-4,
        tokens: 4_096,
        supervised_tokens: 1_024,
        samples: 4,
        tokens_per_sec: 1_234.5,
        samples_per_sec: 1.25,
        step_millis: 3_317.0,
        data_millis: 0.01,
        rewards: None,
    };
    EventRecord { seq: step, time_unix_ms: 1_700_000_000_000 + step, event: Event::Stepped(stepped) }
}

async fn measure(home: &Path) -> String {
    let mut service = Service::start(home);
    let clients = service.clients().await;
    let rss_idle = service.memory("VmRSS");

    let mut millis = Vec::new();
    let mut token = None;
    for _ in 0..400 {
        let began = Instant::now();
        let request = PageRequest { page_size: 50, page_token: token };
        let page = clients[0].jobs(&request, &[]).await.expect("a page");
        millis.push(began.elapsed().as_secs_f64() * 1e3);
        token = page.next_page_token;
    }
    let list = Spread::of(millis);

    let began = Instant::now();
    let mut rows = Box::pin(clients[0].stream_metrics(&large(), 0, Follow::Committed));
    let mut n_rows = 0;
    while let Some(row) = rows.next().await {
        row.expect("a row");
        n_rows += 1;
    }
    assert_eq!(n_rows, N_ROWS);
    let replayed_per_sec = n_rows as f64 / began.elapsed().as_secs_f64();
    let rss_replay = service.memory("VmHWM");

    let crowd = crowd(&clients, &mut service).await;
    let rss_crowd = service.memory("VmHWM");

    let replays = replays(&clients).await;
    let rss_replays = service.memory("VmHWM");
    format!(
        "{{\n  \"what\": \"streams over a Unix socket, service and clients in two processes on one machine\",\n  \
         \"command\": \"cargo bench -p ftl-server --bench streams\",\n  \
         \"n_threads\": {},\n  \
         \"crowd\": {{ \"subscribers\": {N_SUBSCRIBERS}, \"rows_per_sec\": {ROWS_PER_SEC}, \"seconds\": {CROWD_SECS}, \
         \"rows_received\": {}, \"gaps\": {}, \"commit_to_receipt_millis\": {}, \"service_peak_rss_mb\": {} }},\n  \
         \"replay\": {{ \"rows\": {N_ROWS}, \"rows_per_sec\": {:.0}, \"service_peak_rss_mb\": {} }},\n  \
         \"crowd_of_replays\": {{ \"subscribers\": {N_SUBSCRIBERS}, \"rows_received\": {}, \"rows_per_sec\": {:.0}, \
         \"service_peak_rss_mb\": {} }},\n  \
         \"list_50_of_10000_jobs_millis\": {},\n  \
         \"service_rss_idle_mb\": {}\n}}",
        std::thread::available_parallelism().map_or(1, usize::from),
        crowd.n_rows,
        crowd.n_gaps,
        crowd.latency.json(),
        rss_crowd / 1_000,
        replayed_per_sec,
        rss_replay / 1_000,
        replays.0,
        replays.0 as f64 / replays.1,
        rss_replays / 1_000,
        list.json(),
        rss_idle / 1_000,
    )
}

struct Crowd {
    n_rows: u64,
    n_gaps: u64,
    latency: Spread,
}

async fn crowd(clients: &[Client], service: &mut Service) -> Crowd {
    let mut watching = tokio::task::JoinSet::new();
    for number in 0..N_SUBSCRIBERS {
        let client = clients[number % clients.len()].clone();
        watching.spawn(async move {
            let mut events = client.watch_events(&live(), 0);
            let mut seen = Vec::with_capacity(usize::try_from(ROWS_PER_SEC * CROWD_SECS).expect("few") + 4);
            while let Some(event) = events.next().await {
                let seq = event.expect("an event").record.seq;
                seen.push((seq, unix_nanos()));
            }
            seen
        });
    }
    // Until all have what was there before.
    tokio::time::sleep(Duration::from_secs(5)).await;
    service.say();
    let seen = watching.join_all().await;
    service.hear("fed");
    let commits = std::fs::read_to_string(commits_file(&service.home)).expect("it was written");
    let commits: Vec<(u64, u64)> = commits
        .lines()
        .map(|line| line.split_once(' ').expect("two numbers"))
        .map(|(seq, nanos)| (seq.parse().expect("a number"), nanos.parse().expect("a number")))
        .collect();
    let (mut n_rows, mut n_gaps, mut millis) = (0, 0, Vec::new());
    for seen in &seen {
        let last = seen.last().map_or(0, |(seq, _)| *seq);
        n_rows += seen.len() as u64;
        n_gaps +=
            u64::from(!seen.iter().map(|(seq, _)| *seq).eq(1..=last) || last < ROWS_PER_SEC * CROWD_SECS);
        for (seq, received) in seen.iter().filter(|(seq, _)| *seq > 3) {
            let place = commits.partition_point(|(until, _)| until < seq);
            if let Some((_, committed)) = commits.get(place) {
                millis.push(received.saturating_sub(*committed) as f64 / 1e6);
            }
        }
    }
    Crowd { n_rows, n_gaps, latency: Spread::of(millis) }
}

/// All subscribers replay the followed job, which is at rest now, at once. How many rows came in how many seconds.
async fn replays(clients: &[Client]) -> (u64, f64) {
    let began = Instant::now();
    let mut watching = tokio::task::JoinSet::new();
    for number in 0..N_SUBSCRIBERS {
        let client = clients[number % clients.len()].clone();
        watching.spawn(async move {
            let mut events = client.watch_events(&live(), 0);
            let mut n_rows = 0;
            while let Some(event) = events.next().await {
                event.expect("an event");
                n_rows += 1;
            }
            n_rows
        });
    }
    (watching.join_all().await.into_iter().sum(), began.elapsed().as_secs_f64())
}

/// The middle and the end of what was measured.
struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    fn of(mut sorted: Vec<f64>) -> Self {
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    fn json(&self) -> String {
        let at = |share: f64| self.sorted[((self.sorted.len() - 1) as f64 * share) as usize];
        format!("{{ \"p50\": {:.2}, \"p99\": {:.2}, \"max\": {:.2} }}", at(0.5), at(0.99), at(1.0))
    }
}

/// The child.
struct Service {
    home: PathBuf,
    child: Child,
    said: std::io::BufReader<std::process::ChildStdout>,
}

impl Service {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("serve")
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let said = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        let mut service = Self { home: home.to_owned(), child, said };
        service.hear("ready");
        service
    }

    async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..N_CONNECTIONS {
            let endpoint = Endpoint::Unix(socket(&self.home));
            clients.push(Client::connect(&endpoint).await.expect("it answers"));
        }
        clients
    }

    fn say(&mut self) {
        use std::io::Write as _;
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").and_then(|()| stdin.flush()).expect("the child reads");
    }

    fn hear(&mut self, word: &str) {
        use std::io::BufRead as _;
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the child speaks");
        assert_eq!(line.trim(), word);
    }

    /// A line of the child's `/proc/PID/status`, in kB.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
