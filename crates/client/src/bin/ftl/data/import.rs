//! `ftl data import`: has the service keep a dataset, by its path or by its bytes.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use ftl_client::terminal::bytes;
use ftl_client::{Client, FileToSend};
use ftl_core::dataset::{Dataset, ImportSource};
use ftl_core::spec::resolved::DataFormat;

use super::format_parser;
use super::show::print_dataset;
use crate::connection::Context;
use crate::output::{CommandResult, Ended, Failure, Format, note};

/// Flags of `data import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; without --upload also a folder.
    path: PathBuf,
    /// What to call it. Default: the file's name.
    #[arg(long)]
    name: Option<String>,
    /// How its rows are laid out. Default: found out from the file.
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<DataFormat>,
    /// Send the file to the service, which keeps it; for one that can't read it at its path. One that breaks off goes on
    /// where it was.
    #[arg(long)]
    upload: bool,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { path, name, format, upload } = args;
    let path = std::path::absolute(path)?;
    let client = context.client().await?;
    let source = if upload { send(&client, &path).await? } else { ImportSource::Path(path.clone()) };
    if std::io::stderr().is_terminal() {
        // A large file takes minutes.
        note(&format!("the service reads {} …", path.display()));
    }
    let format = format.unwrap_or(DataFormat::Auto);
    let dataset = client.import_dataset(&source, name.as_deref(), format).await?;
    print_dataset(&dataset, context.format)?;
    let Dataset { id, report, .. } = &dataset;
    let is_fit = report.as_ref().is_none_or(|report| report.is_fit);
    match (context.format, is_fit) {
        (Format::Text, true) => note(&format!("name it in a spec as `data.train = \"{id}\"`")),
        (Format::Text | Format::Json, false) => {
            note(&format!(
                "it is kept, but no job can train on it so; `ftl data show {id} --report` says why"
            ));
        }
        (Format::Json, true) => {}
    }
    Ok(if is_fit { Ended::Done } else { Ended::Refused })
}

async fn send(client: &Client, path: &Path) -> Result<ImportSource, Failure> {
    let of = path.to_owned();
    let read = tokio::task::spawn_blocking(move || FileToSend::read(&of)).await;
    let file = read.map_err(std::io::Error::other)??;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let total = file.bytes;
    let is_shown = std::io::stderr().is_terminal();
    let told = move |sent: u64| {
        if is_shown {
            // Nobody reads it any more where that fails.
            let _ = write!(std::io::stderr(), "\rsent  {} of {}\u{1b}[K", bytes(sent), bytes(total));
        }
    };
    let upload = client.send_file(&file, told).await;
    if is_shown {
        note("");
    }
    Ok(ImportSource::Upload { sha256: upload?.sha256, file_name })
}
