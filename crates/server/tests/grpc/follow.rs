//! Streams of events.

use ftl_client::wire::v1;
use ftl_client::wire::v1::job_service_client::JobServiceClient;
use ftl_client::wire::v1::stream_metrics_response::Item as Metric;
use ftl_client::wire::v1::watch_events_response::Item;
use ftl_core::JobId;
use ftl_core::job::State;
use ftl_server::commits::Commits;
use ftl_server::grpc::{MAX_FOLLOWERS, MAX_STREAMS};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::support::{LONG, Service, assert_refused, phase};

async fn watch(
    channel: &Channel,
    id: &JobId,
    after_seq: u64,
) -> Result<Streaming<v1::WatchEventsResponse>, Status> {
    let request = v1::WatchEventsRequest { job_id: id.to_string(), after_seq };
    Ok(JobServiceClient::new(channel.clone()).watch_events(request).await?.into_inner())
}

async fn next(stream: &mut Streaming<v1::WatchEventsResponse>) -> Result<Option<Item>, Status> {
    let message = timeout(LONG, stream.message()).await.expect("the stream says something");
    Ok(message?.map(|message| message.item.expect("an item")))
}

/// The numbers of all events up to the end of the stream.
async fn seqs(mut stream: Streaming<v1::WatchEventsResponse>) -> Result<Vec<u64>, Status> {
    let mut seqs = Vec::new();
    while let Some(item) = next(&mut stream).await? {
        match item {
            Item::Event(event) => seqs.push(event.seq),
            Item::Heartbeat(_) => {}
        }
    }
    Ok(seqs)
}

#[test]
fn job_that_nobody_listens_to_has_no_channel() {
    let commits = Commits::new();
    let (one, two) = (JobId::from_bits(1), JobId::from_bits(2));
    commits.published(&one, 1);
    assert_eq!(commits.n_channels(), 0);
    let (mut first, second, other) =
        (commits.subscribe(&one), commits.subscribe(&one), commits.subscribe(&two));
    assert_eq!(commits.n_channels(), 2);
    commits.published(&one, 7);
    assert_eq!((*first.borrow_and_update(), *second.borrow(), *other.borrow()), (7, 7, 0));
    drop((first, second));
    commits.published(&one, 8);
    assert_eq!(commits.n_channels(), 1);
    // One whose job is never heard of again goes when somebody else comes.
    drop(other);
    let _first = commits.subscribe(&one);
    assert_eq!(commits.n_channels(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watchers_see_every_event_once_and_in_order() {
    let service = Service::start().await;
    let id = service.running_job().await;
    service.steps(&id, 1, 500).await;
    let mut watchers = tokio::task::JoinSet::new();
    // Two connections, and some watchers begin in the middle.
    let channels = [service.channel().await, service.channel().await];
    for number in 0..100_u64 {
        let after_seq = (number % 4) * 100;
        let stream = watch(&channels[number as usize % 2], &id, after_seq).await.expect("it begins");
        watchers.spawn(async move { (after_seq, seqs(stream).await.expect("no error")) });
    }
    for part in 0..50 {
        service.steps(&id, 501 + part * 100, 600 + part * 100).await;
    }
    let last = service.transition(&id, State::Succeeded).await.seq;
    assert!(last > 5_500, "{last}");
    while let Some(watched) = watchers.join_next().await {
        let (after_seq, seqs) = watched.expect("no panic");
        assert_eq!(seqs, (after_seq + 1..=last).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn stream_of_a_job_at_rest_ends_with_its_last_event() {
    let service = Service::start().await;
    let id = service.running_job().await;
    // More than is read at once, and exactly as much.
    service.steps(&id, 1, 2_000 - 3).await;
    service.transition(&id, State::Failed).await;
    let channel = service.channel().await;
    let all = seqs(watch(&channel, &id, 0).await.expect("it begins")).await.expect("no error");
    assert_eq!(all, (1..=2_001).collect::<Vec<_>>());
    let rest = seqs(watch(&channel, &id, 1_001).await.expect("it begins")).await.expect("no error");
    assert_eq!(rest, (1_002..=2_001).collect::<Vec<_>>());
    let none = seqs(watch(&channel, &id, 2_001).await.expect("it begins")).await.expect("no error");
    assert_eq!(none, Vec::<u64>::new());
}

#[tokio::test]
async fn cursor_beyond_the_last_event_is_refused() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let channel = service.channel().await;
    let status = watch(&channel, &id, 4).await.expect_err("there are three events");
    let message = "4 is beyond the job's last event, which is 3";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("after_seq", message));
    watch(&channel, &id, 3).await.expect("the last one is none too many");
}

#[tokio::test]
async fn metrics_are_steps_and_evaluations_alone() {
    let service = Service::start().await;
    let id = service.running_job().await;
    service.store.append_events(&id, 1, vec![phase(1)]).await.expect("kept");
    service.steps(&id, 2, 4).await;
    let mut client = JobServiceClient::new(service.channel().await);
    let committed = v1::StreamMetricsRequest { job_id: id.to_string(), after_seq: 0, committed_only: true };
    let mut stream = client.stream_metrics(committed.clone()).await.expect("it begins").into_inner();
    let mut steps = Vec::new();
    while let Some(message) =
        timeout(LONG, stream.message()).await.expect("it ends by itself").expect("no error")
    {
        let Some(Metric::Metric(event)) = message.item else { panic!("{message:?}") };
        let Some(v1::job_event::Event::Stepped(stepped)) = event.event else { panic!("{event:?}") };
        steps.push((event.seq, stepped.step));
    }
    assert_eq!(steps, [(5, 2), (6, 3), (7, 4)]);

    let live = v1::StreamMetricsRequest { committed_only: false, after_seq: 6, ..committed };
    let mut stream = client.stream_metrics(live).await.expect("it begins").into_inner();
    service.steps(&id, 5, 5).await;
    service.transition(&id, State::Succeeded).await;
    let mut seqs = Vec::new();
    while let Some(message) = timeout(LONG, stream.message()).await.expect("it ends").expect("no error") {
        if let Some(Metric::Metric(event)) = message.item {
            seqs.push(event.seq);
        }
    }
    assert_eq!(seqs, [7, 8]);
}

#[tokio::test]
async fn stream_of_a_deleted_job_ends_with_not_found() {
    let service = Service::start().await;
    let id = service.running_job().await;
    // More than fits between service and client, so that the stream stands in the middle of the job's events.
    for part in 0..50 {
        service.steps(&id, part * 1_000 + 1, (part + 1) * 1_000).await;
    }
    let channel = service.channel().await;
    let mut stream = watch(&channel, &id, 0).await.expect("it begins");
    next(&mut stream).await.expect("an event").expect("one");
    service.transition(&id, State::Failed).await;
    service.store.delete_job(&id).await.expect("it is at rest");
    let status = loop {
        match next(&mut stream).await {
            Ok(item) => assert!(item.is_some(), "it ends as if that were all"),
            Err(status) => break status,
        }
    };
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", "there is no job"));
    let status = watch(&channel, &id, 0).await.expect_err("it is gone");
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", "there is no job"));
}

#[tokio::test]
async fn quiet_stream_sends_heartbeats_with_the_last_number() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let mut stream = watch(&service.channel().await, &id, 3).await.expect("it begins");
    let item = next(&mut stream).await.expect("no error").expect("no end");
    assert_eq!(item, Item::Heartbeat(v1::Heartbeat { seq: 3 }));
}

#[tokio::test]
async fn every_stream_ends_with_unavailable_when_the_service_ends() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let channel = service.channel().await;
    let mut quiet = watch(&channel, &id, 3).await.expect("it begins");
    let mut gpus = v1::system_service_client::SystemServiceClient::new(channel.clone())
        .watch_gpus(v1::WatchGpusRequest { interval_millis: 60_000 })
        .await
        .expect("it begins")
        .into_inner();
    gpus.message().await.expect("a reading").expect("one");
    service.shutdown.cancel();
    let message = "the service is shutting down";
    let status = next(&mut quiet).await.expect_err("it ends");
    assert_refused(&status, Code::Unavailable, "SHUTTING_DOWN", ("", message));
    let status = timeout(LONG, gpus.message()).await.expect("it ends").expect_err("it ends");
    assert_refused(&status, Code::Unavailable, "SHUTTING_DOWN", ("", message));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_follower_more_than_there_are_is_refused_and_a_place_becomes_free_again() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(service.channel().await);
    }
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..MAX_FOLLOWERS {
        let (channel, id) = (channels[number % channels.len()].clone(), id.clone());
        opening.spawn(async move { watch(&channel, &id, 0).await.expect("there is a place") });
    }
    let streams = opening.join_all().await;
    let channel = service.channel().await;
    let status = watch(&channel, &id, 0).await.expect_err("all places are taken");
    let message = format!("{MAX_FOLLOWERS} streams of this kind are open");
    assert_refused(&status, Code::ResourceExhausted, "INVALID_VALUE", ("", &message));
    assert!(status.message().contains("end some, or ask again later"), "{status:?}");
    JobServiceClient::new(channel.clone())
        .get_job(v1::GetJobRequest { id: id.to_string() })
        .await
        .expect("what is no stream is answered");
    drop(streams);
    let until = tokio::time::Instant::now() + LONG;
    while watch(&channel, &id, 0).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "no place becomes free");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_watcher_of_gpus_more_than_there_are_is_refused() {
    let service = Service::start().await;
    let mut client = v1::system_service_client::SystemServiceClient::new(service.channel().await);
    let request = v1::WatchGpusRequest { interval_millis: 60_000 };
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        streams.push(client.watch_gpus(request).await.expect("there is a place"));
    }
    let status = client.watch_gpus(request).await.expect_err("all places are taken");
    let message = format!("{MAX_STREAMS} streams of this kind are open");
    assert_refused(&status, Code::ResourceExhausted, "INVALID_VALUE", ("", &message));
    // Those who follow jobs have places of their own.
    let id = service.running_job().await;
    watch(&service.channel().await, &id, 0).await.expect("there is a place");
}

#[tokio::test]
async fn replays_that_nobody_reads_hold_up_nobody() {
    let service = Service::start().await;
    let id = service.running_job().await;
    for part in 0..30 {
        service.steps(&id, part * 1_000 + 1, (part + 1) * 1_000).await;
    }
    service.transition(&id, State::Succeeded).await;
    // Their clients never ask for more than the connection holds by itself.
    let (channel, mut idle) = (service.channel().await, Vec::new());
    for _ in 0..60 {
        idle.push(watch(&channel, &id, 0).await.expect("it begins"));
    }
    let late = watch(&service.channel().await, &id, 0).await.expect("it begins");
    let all =
        seqs(watch(&service.channel().await, &id, 0).await.expect("it begins")).await.expect("no error");
    assert_eq!(all, (1..=30_004).collect::<Vec<_>>());
    // And whoever begins to read after all misses nothing.
    assert_eq!(seqs(late).await.expect("no error"), all);
    drop(idle);
}

#[tokio::test]
async fn follower_that_falls_behind_what_is_kept_in_memory_misses_nothing() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let channels = (service.channel().await, service.channel().await);
    let slow = watch(&channels.0, &id, 3).await.expect("it begins");
    let metrics = v1::StreamMetricsRequest { job_id: id.to_string(), after_seq: 0, committed_only: false };
    let mut metrics =
        JobServiceClient::new(channels.0).stream_metrics(metrics).await.expect("it begins").into_inner();
    let quick = tokio::spawn(seqs(watch(&channels.1, &id, 3).await.expect("it begins")));
    for part in 0..20 {
        service.steps(&id, part * 1_000 + 1, (part + 1) * 1_000).await;
    }
    service.store.append_events(&id, 1, vec![phase(20_001)]).await.expect("kept");
    service.transition(&id, State::Failed).await;
    let quick = quick.await.expect("no panic").expect("no error");
    assert_eq!(quick, (4..=20_005).collect::<Vec<_>>());
    assert_eq!(seqs(slow).await.expect("no error"), quick);
    let mut of_metrics = Vec::new();
    while let Some(message) = timeout(LONG, metrics.message()).await.expect("it ends").expect("no error") {
        if let Some(Metric::Metric(event)) = message.item {
            of_metrics.push(event.seq);
        }
    }
    assert_eq!(of_metrics, (4..=20_003).collect::<Vec<_>>());
}

#[tokio::test]
async fn follower_of_a_job_that_comes_to_rest_and_goes_on_sees_both() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let channel = service.channel().await;
    let first = watch(&channel, &id, 0).await.expect("it begins");
    service.transition(&id, State::Failed).await;
    assert_eq!(seqs(first).await.expect("no error"), [1, 2, 3, 4]);
    service.transition(&id, State::Queued).await;
    let second = watch(&channel, &id, 3).await.expect("it begins");
    service.transition(&id, State::Cancelled).await;
    assert_eq!(seqs(second).await.expect("no error"), [4, 5, 6]);
}
