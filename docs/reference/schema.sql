-- The schema of a SQLite store, as all migrations leave it: a picture for readers, compared by a test.

CREATE TABLE annotation (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    stage_id TEXT,
    generation INTEGER,
    turn INTEGER,
    item INTEGER,
    attempt INTEGER,
    actor TEXT,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX annotation_run ON annotation (run);

CREATE TABLE artifact (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    blob TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    name TEXT NOT NULL,
    text TEXT,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    blob TEXT,
    PRIMARY KEY (run, stage_id, generation, turn, item, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    stage_id TEXT,
    generation INTEGER,
    turn INTEGER,
    item INTEGER,
    data TEXT,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE former_sink (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE gate (
    run INTEGER NOT NULL,
    gate TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    arity INTEGER NOT NULL,
    tolerate INTEGER NOT NULL,
    resolved INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    -- The stages of the taken edges in the order of arrival, as a JSON array; NULL for none.
    sources TEXT,
    done INTEGER NOT NULL,
    PRIMARY KEY (run, gate, generation, turn)
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    text TEXT,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    blob TEXT,
    PRIMARY KEY (run, stage_id, generation, turn, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    status TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    workflow_version TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    due_at INTEGER,
    held_due_at INTEGER,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    worker TEXT,
    lease_until INTEGER,
    started_at INTEGER,
    give_up_at INTEGER,
    -- The payload of a suspended instance as JSON: text, digest, size, blob.
    state TEXT,
    failure TEXT,
    -- Epochs whose lease ended without a settlement by its holder, as a JSON array; NULL for none.
    lost TEXT,
    -- The stages whose taken edges led here, as a JSON array; NULL for none.
    via TEXT,
    depth INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    guarded INTEGER NOT NULL,
    -- Those of its run.
    tenant TEXT NOT NULL,
    concurrency_key TEXT NOT NULL,
    weight INTEGER NOT NULL,
    delayed INTEGER NOT NULL,
    PRIMARY KEY (run, stage_id, generation, turn, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_claim ON job (
    workflow_id, workflow_version, queue, status, delayed, priority DESC, tenant, concurrency_key, due_at
)
WHERE due_at IS NOT NULL AND delayed = 0;

CREATE INDEX job_due ON job (queue, delayed, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX job_lease ON job (queue, lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE keyed (
    tenant TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    stage_id TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    run INTEGER NOT NULL,
    holder TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    text TEXT,
    digest TEXT,
    size INTEGER,
    blob TEXT,
    PRIMARY KEY (tenant, workflow_id, stage_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX keyed_holder ON keyed (run, holder, generation, turn, item) WHERE digest IS NULL;

CREATE INDEX keyed_run ON keyed (run);

CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX log_run ON log (run);

CREATE TABLE message (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    text TEXT,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    blob TEXT,
    actor TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE operation (
    tenant TEXT NOT NULL,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    command TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    result TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- When it may go; NULL while its run is there.
    forget_at INTEGER,
    PRIMARY KEY (tenant, scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX operation_forget ON operation (forget_at) WHERE forget_at IS NOT NULL;

CREATE INDEX operation_run ON operation (run_id);

CREATE VIEW orphan_runs AS
SELECT run.id
FROM run
WHERE run.status IN ('RUNNING', 'WAITING', 'PAUSED', 'COMPENSATING')
    AND NOT EXISTS (SELECT 1 FROM job WHERE job.run = run.n AND job.status <> 'WAITING')
    AND NOT EXISTS (SELECT 1 FROM timer WHERE timer.run = run.n)
    AND NOT EXISTS (SELECT 1 FROM wait WHERE wait.run = run.n AND wait.status = 'OPEN')
UNION ALL
-- Held runs whose turn nobody will pass on: of their key no run goes on, and none has a timer.
SELECT run.id
FROM run INDEXED BY run_singleton
WHERE run.singleton IS NOT NULL AND run.finished_at IS NULL AND run.held = 1
    AND NOT EXISTS (SELECT 1 FROM timer WHERE timer.run = run.n)
    AND NOT EXISTS (
        SELECT 1 FROM run other INDEXED BY run_singleton
        WHERE other.tenant = run.tenant AND other.workflow_id = run.workflow_id AND other.singleton = run.singleton
            AND other.finished_at IS NULL
            AND (other.held = 0 OR EXISTS (SELECT 1 FROM timer WHERE timer.run = other.n))
    );

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    concurrency INTEGER,
    per_key INTEGER,
    tokens INTEGER,
    period INTEGER,
    burst INTEGER,
    full_at INTEGER,
    paused INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workflow_id TEXT NOT NULL,
    workflow_version TEXT NOT NULL,
    priority INTEGER NOT NULL,
    status TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    -- The number of the newest event.
    events INTEGER NOT NULL,
    -- Since when there have been events that no stream was told of. Set once and not touched again until a delivery
    -- takes it, so that a step of a run which is waiting for delivery anyway costs the outbox nothing.
    undelivered INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    output_of TEXT,
    failure TEXT,
    -- Live jobs that are WAITING, and all others; whether the run is WAITING follows from them.
    waiting INTEGER NOT NULL DEFAULT 0,
    active INTEGER NOT NULL DEFAULT 0,
    -- What its end has to look for besides jobs, timers and gates: 1 for waits, 2 for keys, added up.
    holds INTEGER NOT NULL DEFAULT 0,
    -- Whether it may not be admitted yet.
    held INTEGER NOT NULL DEFAULT 0,
    -- The id of the run that started it.
    parent TEXT,
    tenant TEXT NOT NULL,
    -- Empty for none in particular.
    concurrency_key TEXT NOT NULL,
    singleton TEXT
) STRICT;

CREATE INDEX run_ended ON run (finished_at, id) WHERE finished_at IS NOT NULL;

CREATE INDEX run_parent ON run (parent, id) WHERE parent IS NOT NULL;

CREATE INDEX run_pending ON run (workflow_id, workflow_version, priority DESC, tenant, created_at, id)
WHERE status = 'PENDING' AND held = 0;

CREATE INDEX run_singleton ON run (tenant, workflow_id, singleton, held, created_at, id)
WHERE singleton IS NOT NULL AND finished_at IS NULL;

CREATE INDEX run_status ON run (status, id);

CREATE INDEX run_undelivered ON run (undelivered) WHERE undelivered IS NOT NULL;

CREATE INDEX run_workflow ON run (workflow_id, id);

CREATE TABLE run_payload (
    run INTEGER PRIMARY KEY,
    idempotency_key TEXT,
    input TEXT,
    input_digest TEXT NOT NULL,
    input_size INTEGER NOT NULL,
    input_blob TEXT,
    config TEXT NOT NULL,
    compensates INTEGER NOT NULL
) STRICT;

CREATE INDEX run_payload_key ON run_payload (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE sink (
    name TEXT PRIMARY KEY,
    backfill INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE stage (
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    worker TEXT,
    output TEXT,
    output_digest TEXT,
    output_size INTEGER,
    output_blob TEXT,
    failure TEXT,
    started_at INTEGER,
    finished_at INTEGER NOT NULL,
    metrics TEXT,
    lost TEXT,
    edge TEXT,
    via TEXT,
    depth INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX stage_key ON stage (run, stage_id, generation, turn, item);

CREATE TABLE state (
    run INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE stream (
    sink TEXT NOT NULL,
    run INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER,
    held INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (sink, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX stream_due ON stream (sink, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX stream_parked ON stream (sink, run) WHERE parked = 1;

CREATE TABLE timer (
    run INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX timer_due ON timer (due_at);

CREATE TABLE token (
    hash TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX token_run ON token (run);

CREATE TABLE wait (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    item INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    text TEXT,
    digest TEXT,
    size INTEGER,
    blob TEXT,
    reason TEXT NOT NULL,
    actor TEXT,
    opened_at INTEGER NOT NULL,
    due_at INTEGER
) STRICT;

CREATE UNIQUE INDEX wait_key ON wait (run, stage_id, turn, item, generation, name);

CREATE INDEX wait_name ON wait (run, name) WHERE status <> 'CLOSED';

CREATE INDEX wait_open ON wait (run) WHERE status = 'OPEN';

CREATE INDEX wait_run ON wait (run);
