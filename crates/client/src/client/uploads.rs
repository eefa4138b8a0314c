//! Files that are sent to a server which can't read them by their path.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftl_core::dataset::Upload;
use ftl_core::{Problem, ProblemKind};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Client;
use crate::error::ClientError;
use crate::wire::v1;
use v1::upload_dataset_request::Kind;

/// Bytes of a chunk: a quarter of what a message may have.
const CHUNK_BYTES: u64 = 1 << 20;
/// Chunks that wait to be sent.
const WAITING: usize = 4;
/// How often a file is gone on with after the connection broke, without a byte more having arrived.
const MAX_TRIES: u32 = 5;

/// A file that was read through once, to know what it is called among uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToSend {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl FileToSend {
    /// Reads a file through. Takes as long as that, so not to be called where others wait.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let mut file = File::open(path).map_err(|error| unread(path, &error))?;
        let is_file = file.metadata().map_err(|error| unread(path, &error))?.is_file();
        if !is_file {
            let message = "a folder can't be sent, only a file";
            let problem = Problem::new(ProblemKind::InvalidValue, message).at(path.display().to_string());
            return Err(ClientError::Refused(vec![problem.hint("send its files one by one")]));
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer).map_err(|error| unread(path, &error))? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.to_owned(), bytes, sha256 })
    }
}

impl Client {
    /// How much of a file has arrived.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if nothing has.
    pub async fn upload(&self, sha256: &str) -> Result<Upload, ClientError> {
        let request = v1::GetUploadRequest { sha256: sha256.to_owned() };
        let upload = self
            .call(self.to_read(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.get_upload(request).await
            })
            .await?;
        Ok(upload.into())
    }

    /// Sends a file, or the rest of it where some has arrived before. Goes on where the connection breaks. `told` is called
    /// with how many bytes were sent so far.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a file that can't be read or changes meanwhile, [`ClientError::Exhausted`] if the server
    /// has no room, and those that every call may have.
    pub async fn send_file(
        &self,
        file: &FileToSend,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Upload, ClientError> {
        let told: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(told);
        let mut pause = self.limits.first_pause;
        let (mut n_tries, mut reached) = (0, 0);
        loop {
            let from = match self.upload(&file.sha256).await {
                Ok(upload) if upload.is_complete => {
                    told(upload.received_bytes);
                    return Ok(upload);
                }
                Ok(upload) => upload.received_bytes,
                Err(ClientError::NotFound(_)) => 0,
                Err(error) => return Err(error),
            };
            if from > reached {
                (n_tries, reached, pause) = (0, from, self.limits.first_pause);
            }
            n_tries += 1;
            match self.send_from(file, from, Arc::clone(&told)).await {
                Ok(upload) if upload.is_complete => return Ok(upload),
                Ok(_) | Err(ClientError::Unavailable(_)) if n_tries < MAX_TRIES => {}
                Ok(Upload { received_bytes, .. }) => {
                    let message = format!("the server ends the upload at byte {received_bytes}");
                    return Err(ClientError::Protocol(message));
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.limits.longest_pause);
        }
    }

    async fn send_from(
        &self,
        file: &FileToSend,
        from: u64,
        told: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Upload, ClientError> {
        let (sender, messages) = mpsc::channel(WAITING);
        let source = file.clone();
        let reader = tokio::task::spawn_blocking(move || read_chunks(&source, from, &sender, &*told));
        let answer = self.datasets_stub().upload_dataset(ReceiverStream::new(messages)).await;
        // Where the server ended the call early, the reader finds nobody to send to.
        let read = reader.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(|error| unread(&file.path, &error))?;
        answer.map(|upload| upload.into_inner().into()).map_err(|status| self.error(status))
    }
}

fn read_chunks(
    source: &FileToSend,
    from: u64,
    sender: &mpsc::Sender<v1::UploadDatasetRequest>,
    told: &(dyn Fn(u64) + Send + Sync),
) -> io::Result<()> {
    let FileToSend { path, bytes: total_bytes, sha256 } = source;
    let send = |kind| sender.blocking_send(v1::UploadDatasetRequest { kind: Some(kind) }).is_ok();
    let content = v1::UploadedContent { sha256: sha256.clone(), total_bytes: *total_bytes };
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut offset = from;
    let mut is_heard = send(Kind::Content(content));
    while is_heard && offset < *total_bytes {
        let length = CHUNK_BYTES.min(total_bytes - offset);
        let mut data = vec![0; usize::try_from(length).expect("a chunk fits into memory")];
        file.read_exact(&mut data)?;
        let sha256 = Sha256::digest(&data).to_vec();
        is_heard = send(Kind::Chunk(v1::UploadChunk { offset, data, sha256 }));
        offset += length;
        told(offset);
    }
    Ok(())
}

fn unread(path: &Path, error: &io::Error) -> ClientError {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file became shorter while it was sent".to_owned(),
        _ => format!("the file can't be read: {error}"),
    };
    let problem = Problem::new(ProblemKind::NotFound, message).at(path.display().to_string());
    ClientError::Refused(vec![problem])
}
