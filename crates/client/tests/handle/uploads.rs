//! Files that are sent, and checks that are streamed.

use std::fs;
use std::sync::{Arc, Mutex};

use ftl_client::wire::v1;
use ftl_client::{ClientError, FileToSend};
use ftl_core::dataset::{CheckPart, DataCheck, Upload};
use futures_util::StreamExt as _;
use tonic::Status;

use crate::draw::{Draw, full};
use crate::fake::{End, Fake, Pair};

const MIB: usize = 1 << 20;

/// A file of two and a half chunks.
fn file(pair: &Pair) -> FileToSend {
    let path = pair.folder.path().join("rows.jsonl");
    fs::write(&path, vec![b'x'; 2 * MIB + MIB / 2]).expect("written");
    FileToSend::read(&path).expect("it is there")
}

fn upload(file: &FileToSend, received_bytes: usize) -> v1::Upload {
    let received_bytes = received_bytes as u64;
    v1::Upload { sha256: file.sha256.clone(), received_bytes, complete: received_bytes == file.bytes }
}

fn sent(fake: &Fake) -> Vec<String> {
    let calls = fake.calls().into_iter().filter(|call| call.method == "upload_dataset");
    calls.map(|call| call.request).collect()
}

#[tokio::test]
async fn a_file_is_sent_in_chunks_and_told_as_it_goes() {
    let pair = Pair::new().await;
    let Pair { fake, client, .. } = &pair;
    let file = file(&pair);
    assert_eq!((file.bytes, file.sha256.len()), (2_621_440, 64));
    fake.refuse::<v1::Upload>("get_upload", Status::not_found("there is no upload"));
    fake.answer("upload_dataset", upload(&file, 5 * MIB / 2));
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let all = client.send_file(&file, move |bytes| tell.lock().expect("no panic").push(bytes)).await;
    let all = all.expect("it arrives");
    assert_eq!(all, Upload { sha256: file.sha256.clone(), received_bytes: file.bytes, is_complete: true });
    assert_eq!(*told.lock().expect("no panic"), [1_048_576, 2_097_152, 2_621_440]);
    assert_eq!(sent(fake), ["[(0, 1048576), (1048576, 1048576), (2097152, 524288)]"]);
}

#[tokio::test]
async fn what_has_arrived_before_is_not_sent_again() {
    let pair = Pair::new().await;
    let Pair { fake, client, .. } = &pair;
    let file = file(&pair);
    fake.answer("get_upload", upload(&file, 2 * MIB));
    fake.answer("upload_dataset", upload(&file, 5 * MIB / 2));
    client.send_file(&file, |_| {}).await.expect("it arrives");
    assert_eq!(sent(fake), ["[(2097152, 524288)]"]);

    fake.answer("get_upload", upload(&file, 5 * MIB / 2));
    client.send_file(&file, |_| {}).await.expect("it is there");
    assert_eq!(sent(fake).len(), 1);
}

#[tokio::test]
async fn an_upload_goes_on_where_the_server_was_when_it_went_away() {
    let pair = Pair::new().await;
    let Pair { fake, client, .. } = &pair;
    let file = file(&pair);
    fake.refuse::<v1::Upload>("get_upload", Status::not_found("there is no upload"));
    fake.refuse::<v1::Upload>("upload_dataset", Status::unavailable("it ends"));
    fake.answer("get_upload", upload(&file, MIB));
    fake.answer("upload_dataset", upload(&file, 5 * MIB / 2));
    client.send_file(&file, |_| {}).await.expect("it arrives");
    assert_eq!(sent(fake)[1], "[(1048576, 1048576), (2097152, 524288)]");
}

#[tokio::test]
async fn a_refusal_ends_an_upload_and_so_does_a_server_that_never_gets_on() {
    let pair = Pair::new().await;
    let Pair { fake, client, .. } = &pair;
    let file = file(&pair);
    fake.answer("get_upload", upload(&file, 0));
    fake.refuse::<v1::Upload>("upload_dataset", Status::resource_exhausted("the disk is full"));
    let error = client.send_file(&file, |_| {}).await.expect_err("no room");
    assert!(matches!(error, ClientError::Exhausted(_)), "{error:?}");

    for _ in 0..5 {
        fake.answer("get_upload", upload(&file, 0));
        fake.refuse::<v1::Upload>("upload_dataset", Status::unavailable("it ends"));
    }
    let error = client.send_file(&file, |_| {}).await.expect_err("it never gets on");
    assert!(matches!(error, ClientError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_file_that_can_not_be_read_is_refused_here() {
    let pair = Pair::new().await;
    let Pair { fake, client, .. } = &pair;
    let folder = pair.folder.path();
    let error = FileToSend::read(folder).expect_err("a folder").to_string();
    assert!(error.ends_with("a folder can't be sent, only a file; send its files one by one"), "{error}");
    assert!(
        FileToSend::read(&folder.join("nothing")).expect_err("nothing").to_string().contains("can't be read")
    );

    let file = file(&pair);
    fs::write(&file.path, "short").expect("written");
    fake.answer("get_upload", upload(&file, 0));
    fake.answer("upload_dataset", upload(&file, 0));
    let error = client.send_file(&file, |_| {}).await.expect_err("it changed").to_string();
    assert!(error.ends_with("the file became shorter while it was sent"), "{error}");
}

#[tokio::test]
async fn a_check_gives_its_parts_and_stops_when_nobody_listens() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let parts: Vec<CheckPart> =
        [full(Draw::check_part), CheckPart::Report(Box::new(full(Draw::report)))].into();
    let messages = parts.iter().map(|part| Ok(part.clone().into())).collect();
    fake.stream::<v1::ValidateDatasetResponse>("validate_dataset", messages, End::Close);
    let check = DataCheck { data: full(Draw::spec).data, model: Some("org/small".to_owned()) };
    let found: Vec<_> = client.check_data(&check).map(|part| part.expect("a part")).collect().await;
    assert_eq!(format!("{found:?}"), format!("{parts:?}"));
    let request = v1::ValidateDatasetRequest { check: Some(check.clone().into()) };
    assert_eq!(fake.calls().pop().expect("it was asked").request, format!("{request:?}"));

    let messages = vec![Ok(full(Draw::check_part).into())];
    fake.stream::<v1::ValidateDatasetResponse>("validate_dataset", messages, End::Silence);
    let mut found = client.check_data(&check);
    found.next().await.expect("a part").expect("no error");
    drop(found);
    fake.streams_dropped(2).await;

    let messages = vec![Err(Status::invalid_argument("no file"))];
    fake.stream::<v1::ValidateDatasetResponse>("validate_dataset", messages, End::Close);
    let refused = client.check_data(&check).next().await.expect("an item").expect_err("no file");
    assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
    assert_eq!(fake.n_calls("validate_dataset"), 3);
}
