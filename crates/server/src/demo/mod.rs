//! The whole product in about a minute: a service of its own on a private socket, a job submitted over gRPC, kept in
//! SQLite, trained by a worker process and watched as it goes; answers and held-out loss before and after.
//!
//! Everything lies in a temporary directory, which is removed at the end unless somebody wants to keep it. The demo
//! speaks to the service as any client does.

mod bundle;
mod questions;
mod story;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use ftl_client::terminal::Follow;
use ftl_client::{Client, ClientError, Endpoint};
use ftl_core::dataset::{CheckPart, DataCheck, Dataset, DatasetReport, ImportSource};
use ftl_core::inference::{InferencePart, InferenceRequest, JobWeights, SamplingSpec, WeightsRef};
use ftl_core::job::{Job, State};
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::spec::{
    AdapterKind, AdapterSpec, DataSpec, EvalSpec, MethodKind, MethodSpec, ModelSpec, TrainSpec,
};
use ftl_core::{JobSpec, PageRequest, Problem, ProblemKind};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::error::ServiceError;
use crate::{Config, ServeError, serve};
use ftl_trainer::data::report::problems;
use questions::Question;

/// Questions that are asked before and after.
const N_QUESTIONS: usize = 3;
/// Rows in which questions are looked for.
const N_ROWS: u32 = 20;
/// Longest answer.
const MAX_NEW_TOKENS: u64 = 48;
/// Steps on somebody's own model or data: enough for the loss to move, and soon over.
const OWN_STEPS: u64 = 60;
/// Rows of somebody's own data that are read, which is a few more than the steps need.
const OWN_ROWS: u64 = 400;
/// Share of them that is held out.
const OWN_EVAL_FRACTION: f64 = 0.1;
/// Longest sample in tokens; longer ones are cut, since this is a taste and not the real run.
const OWN_MAX_LENGTH: u64 = 512;
/// How often the picture is drawn again.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Flags of `ftl-server demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Your own model: a Hugging Face directory. Default: a small one that comes with the program.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Your own data, in any format that a job takes. Default: some hundred questions that come with the program.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Keep everything in DIR, which must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A directory or file of the demo.
    #[error("can't {action} `{}`", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// What the user gave can't be used, or the job failed.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Problem>),
    /// The service did not do what was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The service could not be started.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The service did not start, or broke down.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Somebody pressed Ctrl-C.
    #[error("stopped")]
    Stopped,
}

/// Runs it. Raising `shutdown` ends it early; nothing is left behind then either.
///
/// # Errors
/// [`DemoError`]: bad paths, a job that fails, a service that does not start.
pub async fn run(args: &Args, shutdown: CancellationToken) -> Result<(), DemoError> {
    let home = Home::open(args.keep.as_deref())?;
    let service_ends = shutdown.child_token();
    let config = Config { socket: Some(home.socket()), ..Config::new(home.path().join("data")) };
    let mut service = tokio::spawn(serve(config, service_ends.clone()));
    let told = tokio::select! {
        told = tell(args, &home) => told,
        ended = &mut service => Err(ended.map_err(|error| ServiceError::Internal(Box::new(error)))?.map_or_else(
            DemoError::from,
            |()| DemoError::Stopped,
        )),
        () = shutdown.cancelled() => Err(DemoError::Stopped),
    };
    service_ends.cancel();
    if !service.is_finished() {
        let ended = service.await.map_err(|error| ServiceError::Internal(Box::new(error)))?;
        told.and(ended.map_err(DemoError::from))
    } else {
        told
    }
}

/// Where the demo's files are.
struct Home {
    temporary: tempfile::TempDir,
    kept: Option<PathBuf>,
}

impl Home {
    fn open(keep: Option<&Path>) -> Result<Self, DemoError> {
        let file = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DemoError::File { action, path, source }
        };
        // Its socket is for this user alone, and so is its directory.
        let temporary = tempfile::Builder::new()
            .prefix("finetunelab-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(file("create a directory in", &std::env::temp_dir()))?;
        let kept = keep.map(|keep| {
            std::fs::create_dir_all(keep).map_err(file("create", keep))?;
            if std::fs::read_dir(keep).map_err(file("read", keep))?.next().is_some() {
                let message = format!("`{}` is not empty", keep.display());
                let problem = Problem::new(ProblemKind::OutputExists, message).at("--keep");
                return Err(DemoError::Refused(vec![problem.hint("name a directory that is not there yet")]));
            }
            std::path::absolute(keep).map_err(file("find", keep))
        });
        Ok(Self { temporary, kept: kept.transpose()? })
    }

    fn path(&self) -> &Path {
        self.kept.as_deref().unwrap_or(self.temporary.path())
    }

    /// In the temporary directory in any case: the path of a socket must be short.
    fn socket(&self) -> PathBuf {
        self.temporary.path().join("ftl.sock")
    }
}

/// The demo itself, seen from its client.
async fn tell(args: &Args, home: &Home) -> Result<(), DemoError> {
    let is_own = args.model.is_some() || args.data.is_some();
    say("FineTune Lab: a fine-tune from beginning to end, through the real service.\n");
    let client = connect(&home.socket()).await?;
    let info = client.system_info().await?;
    say(&story::service(info.pid, &home.socket()));

    let bundle = bundle::unpack(&home.path().join("examples")).map_err(|source| DemoError::File {
        action: "write",
        path: home.path().join("examples"),
        source,
    })?;
    let model = absolute(args.model.as_deref(), &bundle.model)?;
    let train = absolute(args.data.as_deref(), &bundle.train)?;
    let (_, facts) = client.inspect_model(&model.display().to_string()).await?;
    say(&story::model(&model, &facts));
    let dataset = import(&client, &train).await?;
    say(&story::dataset(&dataset));
    let checked = check(&client, &dataset, &model).await?;
    say(&story::report(&checked, &train, &model));
    if dataset.report.as_ref().is_some_and(|report| !report.is_fit) {
        return Err(DemoError::Refused(problems(&checked)));
    }

    // The bundled questions are held out; somebody's own come from the beginning of the data.
    let asked = match &args.data {
        Some(_) => dataset.clone(),
        None => import(&client, &bundle.eval).await?,
    };
    let page = PageRequest { page_size: N_ROWS, page_token: None };
    let rows = client.preview_dataset(&asked.id, &page).await?.items;
    let questions = questions::questions(&rows, asked.facts.format, N_QUESTIONS);

    let base = WeightsRef::Model { model: model.display().to_string(), adapter: None };
    let before = answers(&client, &questions, &base).await?;

    let spec = match (&args.model, &args.data) {
        (None, None) => JobSpec::read(&bundle.spec).map_err(DemoError::Refused)?,
        (_, data) => {
            let max_length = OWN_MAX_LENGTH.min(facts.context_tokens);
            say(&story::taste(OWN_STEPS, OWN_ROWS, max_length));
            own_spec((&model, max_length), &dataset, data.is_none().then_some(bundle.eval.as_path()))
        }
    };
    say(&story::memory(&client.plan_memory(&spec).await?));
    let began = Instant::now();
    let job = client.create_job(&spec, Some("demo")).await?;
    say(&format!("job        {} is {}\n", job.id, job.state));
    let job = follow(&client, job).await?;
    let elapsed = began.elapsed();
    if job.state != State::Succeeded {
        return Err(DemoError::Refused(job.problems));
    }

    let trained = WeightsRef::Job { id: job.id.clone(), weights: JobWeights::Trained };
    let after = answers(&client, &questions, &trained).await?;
    for ((question, before), after) in questions.iter().zip(&before).zip(&after) {
        say(&story::answers(question, before, after));
    }
    let artifacts = client.artifacts(&job.id).await?;
    say(&story::outcome(&job, &artifacts, job.seq, elapsed));
    say("");
    say(&story::next(home.kept.as_deref(), is_own));
    Ok(())
}

/// The service is being started in this process; its socket appears in a moment.
async fn connect(socket: &Path) -> Result<Client, ClientError> {
    let endpoint = Endpoint::Unix(socket.to_owned());
    loop {
        match Client::connect(&endpoint).await {
            // If it never comes up, whoever started it learns that first and gives this up.
            Err(ClientError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer,
        }
    }
}

async fn import(client: &Client, path: &Path) -> Result<Dataset, DemoError> {
    let source = ImportSource::Path(path.to_owned());
    Ok(client.import_dataset(&source, None, DataFormat::Auto).await?)
}

/// What is found in a dataset when it is held against the model.
async fn check(client: &Client, dataset: &Dataset, model: &Path) -> Result<DatasetReport, DemoError> {
    let data = DataSpec {
        train: vec![PathBuf::from(dataset.id.as_str()).into()],
        // As in the job of a taste: what is too long is cut.
        excess_length_strategy: Some(ExcessLength::Truncate),
        ..DataSpec::default()
    };
    let check = DataCheck { data, model: Some(model.display().to_string()) };
    let mut parts = client.check_data(&check);
    while let Some(part) = parts.next().await {
        if let CheckPart::Report(report) = part? {
            return Ok(*report);
        }
    }
    Err(DemoError::Client(ClientError::Protocol("a check ended without a report".to_owned())))
}

/// Draws the job until it is at rest.
async fn follow(client: &Client, job: Job) -> Result<Job, DemoError> {
    let mut view = Follow::new(&job);
    let mut events = pin!(client.watch_events(&job.id, 0));
    let mut tick = tokio::time::interval(DRAW_EVERY);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => view.show(&event?),
                None => break,
            },
            _ = tick.tick() => view.tick(),
        }
    }
    view.end();
    Ok(client.job(&job.id).await?)
}

async fn answers(
    client: &Client,
    questions: &[Question],
    weights: &WeightsRef,
) -> Result<Vec<String>, DemoError> {
    let mut answers = Vec::new();
    for question in questions {
        let request = InferenceRequest {
            weights: weights.clone(),
            prompt: question.prompt.clone(),
            sampling: SamplingSpec { max_new_tokens: Some(MAX_NEW_TOKENS), ..SamplingSpec::default() },
            device: None,
        };
        let mut parts = pin!(client.infer(&request));
        let mut answer = String::new();
        while let Some(part) = parts.next().await {
            match part? {
                InferencePart::Text { text } => answer.push_str(&text),
                InferencePart::Started { .. } | InferencePart::Finished { .. } => {}
            }
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// A taste of LoRA on somebody's own model or data.
fn own_spec((model, max_length): (&Path, u64), dataset: &Dataset, eval: Option<&Path>) -> JobSpec {
    let held_out = match eval {
        Some(path) => EvalSpec { fraction: None, path: Some(path.to_owned()) },
        None => EvalSpec { fraction: Some(OWN_EVAL_FRACTION), path: None },
    };
    let (method, excess) = match dataset.facts.format {
        // A file of plain text is one long row.
        DataFormat::Text => (MethodKind::Cpt, ExcessLength::Split),
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Sharegpt
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Preference
        | DataFormat::Tokens => (MethodKind::Sft, ExcessLength::Truncate),
    };
    JobSpec {
        name: Some("demo".to_owned()),
        model: ModelSpec { path: Some(model.to_owned()), ..ModelSpec::default() },
        data: DataSpec {
            train: vec![dataset.path.as_path().into()],
            // Of one row nothing can be held out.
            eval: (eval.is_some() || dataset.facts.n_rows > 1).then_some(held_out),
            max_samples: Some(OWN_ROWS),
            max_length: Some(max_length),
            excess_length_strategy: Some(excess),
            ..DataSpec::default()
        },
        method: MethodSpec { kind: Some(method), ..MethodSpec::default() },
        adapter: AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() },
        train: TrainSpec { max_steps: Some(OWN_STEPS), ..TrainSpec::default() },
        ..JobSpec::default()
    }
}

fn absolute(own: Option<&Path>, bundled: &Path) -> Result<PathBuf, DemoError> {
    let path = own.unwrap_or(bundled);
    path.canonicalize().map_err(|source| DemoError::File { action: "open", path: path.to_owned(), source })
}

fn say(text: &str) {
    // Whoever closed the output does not read it.
    let _ = writeln!(io::stdout(), "{text}");
}
