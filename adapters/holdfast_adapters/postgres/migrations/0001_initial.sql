-- The schema of Holdfast in Postgres. Instants are microseconds since 1970 in UTC, by the clock of the database.
--
-- A run is known by its id outside and by its number `n` inside: short keys keep indexes small, and numbers rise in the
-- order of creation. A stage instance is a row of `job` while it has work left and a row of `stage` once it is done,
-- never both. There are no foreign keys: whoever writes anything of a run has locked its row of `run` first, and takes
-- such locks in ascending order of `n`, so that writers never wait for each other in a circle. Before any run come the
-- lock of the limits (see `flow.py`) and the rows of `queue`, in order of name; behind all runs come those of singleton
-- keys, in order of their hashes.

CREATE SCHEMA IF NOT EXISTS holdfast;

CREATE TABLE holdfast.migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The cluster that the schema was made on, and how often it had changed hands by then. Another one later means that the
-- database was restored, copied or failed over to, and may lack what was acknowledged; `holdfast doctor` tells of it.
CREATE TABLE holdfast.origin (
    system bigint NOT NULL,
    timeline integer NOT NULL
);
DO $$
BEGIN
    INSERT INTO holdfast.origin (system, timeline)
    SELECT s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;

CREATE SEQUENCE holdfast.run_n;

CREATE TABLE holdfast.run (
    n bigint PRIMARY KEY,
    version bigint NOT NULL,
    -- The number of the newest event.
    events bigint NOT NULL,
    -- Since when there have been events that no stream was told of. Set once and not touched again until a delivery
    -- takes it, so that a step of a run which is waiting for delivery anyway costs the outbox nothing.
    undelivered bigint,
    created_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    generation integer NOT NULL,
    priority integer NOT NULL,
    -- Live jobs that are WAITING, and all others; whether the run is WAITING follows from them.
    waiting integer NOT NULL DEFAULT 0,
    active integer NOT NULL DEFAULT 0,
    -- What its end has to look for besides jobs, timers and gates: 1 for waits, 2 for keys, 4 for others of its singleton
    -- key, added up.
    holds integer NOT NULL DEFAULT 0,
    -- Whether it may not be admitted yet.
    held boolean NOT NULL DEFAULT false,
    status text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    workflow_version text COLLATE "C" NOT NULL,
    -- The concurrency key; empty for none in particular.
    flow_key text COLLATE "C" NOT NULL,
    -- Of the live runs of a tenant and workflow that share it one at most is not held.
    singleton text COLLATE "C",
    -- The id of the run that started it.
    parent text COLLATE "C",
    output_of text,
    failure text
) WITH (
    -- Each step updates its row: with room for another version on the same page none of the indexes is touched.
    fillfactor = 45,
    -- A tenth of the usual share, so that a table full of the past is still swept for the sake of the present.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE UNIQUE INDEX run_id ON holdfast.run (id);
CREATE INDEX run_status ON holdfast.run (status, id);
CREATE INDEX run_workflow ON holdfast.run (workflow_id, id);
CREATE INDEX run_parent ON holdfast.run (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX run_pending ON holdfast.run (workflow_id, workflow_version, priority DESC, tenant, created_at, id)
WHERE status = 'PENDING' AND NOT held;
CREATE UNIQUE INDEX run_singleton ON holdfast.run (tenant, workflow_id, singleton)
WHERE singleton IS NOT NULL AND finished_at IS NULL AND NOT held;
CREATE INDEX run_queued_up ON holdfast.run (tenant, workflow_id, singleton, created_at, id)
WHERE singleton IS NOT NULL AND finished_at IS NULL AND held;
CREATE INDEX run_undelivered ON holdfast.run (undelivered, n) WHERE undelivered IS NOT NULL;
CREATE INDEX run_ended ON holdfast.run (finished_at, id) WHERE finished_at IS NOT NULL;

-- What never changes of a run, kept apart so that the rows every step updates stay small.
CREATE TABLE holdfast.run_payload (
    run bigint PRIMARY KEY,
    idempotency_key text COLLATE "C",
    input text,
    input_digest text NOT NULL,
    input_size bigint NOT NULL,
    input_blob text,
    config text NOT NULL,
    compensates boolean NOT NULL
);
CREATE INDEX run_payload_key ON holdfast.run_payload (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The state that patches are merged into, as a JSON object; there is no row for an empty one.
CREATE TABLE holdfast.state (
    run bigint PRIMARY KEY,
    text text NOT NULL
);

-- Live stage instances only, so the table is as large as the work in progress. `due_at` is set while a job may be
-- claimed, `held_due_at` in its place while the run is PAUSED, and `lease_until` while it is leased: exactly one of the
-- three, and none of them for a job that is WAITING. `tenant` and `flow_key` are those of the run.
CREATE TABLE holdfast.job (
    run bigint NOT NULL,
    due_at bigint,
    held_due_at bigint,
    lease_until bigint,
    started_at bigint,
    give_up_at bigint,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    priority integer NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    depth integer NOT NULL,
    origin integer NOT NULL,
    -- How many tokens of its queue's rate each attempt takes.
    weight integer NOT NULL,
    guarded boolean NOT NULL,
    -- Whether `due_at` or `held_due_at` has come as far as anybody has looked. Claims look for tenants and keys among
    -- ripe jobs alone, so that jobs which nobody may take yet cost them nothing, whosever they are.
    ripe boolean NOT NULL,
    -- Of a leased job, whether its queue has limits, against which it counts.
    limited boolean NOT NULL DEFAULT false,
    stage_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    flow_key text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    workflow_version text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    worker text,
    -- The payload of a suspended instance as JSON: text, digest, size, blob.
    state text,
    failure text,
    -- Epochs whose lease ended without a settlement by its holder, as a JSON array; NULL for none.
    lost text,
    -- The stages whose taken edges led here, as a JSON array; NULL for none.
    via text,
    PRIMARY KEY (run, stage_id, generation, turn, item)
) WITH (
    -- Its rows come and go with every step: they are swept long before they would slow a claim down.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX job_claim ON holdfast.job
    (workflow_id, workflow_version, queue, status, priority DESC, tenant, flow_key, due_at)
WHERE due_at IS NOT NULL AND ripe;
CREATE INDEX job_due ON holdfast.job (queue, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX job_unripe ON holdfast.job (due_at) WHERE due_at IS NOT NULL AND NOT ripe;
CREATE INDEX job_limited ON holdfast.job (queue, tenant, flow_key, lease_until)
WHERE lease_until IS NOT NULL AND limited;
CREATE INDEX job_lease ON holdfast.job (lease_until) WHERE lease_until IS NOT NULL;

-- The limits of queues; a queue without any has no row. Whoever grants leases in a queue that has one locks it first, so
-- that grants of one queue come one after the other and none goes beyond a limit.
CREATE TABLE holdfast.queue (
    name text COLLATE "C" PRIMARY KEY,
    concurrency integer,
    per_key integer,
    -- The rate: so many tokens each so many microseconds, saved up to so many.
    tokens bigint,
    period bigint,
    burst bigint,
    -- When the bucket is full if nothing is taken; NULL for a full one.
    full_at bigint,
    paused boolean NOT NULL
);

-- Records of instances that are done: appended once; a rerun alone sets `superseded`.
CREATE TABLE holdfast.stage (
    run bigint NOT NULL,
    started_at bigint,
    finished_at bigint NOT NULL,
    output_size bigint,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    epoch integer NOT NULL,
    depth integer NOT NULL,
    origin integer NOT NULL,
    superseded boolean NOT NULL DEFAULT false,
    stage_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    worker text,
    output text,
    output_digest text,
    output_blob text,
    failure text,
    metrics text,
    lost text,
    edge text,
    via text,
    PRIMARY KEY (run, stage_id, generation, turn, item)
) WITH (
    -- What a prune leaves behind is to be filled again before the table grows.
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE TABLE holdfast.event (
    run bigint NOT NULL,
    number bigint NOT NULL,
    at bigint NOT NULL,
    generation integer,
    turn integer,
    item integer,
    type text NOT NULL,
    stage_id text,
    data text,
    PRIMARY KEY (run, number)
) WITH (
    -- What a prune leaves behind is to be filled again before the table grows.
    autovacuum_vacuum_scale_factor = 0.05
);

-- Gates that have heard of an edge or were made with their number; `done` once they have opened, been skipped or failed.
CREATE TABLE holdfast.gate (
    run bigint NOT NULL,
    generation integer NOT NULL,
    turn integer NOT NULL,
    arity integer NOT NULL,
    tolerate integer NOT NULL,
    resolved integer NOT NULL,
    taken integer NOT NULL,
    failed integer NOT NULL,
    done boolean NOT NULL,
    gate text COLLATE "C" NOT NULL,
    -- The stages of the taken edges in the order of arrival, as a JSON array; NULL for none.
    sources text,
    PRIMARY KEY (run, gate, generation, turn)
);

-- The inputs of the instances of maps.
CREATE TABLE holdfast.item (
    run bigint NOT NULL,
    size bigint NOT NULL,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    stage_id text COLLATE "C" NOT NULL,
    text text,
    digest text NOT NULL,
    blob text,
    PRIMARY KEY (run, stage_id, generation, turn, item)
);

CREATE TABLE holdfast.timer (
    run bigint NOT NULL,
    due_at bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    PRIMARY KEY (run, id)
) WITH (
    -- As of jobs.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX timer_due ON holdfast.timer (due_at);

-- Waits in the order in which they were opened. They stay when they are answered or closed.
CREATE TABLE holdfast.wait (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run bigint NOT NULL,
    opened_at bigint NOT NULL,
    due_at bigint,
    size bigint,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    stage_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    status text COLLATE "C" NOT NULL,
    text text,
    digest text,
    blob text,
    reason text NOT NULL,
    actor text
);
-- The generation comes late, so that the waits of one instance and of those it retries stand together.
CREATE UNIQUE INDEX wait_key ON holdfast.wait (run, stage_id, turn, item, generation, name);
CREATE INDEX wait_run ON holdfast.wait (run, id);
CREATE INDEX wait_name ON holdfast.wait (run, name) WHERE status <> 'CLOSED';
CREATE INDEX wait_open ON holdfast.wait (run) WHERE status = 'OPEN';

-- Payloads whose wait is not open yet.
CREATE TABLE holdfast.message (
    run bigint NOT NULL,
    size bigint NOT NULL,
    at bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    text text,
    digest text NOT NULL,
    blob text,
    actor text,
    PRIMARY KEY (run, name)
);

-- Rights to answer a wait, by the SHA-256 of the token.
CREATE TABLE holdfast.token (
    hash text COLLATE "C" PRIMARY KEY,
    run bigint NOT NULL,
    expires_at bigint NOT NULL,
    name text NOT NULL
);
CREATE INDEX token_run ON holdfast.token (run);

-- Results by key, shared by the runs of a workflow and tenant. The digest is NULL while the holder is at work.
CREATE TABLE holdfast.keyed (
    tenant text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    stage_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    run bigint NOT NULL,
    size bigint,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    holder text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    text text,
    digest text,
    blob text,
    PRIMARY KEY (tenant, workflow_id, stage_id, key)
);
CREATE INDEX keyed_holder ON holdfast.keyed (run, holder, generation, turn, item) WHERE digest IS NULL;
CREATE INDEX keyed_run ON holdfast.keyed (run);

CREATE TABLE holdfast.operation (
    tenant text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    -- When it may go; NULL while its run is there.
    forget_at bigint,
    command text NOT NULL,
    fingerprint text NOT NULL,
    result text NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX operation_run ON holdfast.operation (run_id);
CREATE INDEX operation_forget ON holdfast.operation (forget_at) WHERE forget_at IS NOT NULL;

CREATE TABLE holdfast.artifact (
    run bigint NOT NULL,
    size bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    blob text NOT NULL,
    digest text NOT NULL,
    media_type text NOT NULL,
    PRIMARY KEY (run, name)
);

-- The results of steps inside stage instances; the first of a name stands.
CREATE TABLE holdfast.checkpoint (
    run bigint NOT NULL,
    size bigint NOT NULL,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    stage_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    text text,
    digest text NOT NULL,
    blob text,
    PRIMARY KEY (run, stage_id, generation, turn, item, name)
);

CREATE TABLE holdfast.annotation (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run bigint NOT NULL,
    at bigint NOT NULL,
    generation integer,
    turn integer,
    item integer,
    attempt integer,
    name text NOT NULL,
    value text NOT NULL,
    stage_id text,
    actor text
);
CREATE INDEX annotation_run ON holdfast.annotation (run, id);

CREATE TABLE holdfast.log (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run bigint NOT NULL,
    at bigint NOT NULL,
    generation integer NOT NULL,
    turn integer NOT NULL,
    item integer NOT NULL,
    attempt integer NOT NULL,
    stage_id text NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    data text
);
CREATE INDEX log_run ON holdfast.log (run, id);

-- Large payloads and artifacts, unless another place is named for them. They are compressed already or not worth it.
CREATE TABLE holdfast.blob (
    key text COLLATE "C" PRIMARY KEY,
    data bytea NOT NULL
);
ALTER TABLE holdfast.blob ALTER COLUMN data SET STORAGE EXTERNAL;

-- Sinks that have asked for events. `backfill` is the last run whose stream was made for a sink that came later than
-- the runs; NULL when none is missing.
CREATE TABLE holdfast.sink (
    name text COLLATE "C" PRIMARY KEY,
    backfill bigint
);

-- Sinks that were forgotten: whoever asks later, be it the only one, has to be given runs that were told already.
CREATE TABLE holdfast.former_sink (
    name text COLLATE "C" PRIMARY KEY
);

-- How far each sink has read each run. `due_at` is the instant from which the stream may be leased: since when it has
-- undelivered events, or the end of its lease or delay; NULL when there is nothing to deliver or the stream is parked.
CREATE TABLE holdfast.stream (
    run bigint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    due_at bigint,
    failures integer NOT NULL DEFAULT 0,
    epoch integer NOT NULL DEFAULT 0,
    held boolean NOT NULL DEFAULT false,
    parked boolean NOT NULL DEFAULT false,
    sink text COLLATE "C" NOT NULL,
    error text,
    PRIMARY KEY (sink, run)
) WITH (
    -- Each delivery updates a row several times, and those of the past are many.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX stream_due ON holdfast.stream (sink, due_at, run) WHERE due_at IS NOT NULL;
CREATE INDEX stream_parked ON holdfast.stream (sink, run) WHERE parked;

-- Runs under way that nothing will ever advance: empty at all times.
CREATE VIEW holdfast.orphan_runs AS
SELECT run.id
FROM holdfast.run
WHERE run.status IN ('RUNNING', 'WAITING', 'PAUSED', 'COMPENSATING')
    AND NOT EXISTS (SELECT 1 FROM holdfast.job WHERE job.run = run.n AND job.status <> 'WAITING')
    AND NOT EXISTS (SELECT 1 FROM holdfast.timer WHERE timer.run = run.n)
    AND NOT EXISTS (SELECT 1 FROM holdfast.wait WHERE wait.run = run.n AND wait.status = 'OPEN')
UNION ALL
SELECT run.id
FROM holdfast.run
WHERE run.status = 'PENDING' AND run.held AND run.singleton IS NOT NULL AND run.finished_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM holdfast.timer WHERE timer.run = run.n)
    AND NOT EXISTS (
        SELECT 1 FROM holdfast.run other
        WHERE other.tenant = run.tenant AND other.workflow_id = run.workflow_id AND other.singleton = run.singleton
            AND other.finished_at IS NULL
            AND (NOT other.held OR EXISTS (SELECT 1 FROM holdfast.timer WHERE timer.run = other.n))
    );
