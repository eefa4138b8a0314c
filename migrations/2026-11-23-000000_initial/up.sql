-- Times are Unix milliseconds. Columns that hold a core type whole are JSON; what lists, filters or joins is a column.

-- What the writer wrote last, so that it can tell, after a COMMIT whose outcome it does not know, whether that
-- transaction is there.
CREATE TABLE last_write (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    mark TEXT NOT NULL
) STRICT;

INSERT INTO last_write (only, mark) VALUES (1, '');

CREATE TABLE jobs (
    -- The order of creation, and where a page ends. AUTOINCREMENT: a deleted job's number never comes again.
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN (
            'QUEUED', 'STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'INTERRUPTED', 'SUCCEEDED', 'FAILED', 'CANCELLED'
        )
    ),
    reason TEXT,
    -- A list, as JSON.
    problems TEXT NOT NULL,
    phase TEXT CHECK (
        phase IN (
            'VALIDATING', 'PLANNING', 'DOWNLOADING', 'LOADING', 'TOKENIZING', 'TRAINING', 'EVALUATING', 'SAMPLING',
            'SAVING', 'EXPORTING'
        )
    ),
    step INTEGER NOT NULL,
    total_steps INTEGER,
    -- Numbers as text: REAL has no NaN, and NULL says that there is none yet.
    loss_nats TEXT,
    eval_loss_before_nats TEXT,
    eval_loss_nats TEXT,
    n_attempts INTEGER NOT NULL,
    -- The highest number given in job_events and metrics, which share one count for each job.
    seq INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    started_unix_ms INTEGER,
    ended_unix_ms INTEGER,
    directory TEXT NOT NULL,
    request_id TEXT UNIQUE,
    -- JSON. Last, since it may be long and most readers of a row stop before it.
    spec TEXT NOT NULL,
    CHECK (phase IS NULL OR state IN ('STARTING', 'RUNNING', 'STOPPING'))
) STRICT;

CREATE INDEX jobs_by_state ON jobs (state, number);

CREATE TABLE attempts (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    started_unix_ms INTEGER NOT NULL,
    ended_unix_ms INTEGER,
    -- JSON.
    exit TEXT,
    log_tail TEXT,
    PRIMARY KEY (job, number),
    CHECK ((exit IS NULL) = (ended_unix_ms IS NULL))
) STRICT, WITHOUT ROWID;

-- All events but steps and evaluations.
CREATE TABLE job_events (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL CHECK (seq >= 1),
    -- 0: before the first.
    attempt INTEGER NOT NULL,
    -- The attempt's own number of the event; NULL: the store made it, on a change of state.
    attempt_seq INTEGER,
    time_unix_ms INTEGER NOT NULL,
    -- The event, as JSON.
    event TEXT NOT NULL,
    PRIMARY KEY (job, seq),
    UNIQUE (job, attempt, attempt_seq)
) STRICT, WITHOUT ROWID;

-- Steps and evaluations: columns instead of JSON, for 500,000 rows a second on the way out. In a REAL column NULL is
-- NaN where the kind of row has that number at all.
CREATE TABLE metrics (
    job TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 1),
    attempt INTEGER NOT NULL,
    attempt_seq INTEGER NOT NULL,
    time_unix_ms INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('stepped', 'evaluated')),
    step INTEGER NOT NULL,
    loss_nats REAL,
    tokens INTEGER NOT NULL,
    -- Steps alone.
    epoch REAL,
    grad_norm REAL,
    learning_rate REAL,
    supervised_tokens INTEGER,
    samples INTEGER,
    tokens_per_sec REAL,
    samples_per_sec REAL,
    step_millis REAL,
    data_millis REAL,
    -- Evaluations alone.
    perplexity REAL,
    token_accuracy REAL,
    PRIMARY KEY (job, seq),
    UNIQUE (job, attempt, attempt_seq),
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE,
    CHECK ((kind = 'stepped') = (supervised_tokens IS NOT NULL AND samples IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    job TEXT NOT NULL,
    path TEXT NOT NULL,
    -- The event that told of it.
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (job, path),
    FOREIGN KEY (job, attempt) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX checkpoints_by_attempt ON checkpoints (job, attempt);

CREATE TABLE artifacts (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    -- The event that told of it.
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE datasets (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    format TEXT NOT NULL,
    n_rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE models (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    -- JSON.
    facts TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE configs (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    -- JSON.
    spec TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
