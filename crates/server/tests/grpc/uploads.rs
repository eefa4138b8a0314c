//! Files that clients send, and datasets of them.

use std::fs;
use std::path::Path;

use ftl_client::wire::v1;
use ftl_client::wire::v1::dataset_service_client::DatasetServiceClient;
use ftl_core::DatasetId;
use ftl_server::datasets::Datasets;
use ftl_server::hugging_face::Cache;
use ftl_server::resolve::Resolver;
use ftl_server::worker::Workers;
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};
use v1::import_dataset_request::Source;
use v1::upload_dataset_request::Kind;

use super::support::{Service, assert_refused};

fn text() -> Vec<u8> {
    (1..=50).map(|number| format!("{{\"text\": \"row {number}\"}}\n")).collect::<String>().into_bytes()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content(bytes: &[u8]) -> v1::UploadDatasetRequest {
    let content = v1::UploadedContent { sha256: hash(bytes), total_bytes: bytes.len() as u64 };
    v1::UploadDatasetRequest { kind: Some(Kind::Content(content)) }
}

fn chunk(bytes: &[u8], from: usize, to: usize) -> v1::UploadDatasetRequest {
    let data = bytes[from..to].to_vec();
    let sha256 = Sha256::digest(&data).to_vec();
    v1::UploadDatasetRequest {
        kind: Some(Kind::Chunk(v1::UploadChunk { offset: from as u64, data, sha256 })),
    }
}

async fn send(
    client: &mut DatasetServiceClient<Channel>,
    messages: Vec<v1::UploadDatasetRequest>,
) -> Result<v1::Upload, Status> {
    client.upload_dataset(tokio_stream::iter(messages)).await.map(tonic::Response::into_inner)
}

async fn state(client: &mut DatasetServiceClient<Channel>, bytes: &[u8]) -> Result<v1::Upload, Status> {
    client.get_upload(v1::GetUploadRequest { sha256: hash(bytes) }).await.map(tonic::Response::into_inner)
}

fn import(bytes: &[u8], file_name: &str) -> v1::ImportDatasetRequest {
    let upload = v1::UploadedFile { sha256: hash(bytes), file_name: file_name.to_owned() };
    v1::ImportDatasetRequest { source: Some(Source::Upload(upload)), name: String::new(), format: 0 }
}

fn n_files(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a directory").count()
}

#[tokio::test]
async fn a_file_that_was_sent_becomes_a_dataset_that_owns_it() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = text();
    let sent =
        send(&mut client, vec![content(&bytes), chunk(&bytes, 0, 100), chunk(&bytes, 100, bytes.len())]);
    let sent = sent.await.expect("it arrives");
    assert_eq!((sent.received_bytes, sent.complete), (bytes.len() as u64, true));
    assert_eq!(state(&mut client, &bytes).await.expect("it is there"), sent);
    // Sent again, it is there already.
    assert_eq!(send(&mut client, vec![content(&bytes)]).await.expect("it is there"), sent);

    let dataset = client.import_dataset(import(&bytes, "mine.jsonl")).await.expect("good data").into_inner();
    assert_eq!((dataset.name.as_str(), dataset.row_count), ("mine.jsonl", 50));
    assert_eq!((dataset.owner(), dataset.sha256.clone()), (v1::dataset::Owner::Service, hash(&bytes)));
    assert_eq!(fs::read(&dataset.path).expect("its own file"), bytes);
    // Nothing is there twice.
    assert_eq!(n_files(&service.dir.uploads()), 0);
    assert_eq!(state(&mut client, &bytes).await.expect_err("it was used").code(), Code::NotFound);

    client.delete_dataset(v1::DeleteDatasetRequest { id: dataset.id }).await.expect("it is there");
    assert!(!Path::new(&dataset.path).exists());
    assert_eq!(n_files(&service.dir.datasets()), 0);
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_where_it_was() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = text();
    // The client ends early.
    let part = send(&mut client, vec![content(&bytes), chunk(&bytes, 0, 300)]).await.expect("a part");
    assert_eq!((part.received_bytes, part.complete), (300, false));
    // The client dies in the middle.
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut other = client.clone();
    let dying = tokio::spawn(async move { other.upload_dataset(stream).await });
    for message in [content(&bytes), chunk(&bytes, 300, 400)] {
        sender.send(message).await.expect("it listens");
    }
    while state(&mut client, &bytes).await.expect("a part").received_bytes < 400 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Two at once would write over each other.
    let status = send(&mut client, vec![content(&bytes)]).await.expect_err("another client sends it");
    let message = format!("the upload `{}` is busy", hash(&bytes));
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("sha256", &message));
    let status = client.import_dataset(import(&bytes, "mine.jsonl")).await.expect_err("it is not whole");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    dying.abort();
    drop(sender);

    let rest = || vec![content(&bytes), chunk(&bytes, 400, bytes.len())];
    let mut sent = send(&mut client, rest()).await;
    while sent.as_ref().is_err_and(|status| status.code() == Code::FailedPrecondition) {
        // The service learns in a moment that the other is gone.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        sent = send(&mut client, rest()).await;
    }
    assert!(sent.expect("the rest arrives").complete);
    let dataset = client.import_dataset(import(&bytes, "mine.jsonl")).await.expect("good data").into_inner();
    assert_eq!(fs::read(dataset.path).expect("its file"), bytes);
}

#[tokio::test]
async fn chunks_that_do_not_fit_are_refused_and_what_arrived_stays() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = text();
    let n_bytes = bytes.len();
    let damaged = |mut message: v1::UploadDatasetRequest| {
        if let Some(Kind::Chunk(chunk)) = &mut message.kind {
            chunk.data[0] ^= 1;
        }
        message
    };
    let mut longer = bytes.clone();
    longer.extend(b"more");
    let huge = vec![b' '; (3 << 20) + 1];
    let empty = chunk(&bytes, 100, 100);
    let cases = [
        (
            chunk(&bytes, 0, 50),
            "chunk.offset",
            "the chunk begins at byte 0, the next one is byte 100".to_owned(),
        ),
        (chunk(&bytes, 101, 150), "chunk.offset", "the next one is byte 100".to_owned()),
        (
            damaged(chunk(&bytes, 100, 150)),
            "chunk.sha256",
            "the bytes from 100 on arrived damaged".to_owned(),
        ),
        (chunk(&longer, 100, longer.len()), "chunk.data", format!("the file has {n_bytes}")),
        (empty, "chunk.data", "this one has 0".to_owned()),
    ];
    let first = send(&mut client, vec![content(&bytes), chunk(&bytes, 0, 100)]).await.expect("a part");
    assert_eq!(first.received_bytes, 100);
    for (message, field, expected) in cases {
        let status = send(&mut client, vec![content(&bytes), message]).await.expect_err(field);
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", (field, &expected));
        assert_eq!(state(&mut client, &bytes).await.expect("a part").received_bytes, 100);
    }
    let status =
        send(&mut client, vec![content(&huge), chunk(&huge, 0, huge.len())]).await.expect_err("too large");
    assert_refused(
        &status,
        Code::InvalidArgument,
        "INVALID_VALUE",
        ("chunk.data", "a chunk has 1 to 3145728 bytes"),
    );

    let order = [
        (vec![chunk(&bytes, 0, 50)], "the first message of an upload must be `content`"),
        (vec![], "the first message of an upload must be `content`"),
        (
            vec![content(&bytes), content(&bytes)],
            "after the first message of an upload only `chunk` can follow",
        ),
    ];
    for (messages, expected) in order {
        let status = send(&mut client, messages).await.expect_err(expected);
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("kind", expected));
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_was_said_to_be_is_deleted() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = text();
    let mut other = bytes.clone();
    other[10] ^= 1;
    let status = send(&mut client, vec![content(&bytes), chunk(&other, 0, other.len())]).await;
    let status = status.expect_err("another file");
    let message = format!("have SHA-256 `{}` and not `{}`, so they were deleted", hash(&other), hash(&bytes));
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("content.sha256", &message));
    assert_eq!(n_files(&service.dir.uploads()), 0);
    assert_eq!(state(&mut client, &bytes).await.expect_err("nothing is left").code(), Code::NotFound);
}

#[tokio::test]
async fn uploads_that_can_not_be_are_refused() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    for sha256 in ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(65)] {
        let message = "is no SHA-256, which has 64 digits 0 to 9 and a to f";
        let get = v1::GetUploadRequest { sha256: sha256.to_owned() };
        let status = client.get_upload(get).await.expect_err("no hash");
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("sha256", message));
        let kind = Kind::Content(v1::UploadedContent { sha256: sha256.to_owned(), total_bytes: 5 });
        let status = send(&mut client, vec![v1::UploadDatasetRequest { kind: Some(kind) }]).await;
        let status = status.expect_err("no hash");
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("content.sha256", message));
    }
    let kind = Kind::Content(v1::UploadedContent { sha256: "a".repeat(64), total_bytes: 1 << 60 });
    let status = send(&mut client, vec![v1::UploadDatasetRequest { kind: Some(kind) }]).await;
    let message = "1152921504606846976 bytes are to be sent, and the disk of the data directory has room for";
    let status = status.expect_err("no disk is so large");
    assert_refused(&status, Code::ResourceExhausted, "STORAGE", ("total_bytes", message));

    let bytes = text();
    let status = client.import_dataset(import(&bytes, "x.jsonl")).await.expect_err("it was never sent");
    let message = format!("there is no upload `{}`", hash(&bytes));
    assert_refused(&status, Code::NotFound, "UPLOAD_NOT_FOUND", ("", &message));
    for name in ["", "..", ".hidden", "a/b.jsonl", "a\\b", "a\nb", &"x".repeat(300)] {
        let mut request = import(&bytes, name);
        request.name = "called".to_owned();
        let status = client.import_dataset(request).await.expect_err("no name of a file");
        let problems = ftl_client::wire::details::unpack(&status).problems;
        assert_eq!(problems[0].field.as_deref(), Some("upload.file_name"), "{name:?} {problems:?}");
    }
    assert_eq!(n_files(&service.dir.datasets()), 0);
}

#[tokio::test]
async fn a_file_that_holds_no_data_is_refused_and_the_upload_stays() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and so on".to_vec();
    send(&mut client, vec![content(&bytes), chunk(&bytes, 0, bytes.len())]).await.expect("it arrives");
    let status = client.import_dataset(import(&bytes, "cat.png")).await.expect_err("a picture");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("cat.png"), "{status:?}");
    assert_eq!(n_files(&service.dir.datasets()), 0);
    assert!(state(&mut client, &bytes).await.expect("it is there").complete);
}

#[tokio::test]
async fn what_a_dead_service_left_half_done_is_deleted_and_the_rest_stays() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let bytes = text();
    let all = vec![content(&bytes), chunk(&bytes, 0, bytes.len())];
    send(&mut client, all).await.expect("it arrives");
    let dataset = client.import_dataset(import(&bytes, "mine.jsonl")).await.expect("good data").into_inner();
    // It died between making the folder and keeping the dataset.
    let folder = |bits: u64| {
        let folder = service.dir.datasets().join(DatasetId::from_bits(bits).as_str());
        fs::create_dir(&folder).expect("a directory");
        fs::write(folder.join("rows.jsonl"), &bytes).expect("written");
        folder
    };
    let stray = folder(3);
    fs::write(stray.join(".not-kept"), "").expect("written");
    // Of a dataset that is newer than the backup of the database that was put back.
    let unknown = folder(4);
    // It died while it deleted this one, before the dataset was gone.
    let half_deleted = Path::new(&dataset.path).parent().expect("a folder").join(".not-kept");
    fs::write(&half_deleted, "").expect("written");
    let other = service.dir.datasets().join("not ours");
    fs::create_dir(&other).expect("a directory");
    let upload = |name: &str, days: u64| {
        let file = fs::File::create(service.dir.uploads().join(name)).expect("written");
        let age = std::time::Duration::from_secs(days * 24 * 3600);
        file.set_modified(std::time::SystemTime::now() - age).expect("a time");
    };
    upload(&format!("{}.part", "a".repeat(64)), 6);
    upload(&format!("{}.part", "b".repeat(64)), 8);

    let workers = Workers::start(env!("CARGO_BIN_EXE_ftl-server").into(), service.dir.workers());
    let resolver = Resolver::new(service.store.clone(), Cache::at(service.home.path().join("hub")));
    let workers = workers.expect("a place for logs");
    Datasets::start(service.store.clone(), workers, service.dir.clone(), resolver).await.expect("cleaned up");
    assert!(!stray.exists() && other.is_dir() && Path::new(&dataset.path).is_file());
    assert!(unknown.join("rows.jsonl").is_file() && !half_deleted.exists());
    let left: Vec<_> = fs::read_dir(service.dir.uploads()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].file_name().to_string_lossy().starts_with('a'), "{left:?}");
}
