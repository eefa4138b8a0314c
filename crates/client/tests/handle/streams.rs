//! Streams: nothing lost and nothing doubled, whatever becomes of the server meanwhile.

use std::time::Duration;

use ftl_client::wire::v1;
use ftl_client::{Client, ClientError, Follow, Limits};
use ftl_core::inference::{InferencePart, InferenceRequest, Prompt};
use ftl_core::job::JobEvent;
use ftl_core::system::Gpus;
use ftl_core::{JobId, Problem, ProblemKind};
use futures_util::{Stream, StreamExt as _};
use tonic::{Code, Status};
use v1::stream_metrics_response::Item as MetricItem;
use v1::watch_events_response::Item as EventItem;

use crate::draw::{Draw, full};
use crate::fake::{End, Pair, limits};

fn id() -> JobId {
    JobId::from_bits(7)
}

fn core_event(seq: u64) -> JobEvent {
    let mut event = full(Draw::event);
    event.record.seq = seq;
    event
}

fn event(seq: u64) -> Result<v1::WatchEventsResponse, Status> {
    Ok(v1::WatchEventsResponse { item: Some(EventItem::Event(core_event(seq).into())) })
}

fn heartbeat() -> Result<v1::WatchEventsResponse, Status> {
    Ok(v1::WatchEventsResponse { item: Some(EventItem::Heartbeat(v1::Heartbeat { seq: 99 })) })
}

fn metric(seq: u64) -> Result<v1::StreamMetricsResponse, Status> {
    Ok(v1::StreamMetricsResponse { item: Some(MetricItem::Metric(core_event(seq).into())) })
}

fn unavailable<M>() -> Result<M, Status> {
    Err(Status::unavailable("the service is shutting down"))
}

/// The next event's number.
async fn next_seq(events: &mut (impl Stream<Item = Result<JobEvent, ClientError>> + Unpin)) -> u64 {
    events.next().await.expect("the stream goes on").expect("an event").record.seq
}

/// The numbers of all events that are left, and how the stream ended.
async fn rest(
    mut events: impl Stream<Item = Result<JobEvent, ClientError>> + Unpin,
) -> (Vec<u64>, Option<ClientError>) {
    let mut seqs = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => seqs.push(event.record.seq),
            Err(error) => {
                assert!(events.next().await.is_none(), "an error is the last item");
                return (seqs, Some(error));
            }
        }
    }
    (seqs, None)
}

#[tokio::test]
async fn events_arrive_in_order_until_the_server_ends() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("watch_events", vec![event(5), heartbeat(), event(6), event(9)], End::Close);
    let mut events = client.watch_events(&id(), 4);
    let first = events.next().await.expect("the stream goes on").expect("an event");
    assert_eq!(format!("{first:?}"), format!("{:?}", core_event(5)));
    assert_eq!(rest(events).await, (vec![6, 9], None));
    let request = v1::WatchEventsRequest { job_id: id().to_string(), after_seq: 4 };
    assert_eq!(fake.calls()[0].request, format!("{request:?}"));
    assert_eq!(fake.n_calls("watch_events"), 1);
}

#[tokio::test]
async fn a_killed_server_costs_no_event_and_doubles_none() {
    let mut pair = Pair::new().await;
    pair.fake.stream("watch_events", vec![event(1), event(2), event(3)], End::Silence);
    let mut events = pair.client.watch_events(&id(), 0);
    for seq in 1..=3 {
        assert_eq!(next_seq(&mut events).await, seq);
    }
    pair.kill();
    // A server that starts too early in the stream is not believed.
    pair.fake.stream("watch_events", vec![event(3), event(4), heartbeat(), event(5)], End::Close);
    pair.start_again();
    assert_eq!(rest(events).await, (vec![4, 5], None));
    let request = v1::WatchEventsRequest { job_id: id().to_string(), after_seq: 3 };
    let calls = pair.fake.calls();
    assert_eq!(calls.last().expect("it was asked").request, format!("{request:?}"));
}

#[tokio::test]
async fn a_server_may_go_away_again_and_again() {
    let Pair { fake, client, .. } = &Pair::new().await;
    for seq in 1..=20 {
        fake.stream("watch_events", vec![event(seq), unavailable()], End::Close);
        fake.stream::<v1::WatchEventsResponse>("watch_events", vec![unavailable()], End::Close);
    }
    fake.stream("watch_events", vec![event(21)], End::Close);
    assert_eq!(rest(client.watch_events(&id(), 0)).await, ((1..=21).collect(), None));
    assert_eq!(fake.n_calls("watch_events"), 41);
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up_with_the_last_error() {
    let mut pair = Pair::within(Limits { reconnect: Duration::from_secs(1), ..limits() }).await;
    pair.fake.stream("watch_events", vec![event(1)], End::Silence);
    let mut events = pair.client.watch_events(&id(), 0);
    assert_eq!(next_seq(&mut events).await, 1);
    pair.kill();
    let (seqs, error) = rest(events).await;
    assert_eq!(seqs, Vec::<u64>::new());
    assert_eq!(
        error.expect("nobody came back").to_string(),
        format!(
            "nobody answers at `unix:{}`: No such file or directory (os error 2)",
            pair.folder.path().join("socket").display()
        )
    );
}

#[tokio::test]
async fn a_reader_may_be_away_for_longer_than_a_server() {
    let reconnect = Duration::from_secs(1);
    let mut pair = Pair::within(Limits { reconnect, ..limits() }).await;
    // The first failure is over and forgotten when the second one comes.
    pair.fake.stream("watch_events", vec![event(1), unavailable()], End::Close);
    pair.fake.stream("watch_events", vec![event(2)], End::Silence);
    let mut events = pair.client.watch_events(&id(), 0);
    assert_eq!(next_seq(&mut events).await, 1);
    assert_eq!(next_seq(&mut events).await, 2);
    pair.kill();
    pair.fake.stream("watch_events", vec![event(3)], End::Close);
    pair.start_again();
    tokio::time::sleep(reconnect * 2).await;
    assert_eq!(rest(events).await, (vec![3], None));
}

#[tokio::test]
async fn a_silent_stream_is_opened_again() {
    let Pair { fake, client, .. } =
        &Pair::within(Limits { silence: Duration::from_millis(300), ..limits() }).await;
    fake.stream("watch_events", vec![event(1)], End::Silence);
    fake.stream("watch_events", vec![event(1), event(2)], End::Close);
    assert_eq!(rest(client.watch_events(&id(), 0)).await, (vec![1, 2], None));
    assert_eq!(fake.n_calls("watch_events"), 2);
}

#[tokio::test]
async fn what_a_repeat_does_not_mend_ends_a_stream_at_once() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream::<v1::WatchEventsResponse>(
        "watch_events",
        vec![Err(Status::not_found("there is no job `x`"))],
        End::Close,
    );
    let error = ClientError::NotFound("there is no job `x`".to_owned());
    assert_eq!(rest(client.watch_events(&id(), 0)).await, (Vec::new(), Some(error)));

    let without_item = v1::WatchEventsResponse { item: None };
    fake.stream("watch_events", vec![event(1), Ok(without_item)], End::Close);
    let (seqs, error) = rest(client.watch_events(&id(), 0)).await;
    assert_eq!(seqs, [1]);
    assert_eq!(
        error.expect("it has no meaning").to_string(),
        "the server's answer can't be used: WatchEventsResponse.item: must be given; \
         is the server of this version?"
    );
    let bad = v1::WatchEventsResponse { item: Some(EventItem::Event(v1::JobEvent::default())) };
    fake.stream("watch_events", vec![Ok(bad)], End::Close);
    let (_, error) = rest(client.watch_events(&id(), 0)).await;
    let error = error.expect("it has no meaning").to_string();
    assert!(error.contains("WatchEventsResponse.event.time: must be given"), "{error}");
    assert_eq!(fake.n_calls("watch_events"), 3);
}

#[tokio::test]
async fn metrics_are_followed_as_events_are() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("stream_metrics", vec![metric(3), unavailable()], End::Close);
    let heartbeat = v1::StreamMetricsResponse { item: Some(MetricItem::Heartbeat(v1::Heartbeat { seq: 9 })) };
    fake.stream("stream_metrics", vec![Ok(heartbeat), metric(3), metric(8)], End::Close);
    assert_eq!(rest(client.stream_metrics(&id(), 2, Follow::Committed)).await, (vec![3, 8], None));
    fake.stream("stream_metrics", vec![metric(1)], End::Close);
    assert_eq!(rest(client.stream_metrics(&id(), 0, Follow::Live)).await, (vec![1], None));
    let asked: Vec<_> = fake.calls().into_iter().map(|call| call.request).collect();
    let request = |after_seq, committed_only| {
        let job_id = id().to_string();
        format!("{:?}", v1::StreamMetricsRequest { job_id, after_seq, committed_only })
    };
    assert_eq!(asked, [request(2, true), request(3, true), request(0, false)]);
}

#[tokio::test]
async fn gpus_are_watched_across_a_restart() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let reading = |reason: &str| Gpus::Absent { reason: reason.to_owned() };
    fake.stream("watch_gpus", vec![Ok(v1::Gpus::from(reading("one"))), unavailable()], End::Close);
    fake.stream("watch_gpus", vec![Ok(v1::Gpus::from(reading("two")))], End::Close);
    let gpus: Vec<_> = client.watch_gpus(Duration::from_millis(250)).collect().await;
    assert_eq!(gpus, [Ok(reading("one")), Ok(reading("two"))]);
    let request = format!("{:?}", v1::WatchGpusRequest { interval_millis: 250 });
    assert!(fake.calls().iter().all(|call| call.request == request), "{:?}", fake.calls());
}

#[tokio::test]
async fn an_interval_is_sent_as_whole_milliseconds() {
    let cases = [
        (Duration::ZERO, 0),
        (Duration::from_micros(5), 1),
        (Duration::from_secs(2), 2_000),
        (Duration::MAX, u32::MAX),
    ];
    for (interval, interval_millis) in cases {
        let Pair { fake, client, .. } = &Pair::new().await;
        fake.stream::<v1::Gpus>("watch_gpus", Vec::new(), End::Close);
        assert_eq!(client.watch_gpus(interval).count().await, 0);
        assert_eq!(fake.calls()[0].request, format!("{:?}", v1::WatchGpusRequest { interval_millis }));
    }
}

fn text(text: &str) -> InferencePart {
    InferencePart::Text { text: text.to_owned() }
}

fn chat_part(part: InferencePart) -> Result<v1::ChatResponse, Status> {
    Ok(v1::ChatResponse { part: Some(part.into()) })
}

fn generated(part: InferencePart) -> Result<v1::GenerateResponse, Status> {
    Ok(v1::GenerateResponse { part: Some(part.into()) })
}

fn request(prompt: Prompt) -> InferenceRequest {
    InferenceRequest { prompt, ..full(Draw::inference_request) }
}

async fn answer(client: &Client, request: &InferenceRequest) -> Vec<Result<InferencePart, ClientError>> {
    client.infer(request).collect().await
}

#[tokio::test]
async fn a_text_is_generated_and_a_conversation_is_answered() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("generate", vec![generated(text("a")), generated(text("b"))], End::Close);
    let question = request(Prompt::Text("Once".to_owned()));
    assert_eq!(answer(client, &question).await, [Ok(text("a")), Ok(text("b"))]);
    fake.stream("chat", vec![chat_part(text("c"))], End::Close);
    let conversation = request(Prompt::Messages(Vec::new()));
    assert_eq!(answer(client, &conversation).await, [Ok(text("c"))]);
    let methods: Vec<_> = fake.calls().into_iter().map(|call| call.method).collect();
    assert_eq!(methods, ["generate", "chat"]);
}

#[tokio::test]
async fn an_answer_is_not_asked_for_twice() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("chat", vec![chat_part(text("half an ")), unavailable()], End::Close);
    let conversation = request(Prompt::Messages(Vec::new()));
    let gone = ClientError::Unavailable("the service is shutting down".to_owned());
    assert_eq!(answer(client, &conversation).await, [Ok(text("half an ")), Err(gone)]);
    assert_eq!(fake.n_calls("chat"), 1);
}

#[tokio::test]
async fn an_answer_may_be_refused_or_have_no_meaning() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let conversation = request(Prompt::Messages(Vec::new()));
    fake.stream::<v1::ChatResponse>(
        "chat",
        vec![Err(Status::new(Code::InvalidArgument, "there is no message"))],
        End::Close,
    );
    let problem = Problem::new(ProblemKind::InvalidValue, "there is no message");
    assert_eq!(answer(client, &conversation).await, [Err(ClientError::Refused(vec![problem]))]);
    fake.stream("chat", vec![Ok(v1::ChatResponse { part: None })], End::Close);
    let parts = answer(client, &conversation).await;
    let expected = "the server's answer can't be used: ChatResponse.part: must be given";
    assert_eq!(parts, [Err(ClientError::Protocol(expected.to_owned()))]);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_any_more_is_stopped() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("generate", vec![generated(text("a"))], End::Silence);
    let mut parts = client.infer(&request(Prompt::Text("Once".to_owned())));
    assert_eq!(parts.next().await, Some(Ok(text("a"))));
    drop(parts);
    fake.streams_dropped(1).await;
}

#[tokio::test]
async fn streams_and_calls_can_go_to_other_threads() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.stream("watch_events", vec![event(1)], End::Close);
    let events = client.watch_events(&id(), 0);
    assert_eq!(tokio::spawn(rest(events)).await.expect("no panic"), (vec![1], None));
    let info = full(Draw::system_info);
    fake.answer("get_system_info", v1::SystemInfo::from(info.clone()));
    let clone = client.clone();
    let answer = tokio::spawn(async move { clone.system_info().await });
    assert_eq!(answer.await.expect("no panic"), Ok(info));
}
