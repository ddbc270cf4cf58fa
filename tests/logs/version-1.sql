PRAGMA application_id = 1165378163;
BEGIN TRANSACTION;
CREATE TABLE eventbus_archives (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  path TEXT NOT NULL,
  checksum TEXT NOT NULL,
  archived_at TEXT NOT NULL
) STRICT;
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
INSERT INTO "eventbus_attempts" VALUES(1,1,1,1,'2026-01-01T00:00:00.000000Z',0.0,'Oops','no','Traceback (most recent call last):
  File "eventbus/worker/attempts.py", line 110, in run_here
    call(attempt.event(), context(item))
  File "eventbus/worker/runners.py", line 111, in call
    result = work.call(event, context)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "eventbus/worker/subscribing.py", line 50, in call
    return self._callee(event, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "eventbus/handlers/callee.py", line 30, in __call__
    return self.function(event, context) if self.wants_context else self.function(event)
                                                                    ^^^^^^^^^^^^^^^^^^^^
  File "shop.py", line 8, in stock
delivery_stage.Oops: no
');
INSERT INTO "eventbus_attempts" VALUES(1,1,3,1,'2026-01-01T00:00:00.000000Z',0.0,'Oops','no','Traceback (most recent call last):
  File "eventbus/worker/attempts.py", line 110, in run_here
    call(attempt.event(), context(item))
  File "eventbus/worker/runners.py", line 111, in call
    result = work.call(event, context)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "eventbus/worker/subscribing.py", line 50, in call
    return self._callee(event, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "eventbus/handlers/callee.py", line 30, in __call__
    return self.function(event, context) if self.wants_context else self.function(event)
                                                                    ^^^^^^^^^^^^^^^^^^^^
  File "shop.py", line 8, in stock
delivery_stage.Oops: no
');
CREATE TABLE eventbus_deliveries (    -- only what is not normal
  subscription_id INTEGER NOT NULL,
  position INTEGER NOT NULL,
  order_key TEXT,                     -- NULL stands alone
  state TEXT NOT NULL,                -- retrying, held, dead, waiting
  attempts INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,   -- attempts, and runs that used up none (outages)
  due TEXT,
  error TEXT,                         -- of the last attempt, one line
  since TEXT NOT NULL,                -- when it came into its state
  PRIMARY KEY (subscription_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO "eventbus_deliveries" VALUES(1,1,'item-1','dead',1,1,NULL,'Oops: no','2026-01-01T00:00:00.000000Z');
INSERT INTO "eventbus_deliveries" VALUES(1,2,'item-1','held',0,0,NULL,NULL,'2026-01-01T00:00:00.000000Z');
INSERT INTO "eventbus_deliveries" VALUES(1,3,'item-2','dead',1,1,NULL,'Oops: no','2026-01-01T00:00:00.000000Z');
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
INSERT INTO "eventbus_events" VALUES(1,'019b76da-a800-7000-8000-000100000002',1,'item-1',1,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,NULL,NULL,'{"number":1}',3257249786,2509678887,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(2,'019b76da-a800-7000-8000-000100000003',1,'item-1',2,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,NULL,NULL,'{"number":2}',3909680185,1812046285,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(3,'019b76da-a800-7000-8000-000100000004',1,'item-2',1,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,NULL,NULL,'{"number":3}',4027829624,2482968688,NULL,NULL,NULL,NULL);
CREATE TABLE eventbus_keys (          -- idempotency keys, scoped by source
  source_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (source_id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "eventbus_keys" VALUES(1,'k',3,X'216C7B31FB7E5E02E61068425FF9A9D3');
CREATE TABLE eventbus_listeners (     -- processes to wake after a commit
  address TEXT PRIMARY KEY,
  pid INTEGER NOT NULL,
  since TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_log (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  log_id TEXT NOT NULL,               -- this log, for ever
  incarnation INTEGER NOT NULL,       -- raised when the log goes on after a loss or a restore
  copy_of TEXT,                       -- the log_id it was copied from
  schema_version INTEGER NOT NULL,
  types_revision INTEGER NOT NULL DEFAULT 0,  -- raised when a row of eventbus_types changes
  created_at TEXT NOT NULL
) STRICT;
INSERT INTO "eventbus_log" VALUES(1,'019b76da-a800-7000-8000-000100000001',1,NULL,1,0,'2026-01-01T00:00:00.000000Z');
CREATE TABLE eventbus_snapshots (
  stream TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  state ANY NOT NULL,
  PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_sources (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "eventbus_sources" VALUES(1,'log');
CREATE TABLE eventbus_steps (
  subscription_id INTEGER NOT NULL,
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  result ANY,
  finished_at TEXT NOT NULL,
  PRIMARY KEY (subscription_id, run, position, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_stream_heads (  -- written when events are pruned, so that sequences go on
  stream TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL
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
  UNIQUE (name, generation)
) STRICT;
INSERT INTO "eventbus_subscriptions" VALUES(1,'stock',1,'subscription',1,'active',NULL,0,3,3,'[]',0,0,0,1,NULL,'[{"match": "stock.Counted", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}, {"match": "Placed", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}]','stream',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
CREATE TABLE eventbus_types (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,                 -- domain, integration, technical
  bases TEXT NOT NULL,                -- JSON: names of the event classes it derives from
  schema TEXT,
  UNIQUE (name, version)
) STRICT;
INSERT INTO "eventbus_types" VALUES(1,'stock.Counted',1,'domain','[]',NULL);
CREATE UNIQUE INDEX eventbus_events_stream ON eventbus_events (stream, sequence) WHERE stream IS NOT NULL;
CREATE INDEX eventbus_events_correlation ON eventbus_events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX eventbus_events_causation ON eventbus_events (causation_id) WHERE causation_id IS NOT NULL;
CREATE INDEX eventbus_deliveries_key ON eventbus_deliveries (subscription_id, order_key, position);
CREATE INDEX eventbus_deliveries_due ON eventbus_deliveries (due) WHERE state = 'retrying';
CREATE INDEX eventbus_deliveries_dead ON eventbus_deliveries (subscription_id, position) WHERE state = 'dead';
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('eventbus_subscriptions',1);
INSERT INTO "sqlite_sequence" VALUES('eventbus_events',3);
COMMIT;
