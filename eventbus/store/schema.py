"""The tables, as a person with the sqlite3 shell finds them.

Text ids, JSON payloads (column type ANY, so that binary codecs fit later), ISO 8601 UTC times. All
names begin with `eventbus_`; everything else in the file is the app's own. Every index earns its
place: roots carry no correlation and no causation, so those two are partial.
"""

from __future__ import annotations

APPLICATION_ID = 0x45764273  # "EvBs"
SCHEMA_VERSION = 2
OUTBOX = "eventbus_outbox"

_CORE = """
CREATE TABLE eventbus_log (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  log_id TEXT NOT NULL,               -- this log, for ever
  incarnation INTEGER NOT NULL,       -- raised when the log goes on after a loss or a restore
  copy_of TEXT,                       -- the log_id it was copied from
  schema_version INTEGER NOT NULL,
  types_revision INTEGER NOT NULL DEFAULT 0,  -- raised when a row of eventbus_types changes
  created_at TEXT NOT NULL
) STRICT;

CREATE TABLE eventbus_types (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,                 -- domain, integration, technical
  bases TEXT NOT NULL,                -- JSON: names of the event classes it derives from
  schema TEXT,
  UNIQUE (name, version)
) STRICT;

CREATE TABLE eventbus_sources (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE eventbus_events (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  type_id INTEGER NOT NULL,
  stream TEXT,
  sequence INTEGER,
  time TEXT NOT NULL,
  source_id INTEGER NOT NULL,
  correlation_id TEXT,                -- NULL on roots
  causation_id TEXT,                  -- NULL on roots
  metadata TEXT,                      -- JSON object
  codec TEXT,                         -- NULL is JSON
  payload ANY,                        -- NULL once erased
  payload_crc INTEGER NOT NULL,
  header_crc INTEGER NOT NULL,        -- over the header and payload_crc: an erased row still verifies
  salt BLOB,
  digest BLOB,
  chain BLOB,
  erased_at TEXT
) STRICT;
CREATE UNIQUE INDEX eventbus_events_stream ON eventbus_events (stream, sequence) WHERE stream IS NOT NULL;
CREATE INDEX eventbus_events_correlation ON eventbus_events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX eventbus_events_causation ON eventbus_events (causation_id) WHERE causation_id IS NOT NULL;

CREATE TABLE eventbus_stream_heads (  -- written when events are pruned, so that sequences go on
  stream TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_keys (          -- idempotency keys, scoped by source
  source_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (source_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_subscriptions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given out again: an epoch means something for one subscription only
  name TEXT NOT NULL,
  generation INTEGER NOT NULL DEFAULT 1,
  role TEXT NOT NULL,                 -- subscription, projection, relay, saga
  run INTEGER NOT NULL DEFAULT 1,     -- raised by a rewind
  state TEXT NOT NULL DEFAULT 'active',   -- active, paused, building, failed
  state_reason TEXT,
  start INTEGER NOT NULL,             -- events after this position count
  cursor INTEGER NOT NULL,            -- up to here everything is settled or has a row in eventbus_deliveries
  claim INTEGER NOT NULL,             -- up to here handlers may have been running
  ahead TEXT NOT NULL DEFAULT '[]',   -- JSON: positions beyond the cursor that are settled
  handled INTEGER NOT NULL DEFAULT 0,
  discarded INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,   -- raised by each process that takes it over
  owner TEXT,
  types TEXT NOT NULL,                -- JSON: [{"match": name or pattern, "how": ..., "since": position}]
  order_by TEXT NOT NULL,
  definition TEXT,                    -- a projection's version and tables
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  changes INTEGER NOT NULL DEFAULT 0,  -- raised with each action of a person: its owner reads its rows again
  breaker TEXT,                       -- the name of its circuit breaker
  UNIQUE (name, generation)
) STRICT;

CREATE TABLE eventbus_deliveries (    -- only what is not normal
  subscription_id INTEGER NOT NULL,
  position INTEGER NOT NULL,
  order_key TEXT,                     -- NULL stands alone
  state TEXT NOT NULL,                -- retrying, held, dead, waiting
  attempts INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,   -- attempts, and runs that used up none (outages)
  due TEXT,
  error TEXT,                         -- of the last attempt, one line
  since TEXT NOT NULL,                -- when it came into its state; retrying: when due was written
  payload ANY,                        -- JSON of a person's: delivered instead of the log's, which stays; else NULL
  PRIMARY KEY (subscription_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX eventbus_deliveries_key ON eventbus_deliveries (subscription_id, order_key, position);
CREATE INDEX eventbus_deliveries_due ON eventbus_deliveries (due) WHERE state = 'retrying';
CREATE INDEX eventbus_deliveries_dead ON eventbus_deliveries (subscription_id, position) WHERE state = 'dead';

CREATE TABLE eventbus_attempts (      -- failed ones, kept until the delivery is settled
  subscription_id INTEGER NOT NULL,
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  started_at TEXT NOT NULL,
  seconds REAL,
  error_type TEXT,
  message TEXT,
  traceback TEXT,
  PRIMARY KEY (subscription_id, run, position, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_steps (
  subscription_id INTEGER NOT NULL,
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  result ANY,
  finished_at TEXT NOT NULL,
  PRIMARY KEY (subscription_id, run, position, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_snapshots (
  stream TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  state ANY NOT NULL,
  PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_archives (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  path TEXT NOT NULL,
  checksum TEXT NOT NULL,
  archived_at TEXT NOT NULL
) STRICT;

CREATE TABLE eventbus_listeners (     -- processes to wake after a commit
  address TEXT PRIMARY KEY,
  pid INTEGER NOT NULL,
  since TEXT NOT NULL
) STRICT, WITHOUT ROWID;

"""

# The doorway for everybody else's SQL, here and in other applications' databases: those without STRICT, as an
# older SQLite than ours may read them. Its two defaults are a UUID of version 4 and the time as the log spells it.
OUTBOX_COLUMNS = """
  position INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which rows are moved
  id TEXT NOT NULL UNIQUE             -- of the event
    DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'
      || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
  event_type TEXT NOT NULL,
  version INTEGER,                    -- NULL: the newest there is
  payload TEXT NOT NULL DEFAULT '{}', -- JSON object
  stream TEXT,                        -- NULL: as the event's class says
  metadata TEXT,                      -- JSON object
  correlation_id TEXT,
  causation_id TEXT,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
"""

# Tables of the rooms above, which came with version 2.
ROOMS = f"""
CREATE TABLE IF NOT EXISTS eventbus_outbox ({OUTBOX_COLUMNS}) STRICT;  -- an adopted file may have one already

CREATE TABLE eventbus_outbox_moved (  -- rows of other files' outboxes: in the log, and maybe still over there
  outbox TEXT NOT NULL,               -- the path of that file
  position INTEGER NOT NULL,
  digest BLOB NOT NULL,               -- of the whole row
  PRIMARY KEY (outbox, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_breakers (      -- circuit breakers; one that was never tripped has no row
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,                -- closed, open, half-open
  failures INTEGER NOT NULL,          -- in a row
  until TEXT,                         -- open: when a delivery may probe; half-open: when another one may
  reason TEXT,                        -- the error of the last failure, one line
  since TEXT NOT NULL                 -- when it came into its state
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_inbox (         -- the numbers of senders from outside, for each source and stream
  id INTEGER PRIMARY KEY,
  source_id INTEGER NOT NULL,
  stream TEXT NOT NULL,               -- '' for what belongs to no stream
  first INTEGER NOT NULL,             -- where counting began
  expected INTEGER NOT NULL,          -- the lowest number that was neither delivered nor skipped
  buffered INTEGER NOT NULL DEFAULT 0,  -- how many wait in eventbus_inbox_events
  on_gap TEXT NOT NULL DEFAULT 'wait',  -- wait, skip, dead
  gap_timeout REAL,                   -- seconds
  since TEXT,                         -- when the first of those that wait arrived; NULL without a gap
  due TEXT,                           -- when on_gap is to be followed
  asked INTEGER,                      -- position of the SequenceGap that a person decides about
  asked_to INTEGER,                   -- the last number that is about
  UNIQUE (source_id, stream)
) STRICT;
CREATE INDEX eventbus_inbox_due ON eventbus_inbox (due) WHERE due IS NOT NULL;
CREATE INDEX eventbus_inbox_asked ON eventbus_inbox (asked) WHERE asked IS NOT NULL;

CREATE TABLE eventbus_inbox_events (  -- arrived too early, in the form in which they will be stored
  inbox_id INTEGER NOT NULL,
  number INTEGER NOT NULL,            -- the sender's
  source_id INTEGER NOT NULL,
  key TEXT NOT NULL,                  -- the sender's id
  event_id TEXT NOT NULL,
  type_id INTEGER NOT NULL,
  digest BLOB NOT NULL,
  correlation_id TEXT,
  causation_id TEXT,
  metadata TEXT,
  received_at TEXT NOT NULL,
  payload ANY NOT NULL,
  UNIQUE (inbox_id, number)
) STRICT;
CREATE INDEX eventbus_inbox_events_key ON eventbus_inbox_events (source_id, key);

CREATE TABLE eventbus_inbox_skipped ( -- numbers that were given up
  inbox_id INTEGER NOT NULL,
  last INTEGER NOT NULL,
  first INTEGER NOT NULL,
  position INTEGER NOT NULL,          -- of the SequenceSkipped that says so
  PRIMARY KEY (inbox_id, last)
) STRICT, WITHOUT ROWID;

CREATE TABLE eventbus_schedules (     -- what is to be published, and when
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,          -- at, in: the id that the event will have; every, cron: a name
  kind TEXT NOT NULL,                 -- at (a time), in (seconds from then on), every (seconds), cron
  state TEXT NOT NULL DEFAULT 'active',  -- active, cancelled; failed: the event could not be published
  spec TEXT,                          -- every, cron: the seconds, the expression
  timezone TEXT,                      -- cron
  catch_up TEXT NOT NULL,             -- all, latest, skip
  series TEXT NOT NULL,               -- the ids of its events derive from this and the number of the run
  start TEXT NOT NULL,                -- every: where intervals are counted from
  run TEXT,                           -- the next time it stands for
  due TEXT,                           -- when that is looked at: later than run where its factory has failed
  since TEXT NOT NULL,                -- when due was written
  last_run TEXT,
  runs INTEGER NOT NULL DEFAULT 0,    -- numbers given to runs
  missed INTEGER NOT NULL DEFAULT 0,  -- runs that were passed over, or whose factory has failed
  attempts INTEGER NOT NULL DEFAULT 0,  -- of the factory, for the next run
  error TEXT,
  type_id INTEGER,                    -- at, in: the event as it will be
  source_id INTEGER,
  stream TEXT,
  correlation_id TEXT,
  causation_id TEXT,
  metadata TEXT,
  payload ANY,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX eventbus_schedules_due ON eventbus_schedules (due, id) WHERE state = 'active' AND spec IS NULL;
"""

_VIEWS = """
-- for people: the same rows with names instead of numbers
CREATE VIEW eventbus_event_log AS
  SELECT e.position, e.id, t.name AS type, t.version, t.kind, e.stream, e.sequence, e.time, s.name AS source,
         e.correlation_id, e.causation_id, e.metadata, e.payload
  FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id JOIN eventbus_sources s ON s.id = e.source_id;

CREATE VIEW eventbus_dead_letters AS
  SELECT s.name AS subscription, d.position, e.id, t.name AS type, e.stream, d.order_key, d.attempts, d.error,
         d.since, e.payload
  FROM eventbus_deliveries d JOIN eventbus_subscriptions s ON s.id = d.subscription_id
  JOIN eventbus_events e ON e.position = d.position JOIN eventbus_types t ON t.id = e.type_id
  WHERE d.state = 'dead';

CREATE VIEW eventbus_lag AS
  SELECT s.name AS subscription, s.generation, s.role, s.state, s.cursor,
         (SELECT COALESCE(max(position), 0) FROM eventbus_events) - s.cursor AS behind,
         s.handled,
         count(*) FILTER (WHERE d.state = 'retrying') AS retrying,
         count(*) FILTER (WHERE d.state = 'held') AS held,
         count(*) FILTER (WHERE d.state = 'dead') AS dead
  FROM eventbus_subscriptions s LEFT JOIN eventbus_deliveries d ON d.subscription_id = s.id
  GROUP BY s.id;
"""

DDL = _CORE + ROOMS + _VIEWS
