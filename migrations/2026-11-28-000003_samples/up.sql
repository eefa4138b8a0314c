-- What a model answered to held-out prompts, so that the answers can be listed without the events around them. The event
-- in job_events stays the truth about what happened when.
CREATE TABLE predictions (
    job TEXT NOT NULL,
    -- The event that told of it.
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    time_unix_ms INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    text TEXT NOT NULL,
    reference TEXT,
    PRIMARY KEY (job, seq),
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT;

CREATE INDEX predictions_by_attempt ON predictions (job, attempt);

-- Those of before. Reads every event that is no metric once: 0.3 s for 100,000.
INSERT INTO predictions (job, seq, attempt, step, time_unix_ms, prompt, text, reference)
SELECT
    job,
    seq,
    attempt,
    event ->> '$.step',
    time_unix_ms,
    event ->> '$.prompt',
    event ->> '$.text',
    event ->> '$.reference'
FROM job_events
WHERE event ->> '$.type' = 'sampled';

-- What GPUs did while jobs were trained on them.
CREATE TABLE gpu_samples (
    -- Counts on for ever, so that the oldest are found without an index on time.
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    time_unix_ms INTEGER NOT NULL,
    -- As in `cuda:0`. A driver may count anew after a restart; the uuid stays.
    gpu INTEGER NOT NULL,
    uuid TEXT NOT NULL,
    memory_total_bytes INTEGER NOT NULL,
    memory_used_bytes INTEGER NOT NULL,
    -- NULL: the GPU does not tell.
    utilization_percent INTEGER,
    temperature_celsius INTEGER,
    power_watts REAL
) STRICT;

CREATE INDEX gpu_samples_by_job ON gpu_samples (job, number);
