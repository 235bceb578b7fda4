"""The tables of the store and how an older store becomes a newer one: one script per version, in order.

Run by whichever process opens the store first. A store of a newer version is refused, never touched.
"""

from __future__ import annotations

V1 = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (
        status IN ('scheduled', 'queued', 'running', 'retrying', 'completed', 'failed', 'cancelled')),
    cluster TEXT NOT NULL,
    priority INTEGER NOT NULL,
    queue TEXT NOT NULL,
    tags TEXT NOT NULL,
    params TEXT NOT NULL,
    plan TEXT NOT NULL,
    options TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    payload TEXT NOT NULL,
    blobs TEXT NOT NULL,
    progress_current REAL NOT NULL DEFAULT 0,
    progress_total REAL NOT NULL DEFAULT 0,
    progress_message TEXT NOT NULL DEFAULT '',
    summary TEXT,
    error TEXT,
    done INTEGER NOT NULL DEFAULT 0,
    failed_items INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    lost INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    cancelled_by TEXT NOT NULL DEFAULT '',
    rerun_of TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    run_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) STRICT;

CREATE INDEX jobs_waiting ON jobs (cluster, priority DESC, seq) WHERE status IN ('queued', 'retrying');
CREATE INDEX jobs_scheduled ON jobs (cluster, run_at) WHERE status = 'scheduled';
CREATE INDEX jobs_running ON jobs (cluster, seq) WHERE status = 'running';
CREATE INDEX jobs_name ON jobs (name, seq);
CREATE INDEX jobs_kind ON jobs (kind, seq);
CREATE INDEX jobs_status ON jobs (status, seq);

-- A task is one span [start, stop) of a job's items on one worker.
CREATE TABLE tasks (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    task INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'completed', 'failed', 'cancelled', 'lost')),
    worker TEXT NOT NULL DEFAULT '',
    result BLOB,
    result_sha TEXT,
    error TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    PRIMARY KEY (job, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    task INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    stream TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (job, task, seq)
) STRICT;

CREATE TABLE artifacts (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sha TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    who TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX events_job ON events (job, id);

-- Who dispatches for a cluster. The epoch is the fencing token of every write that settles something.
CREATE TABLE leases (
    cluster TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    info TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
"""

V2 = """
-- A job that failed stays a dead letter until somebody retries or purges it.
ALTER TABLE jobs ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET dead = 1 WHERE status = 'failed';
-- While a job of a key is live, or for a while after, another submit returns that one.
ALTER TABLE jobs ADD COLUMN unique_key TEXT;
-- A job that has not begun by then never does; one that has not ended by then is ended.
ALTER TABLE jobs ADD COLUMN expires_at INTEGER;
ALTER TABLE jobs ADD COLUMN deadline_at INTEGER;
-- When the next attempt at the items of a failed task is due.
ALTER TABLE tasks ADD COLUMN retry_at INTEGER;
-- Packed works that are too small for a file each.
CREATE TABLE payloads (
    sha TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;

DROP INDEX jobs_waiting;
DROP INDEX jobs_scheduled;
CREATE INDEX jobs_waiting ON jobs (cluster, priority DESC, seq) WHERE status = 'queued';
CREATE INDEX jobs_scheduled ON jobs (cluster, run_at) WHERE status IN ('scheduled', 'retrying');
CREATE INDEX jobs_dead ON jobs (seq) WHERE dead = 1;
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_unique_past ON jobs (unique_key, seq) WHERE unique_key IS NOT NULL;
CREATE INDEX jobs_expiring ON jobs (cluster, expires_at) WHERE expires_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_deadlines ON jobs (cluster, deadline_at) WHERE deadline_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX events_warnings ON events (at) WHERE event IN ('stuck', 'failure rate');
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
"""

V3 = """
-- What later tasks of the job have to know of a finished one.
ALTER TABLE tasks ADD COLUMN carry BLOB;
-- A search that is to end with what it has.
ALTER TABLE jobs ADD COLUMN finish_requested INTEGER NOT NULL DEFAULT 0;
"""

V4 = """
-- What runs again and again, and what every run of it is made of.
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    trigger TEXT NOT NULL,
    policy TEXT NOT NULL,
    job TEXT NOT NULL,
    payload TEXT NOT NULL,
    blobs TEXT NOT NULL,
    enabled INTEGER NOT NULL DEFAULT 1,
    note TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    next_at INTEGER,
    runs INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (cluster, next_at) WHERE enabled = 1;

-- What became of each moment of a schedule: one row, and at most one job.
CREATE TABLE ticks (
    schedule TEXT NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    fire_at INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('fired', 'waiting', 'missed', 'coalesced', 'skipped')),
    why TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (schedule, fire_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX ticks_waiting ON ticks (fire_at) WHERE verdict = 'waiting';

-- Functions by name, with their code.
CREATE TABLE handlers (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    blobs TEXT NOT NULL,
    job TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- Of which schedule a job is a run, and of which moment.
ALTER TABLE jobs ADD COLUMN schedule TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN fire_at INTEGER;
CREATE INDEX jobs_schedule ON jobs (schedule, seq) WHERE schedule <> '';
"""

# The parts of version 5, one per noun.

_QUEUES = """
-- What holds for all jobs of a queue. Jobs may name one that is not here: it has no limits.
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    max_concurrent INTEGER CHECK (max_concurrent > 0),
    max_tasks INTEGER CHECK (max_tasks > 0),
    defaults TEXT NOT NULL DEFAULT '{}',
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paused', 'draining')),
    state_by TEXT NOT NULL DEFAULT '',
    state_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One look-up per queue finds its next jobs, however many wait in the others.
CREATE INDEX jobs_queued ON jobs (cluster, queue, priority DESC, seq) WHERE status = 'queued';
-- Nothing to keep up to date for those who name no queue.
CREATE INDEX jobs_queue ON jobs (queue, status) WHERE queue <> 'default';
"""

_CHAINS = """
-- For which other jobs a job waits, or has waited. The row outlives the parent: it says how that ended.
CREATE TABLE parents (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    parent TEXT NOT NULL,
    wanted TEXT NOT NULL CHECK (wanted IN ('success', 'failure', 'any')),
    given INTEGER NOT NULL DEFAULT 0,
    ended TEXT CHECK (ended IN ('completed', 'failed', 'cancelled', 'skipped')),
    why TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX parents_parent ON parents (parent);
CREATE INDEX parents_open ON parents (job, place) WHERE ended IS NULL;
-- How many parents of a job have not ended, and when it may begin once they have.
ALTER TABLE jobs ADD COLUMN open_parents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN not_before INTEGER;
CREATE INDEX jobs_reruns ON jobs (rerun_of) WHERE rerun_of <> '';
"""

_LIMITS = """
-- Circuit breakers of outside services.
CREATE TABLE breakers (
    name TEXT PRIMARY KEY,
    rule TEXT NOT NULL DEFAULT '{}',
    state TEXT NOT NULL DEFAULT '{}',
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

-- At most so many calls in so many seconds; due is what the last one left for the next (seconds since 1970).
CREATE TABLE rate_limits (
    name TEXT PRIMARY KEY,
    calls INTEGER NOT NULL,
    per REAL NOT NULL,
    due REAL NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What was answered to a question of a job: one that is asked again gets the same answer, and counts once.
CREATE TABLE answers (
    question TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_at ON answers (at);

-- What the calls of a breaker last gave, for the time when they fail.
CREATE TABLE last_values (
    breaker TEXT NOT NULL,
    call TEXT NOT NULL,
    at INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (breaker, call)
) STRICT;
CREATE INDEX last_values_at ON last_values (breaker, at);

-- Jobs that need a breaker and have asked it themselves: their outcome is not counted once more.
CREATE TABLE breaker_users (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    breaker TEXT NOT NULL,
    PRIMARY KEY (job, breaker)
) STRICT, WITHOUT ROWID;

-- The breaker for which a job was put off, and the jobs that need any.
ALTER TABLE jobs ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_put_off ON jobs (waits_for) WHERE waits_for <> '';
CREATE INDEX jobs_needing ON jobs (cluster, status) WHERE options ->> 'needs' IS NOT NULL AND finished_at IS NULL;
"""

_NOTICES = """
-- Who is told of what, and how that goes.
CREATE TABLE channels (
    name TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    kinds TEXT NOT NULL DEFAULT '[]',
    tags TEXT NOT NULL DEFAULT '[]',
    longer_than INTEGER NOT NULL DEFAULT 0,
    configured TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    quiet_until INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    sent_at INTEGER
) STRICT, WITHOUT ROWID;

-- What is to be told, written by the transaction in which it happened. A number is never used again: readers count on
-- by it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL REFERENCES channels (name) ON DELETE CASCADE,
    cluster TEXT NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    facts TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    done_at INTEGER,
    why TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_waiting ON outbox (cluster, id) WHERE done_at IS NULL;
CREATE INDEX outbox_channel ON outbox (channel, id);

-- CROSS JOIN: where there is no channel, the job is not even looked at. A notebook is told by whoever looks on.
CREATE TRIGGER outbox_of_jobs AFTER INSERT ON events
WHEN NEW.event IN ('completed', 'failed', 'cancelled', 'retrying', 'stuck', 'failure rate')
BEGIN
    INSERT INTO outbox (channel, cluster, at, event, facts, done_at)
    SELECT c.name, j.cluster, NEW.at, NEW.event, json_object(
        'job', j.id, 'name', j.name, 'kind', j.kind, 'queue', j.queue, 'schedule', j.schedule, 'tags', json(j.tags),
        'status', j.status, 'attempt', j.attempt, 'code', j.error ->> 'code', 'type', j.error ->> 'type',
        'message', substr(j.error ->> 'message', 1, 500), 'detail', NEW.detail, 'by', j.cancelled_by,
        'seconds', (NEW.at - coalesce(j.started_at, j.created_at)) / 1e6
    ), CASE c.url WHEN 'notebook' THEN NEW.at END
    FROM channels AS c CROSS JOIN jobs AS j ON j.id = NEW.job
    WHERE (
        EXISTS (SELECT 1 FROM json_each(c.events) AS e
                WHERE e.value = NEW.event OR (e.value = 'dead' AND NEW.event = 'failed' AND j.dead = 1))
        AND (NEW.event = 'failure rate' OR (
            (c.kinds = '[]' OR EXISTS (SELECT 1 FROM json_each(c.kinds) AS k WHERE k.value = j.kind))
            AND (c.tags = '[]' OR EXISTS (SELECT 1 FROM json_each(c.tags) AS a JOIN json_each(j.tags) AS b
                                          ON a.value = b.value))
            AND (j.finished_at IS NULL OR NEW.at - coalesce(j.started_at, j.created_at) >= c.longer_than)
        ))
    ) OR (
        NEW.event NOT IN ('failure rate', 'retrying')
        AND EXISTS (SELECT 1 FROM json_each(j.options, '$.notify') AS n WHERE n.value = c.name)
    );
END;

-- Paused by jobnb itself; a person who pauses one knows, and one that is over has done its work.
CREATE TRIGGER outbox_of_schedules AFTER UPDATE OF enabled ON schedules
WHEN OLD.enabled = 1 AND NEW.enabled = 0 AND NEW.note <> 'paused' AND NEW.note NOT LIKE 'over%'
BEGIN
    INSERT INTO outbox (channel, cluster, at, event, facts, done_at)
    SELECT c.name, NEW.cluster, CAST(unixepoch('subsec') * 1e6 AS INTEGER), 'schedule paused',
        json_object('schedule', NEW.name, 'name', NEW.name, 'detail', NEW.note),
        CASE c.url WHEN 'notebook' THEN CAST(unixepoch('subsec') * 1e6 AS INTEGER) END
    FROM channels AS c
    WHERE EXISTS (SELECT 1 FROM json_each(c.events) AS e WHERE e.value = 'schedule paused')
        OR EXISTS (SELECT 1 FROM json_each(NEW.job, '$.options.notify') AS n WHERE n.value = c.name);
END;
"""

_TIMETABLE = """
-- The jobs that every run of a schedule has beside its own one, and how they hang together.
ALTER TABLE schedules ADD COLUMN beside TEXT NOT NULL DEFAULT '{}';
-- Counts how often somebody has changed, paused or resumed it.
ALTER TABLE schedules ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
"""

V5 = _QUEUES + _CHAINS + _LIMITS + _NOTICES + _TIMETABLE

#: ``MIGRATIONS[n]`` takes a store from version n to n + 1. Never edit one that was released: add the next.
MIGRATIONS: tuple[str, ...] = (V1, V2, V3, V4, V5)
