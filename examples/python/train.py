"""A fine-tune from Python: submits a job, follows its metrics, and shows that stopping and resuming loses nothing.

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. ../../proto/ftl/v1/*.proto
    python train.py --model MODEL_DIR --train FILE [--eval FILE] [--stop-after STEP]

The service listens on a Unix socket of its own user. Over TCP (`ftl-server serve --listen 127.0.0.1:7316`) every call
needs the token of the data directory as well: `--target 127.0.0.1:7316 --token-file ~/.local/share/finetunelab/token`.
"""

import argparse
import os
import pathlib
import sys
import uuid

import grpc

from ftl.v1 import job_pb2, job_pb2_grpc, spec_pb2, state_pb2

RETRY = grpc.StatusCode.UNAVAILABLE
# On a Unix socket gRPC's C core names the host by the socket's path, which is no host name to an HTTP/2 server in Rust.
UNIX_OPTIONS = [("grpc.default_authority", "localhost")]


def default_target():
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    data = os.environ.get("XDG_DATA_HOME", os.path.expanduser("~/.local/share"))
    folder = runtime or data
    return f"unix:{folder}/finetunelab/ftl.sock"


def read_arguments():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", default=default_target(), help="unix:PATH or 127.0.0.1:PORT")
    arguments.add_argument("--token-file", type=pathlib.Path, help="for TCP")
    arguments.add_argument("--model", required=True, type=pathlib.Path)
    arguments.add_argument("--train", required=True, type=pathlib.Path)
    arguments.add_argument("--eval", type=pathlib.Path)
    arguments.add_argument("--learning-rate", type=float, default=2e-4)
    arguments.add_argument("--stop-after", type=int, metavar="STEP", help="stop once, then resume")
    return arguments.parse_args()


def spec(arguments):
    """As in a spec file: the names of TrainingArguments, LoraConfig and TRL, and paths that are absolute."""
    asked = spec_pb2.JobSpec(
        name="from-python",
        model=spec_pb2.ModelSpec(path=str(arguments.model.resolve())),
        data=spec_pb2.DataSpec(train=[spec_pb2.TrainFileSpec(path=str(arguments.train.resolve()))], max_length=64),
        method=spec_pb2.MethodSpec(kind=spec_pb2.MethodSpec.KIND_SFT),
        adapter=spec_pb2.AdapterSpec(kind=spec_pb2.AdapterSpec.KIND_LORA, r=8, lora_alpha=16),
        train=spec_pb2.TrainSpec(
            num_train_epochs=4, per_device_train_batch_size=8, learning_rate=arguments.learning_rate
        ),
    )
    if arguments.eval:
        asked.data.eval.path = str(arguments.eval.resolve())
    return asked


def follow(jobs, metadata, job_id, after_seq):
    """Metrics after `after_seq`, across interruptions. The number `seq` never repeats, so it is the cursor."""
    while True:
        request = job_pb2.StreamMetricsRequest(job_id=job_id, after_seq=after_seq)
        try:
            for response in jobs.StreamMetrics(request, metadata=metadata):
                if response.WhichOneof("item") == "metric":
                    after_seq = response.metric.seq
                    yield response.metric
            return
        except grpc.RpcError as error:
            if error.code() != RETRY:
                raise


def show(metric):
    kind = metric.WhichOneof("event")
    if kind == "stepped":
        step = metric.stepped
        print(f"step {step.step}: loss {step.loss_nats:.4f}, {step.tokens_per_sec:,.0f} tokens/s")
    else:
        print(f"step {metric.evaluated.step}: held-out loss {metric.evaluated.loss_nats:.4f}")


def main():
    arguments = read_arguments()
    metadata = []
    if arguments.token_file:
        metadata.append(("authorization", f"Bearer {arguments.token_file.read_text().strip()}"))
    options = UNIX_OPTIONS if arguments.target.startswith("unix:") else []
    channel = grpc.insecure_channel(arguments.target, options=options)
    jobs = job_pb2_grpc.JobServiceStub(channel)

    # With a request id the call can be repeated without making a second job.
    request = job_pb2.CreateJobRequest(spec=spec(arguments), request_id=str(uuid.uuid4()))
    job = jobs.CreateJob(request, metadata=metadata)
    again = jobs.CreateJob(request, metadata=metadata)
    assert again.id == job.id, "the same request made two jobs"
    print(f"{job.id} is {state_pb2.JobState.Name(job.state)}")

    steps, last_seq, stopped = [], 0, False
    for metric in follow(jobs, metadata, job.id, 0):
        assert metric.seq > last_seq, f"{metric.seq} came after {last_seq}"
        last_seq = metric.seq
        show(metric)
        if metric.WhichOneof("event") == "stepped":
            steps.append(metric.stepped.step)
        if arguments.stop_after and not stopped and steps and steps[-1] >= arguments.stop_after:
            stopped = True
            jobs.StopJob(job_pb2.StopJobRequest(id=job.id), metadata=metadata)

    job = jobs.GetJob(job_pb2.GetJobRequest(id=job.id), metadata=metadata)
    print(f"{job.id} is {state_pb2.JobState.Name(job.state)} after step {job.progress.step}")
    if stopped:
        assert job.state == state_pb2.JOB_STATE_STOPPED, "it was too late to stop it"
        assert job.progress.step < job.progress.total_steps
        jobs.ResumeJob(job_pb2.ResumeJobRequest(id=job.id), metadata=metadata)
        for metric in follow(jobs, metadata, job.id, last_seq):
            assert metric.seq > last_seq, f"{metric.seq} came after {last_seq}"
            last_seq = metric.seq
            show(metric)
            if metric.WhichOneof("event") == "stepped":
                steps.append(metric.stepped.step)
        job = jobs.GetJob(job_pb2.GetJobRequest(id=job.id), metadata=metadata)

    if job.state != state_pb2.JOB_STATE_SUCCEEDED:
        sys.exit("\n".join(problem.message for problem in job.problems) or "the job did not succeed")
    assert steps == list(range(1, job.progress.total_steps + 1)), f"steps are missing or doubled: {steps}"
    artifacts = jobs.ListArtifacts(job_pb2.ListArtifactsRequest(job_id=job.id), metadata=metadata).artifacts
    for artifact in artifacts:
        print(f"{artifact.kind}: {artifact.path}, {artifact.bytes} bytes")
    assert artifacts and pathlib.Path(artifacts[0].path).is_dir()


if __name__ == "__main__":
    main()
