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
  File "attempts.py", line 201, in run_here
    call(attempt.event(), context(item))
  File "runners.py", line 114, in call
    result = work.call(event, context)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "subscribing.py", line 57, in call
    return self._callee(event, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "callee.py", line 30, in __call__
    return self.function(event, context) if self.wants_context else self.function(event)
                                                                    ^^^^^^^^^^^^^^^^^^^^
  File "fixture_stage.py", line 56, in mail
    self._note(f"mail {happened.order_id}")
  File "fixture_stage.py", line 70, in _note
    raise Oops("no")
delivery_stage.Oops: no
');
INSERT INTO "eventbus_attempts" VALUES(2,1,1,1,'2026-01-01T00:00:00.000000Z',0.0,'Oops','no','Traceback (most recent call last):
  File "attempts.py", line 201, in run_here
    call(attempt.event(), context(item))
  File "runners.py", line 114, in call
    result = work.call(event, context)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "subscribing.py", line 57, in call
    return self._callee(event, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "callee.py", line 30, in __call__
    return self.function(event, context) if self.wants_context else self.function(event)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "fixture_stage.py", line 60, in charge
    self._note(f"charge {placed.order_id}")
  File "fixture_stage.py", line 70, in _note
    raise Oops("no")
delivery_stage.Oops: no
');
INSERT INTO "eventbus_attempts" VALUES(3,1,3,1,'2026-01-01T00:00:00.000000Z',0.0,'Oops','no','Traceback (most recent call last):
  File "attempts.py", line 201, in run_here
    call(attempt.event(), context(item))
  File "runners.py", line 114, in call
    result = work.call(event, context)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "subscribing.py", line 57, in call
    return self._callee(event, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "callee.py", line 30, in __call__
    return self.function(event, context) if self.wants_context else self.function(event)
                                                                    ^^^^^^^^^^^^^^^^^^^^
  File "fixture_stage.py", line 63, in ask
    self._note(f"ask {counted.number}")
  File "fixture_stage.py", line 70, in _note
    raise Oops("no")
delivery_stage.Oops: no
');
CREATE TABLE eventbus_breakers (      -- circuit breakers; one that was never tripped has no row
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,                -- closed, open, half-open
  failures INTEGER NOT NULL,          -- in a row
  until TEXT,                         -- open: when a delivery may probe; half-open: when another one may
  reason TEXT,                        -- the error of the last failure, one line
  since TEXT NOT NULL                 -- when it came into its state
) STRICT, WITHOUT ROWID;
INSERT INTO "eventbus_breakers" VALUES('supplier','open',1,'2026-01-01T00:10:00.000000Z','Oops: no','2026-01-01T00:00:00.000000Z');
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
INSERT INTO "eventbus_deliveries" VALUES(1,1,'order-1','dead',1,1,NULL,'Oops: no','2026-01-01T00:00:00.000000Z','{"order_id":"1","number":9}');
INSERT INTO "eventbus_deliveries" VALUES(1,2,'order-1','held',0,0,NULL,NULL,'2026-01-01T00:00:00.000000Z',NULL);
INSERT INTO "eventbus_deliveries" VALUES(2,1,NULL,'retrying',1,1,'2026-01-01T00:00:00.500000Z','Oops: no','2026-01-01T00:00:00.000000Z',NULL);
INSERT INTO "eventbus_deliveries" VALUES(3,3,NULL,'retrying',1,1,'2026-01-01T00:00:00.500000Z','Oops: no','2026-01-01T00:00:00.000000Z',NULL);
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
INSERT INTO "eventbus_events" VALUES(1,'019b76da-a800-7000-8000-000700000002',1,'order-1',1,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,'{"user":"ada"}',NULL,'{"order_id":"1","number":1}',3749687420,1043042022,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(2,'019b76da-a800-7000-8000-000700000004',2,'order-1',2,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,NULL,NULL,'{"order_id":"1"}',2870504494,409891197,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(3,'019b76da-a800-7000-8000-000700000005',3,NULL,NULL,'2026-01-01T00:00:00.000000Z',1,NULL,NULL,NULL,NULL,'{"number":1}',3257249786,327181345,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(4,'019b76da-a800-7000-8000-000700000006',4,NULL,NULL,'2026-01-01T00:00:00.000000Z',1,'019b76da-a800-7000-8000-000700000002','019b76da-a800-7000-8000-000700000002',NULL,NULL,'{"subscription":"mail","event_id":"019b76da-a800-7000-8000-000700000002","event_type":"Placed","position":1,"who":"ada","why":"a typo","payload":"{\"order_id\":\"1\",\"number\":9}"}',1675386145,373450699,NULL,NULL,NULL,NULL);
INSERT INTO "eventbus_events" VALUES(5,'f35de6a1-bb86-8317-b485-13f1f614a7c7',3,NULL,NULL,'2026-01-01T00:00:00.000000Z',2,NULL,NULL,'{"sender":{"id":"w-1","sequence":1,"received_at":"2026-01-01T00:00:00.000000Z"}}',NULL,'{"number":5}',2789829374,3293229183,NULL,NULL,NULL,NULL);
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
INSERT INTO "eventbus_inbox" VALUES(1,2,'',1,2,1,'dead',86400.0,'2026-01-01T00:00:00.000000Z','2026-01-02T00:00:00.000000Z',NULL,NULL);
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
INSERT INTO "eventbus_inbox_events" VALUES(1,3,2,'w-3','8003d74f-a690-8ab0-ae29-50ae9841cf8f',3,X'4A0D935A795DC9F8A22310DBC8AED9E1',NULL,NULL,'{"sender":{"id":"w-3","sequence":3,"received_at":"2026-01-01T00:00:00.000000Z"}}','2026-01-01T00:00:00.000000Z','{"number":7}');
CREATE TABLE eventbus_inbox_skipped ( -- numbers that were given up
  inbox_id INTEGER NOT NULL,
  last INTEGER NOT NULL,
  first INTEGER NOT NULL,
  position INTEGER NOT NULL,          -- of the SequenceSkipped that says so
  PRIMARY KEY (inbox_id, last)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_keys (          -- idempotency keys, scoped by source
  source_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (source_id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "eventbus_keys" VALUES(1,'order 1',1,X'8F4A15837D63433BF7F6580CE0C9D107');
INSERT INTO "eventbus_keys" VALUES(2,'w-1',5,X'016BD79ED778A7F6D51D99DD5A66BD80');
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
INSERT INTO "eventbus_log" VALUES(1,'019b76da-a800-7000-8000-000700000001',1,NULL,2,0,'2026-01-01T00:00:00.000000Z');
CREATE TABLE eventbus_outbox (
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
) STRICT;
INSERT INTO "eventbus_outbox" VALUES(1,'outbox-1','stock.Counted',NULL,'{"number": 9}',NULL,NULL,NULL,NULL,'2026-01-01T00:00:00.000000Z');
CREATE TABLE eventbus_outbox_moved (  -- rows of other files' outboxes: in the log, and maybe still over there
  outbox TEXT NOT NULL,               -- the path of that file
  position INTEGER NOT NULL,
  digest BLOB NOT NULL,               -- of the whole row
  PRIMARY KEY (outbox, position)
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
INSERT INTO "eventbus_schedules" VALUES(1,'hourly','every','active','3600',NULL,'latest','019b76da-a800-7000-8000-000700000003','2026-01-01T00:00:00.000000Z','2026-01-01T01:00:00.000000Z','2026-01-01T01:00:00.000000Z','2026-01-01T00:00:00.000000Z',NULL,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
INSERT INTO "eventbus_schedules" VALUES(2,'019b76da-a800-7000-8000-000700000007','in','active',NULL,NULL,'latest','019b76da-a800-7000-8000-000700000007','2026-01-01T00:00:00.000000Z','2026-01-02T00:00:00.000000Z','2026-01-02T00:00:00.000000Z','2026-01-01T00:00:00.000000Z',NULL,0,0,0,NULL,5,1,NULL,NULL,NULL,NULL,'{"text":"once"}','2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
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
INSERT INTO "eventbus_sources" VALUES(1,'shop');
INSERT INTO "eventbus_sources" VALUES(2,'warehouse');
CREATE TABLE eventbus_steps (
  subscription_id INTEGER NOT NULL,
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  result ANY,
  finished_at TEXT NOT NULL,
  PRIMARY KEY (subscription_id, run, position, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "eventbus_steps" VALUES(2,1,1,'charge','null','2026-01-01T00:00:00.000000Z');
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
  changes INTEGER NOT NULL DEFAULT 0,  -- raised with each action of a person: its owner reads its rows again
  breaker TEXT,                       -- the name of its circuit breaker
  UNIQUE (name, generation)
) STRICT;
INSERT INTO "eventbus_subscriptions" VALUES(1,'mail',1,'subscription',1,'active',NULL,0,3,3,'[]',0,0,0,2,NULL,'[{"match": "Placed", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}, {"match": "Paid", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}]','stream',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z',0,NULL);
INSERT INTO "eventbus_subscriptions" VALUES(2,'charges',1,'subscription',1,'active',NULL,0,3,3,'[]',0,0,0,1,NULL,'[{"match": "Placed", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}]','none',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z',0,NULL);
INSERT INTO "eventbus_subscriptions" VALUES(3,'supplier',1,'subscription',1,'active',NULL,0,3,3,'[]',0,0,0,1,NULL,'[{"match": "stock.Counted", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}]','stream',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z',0,'supplier');
INSERT INTO "eventbus_subscriptions" VALUES(4,'stock',1,'projection',1,'active',NULL,0,3,3,'[]',1,0,0,1,NULL,'[{"match": "stock.Counted", "how": "base", "since": 0, "seen": 0, "is_to_come": false, "version": 1}]','log','{"version": 1, "tables": [["stock", "number INTEGER PRIMARY KEY, times INTEGER NOT NULL", ["times"]]], "events": ["stock.Counted 1"]}','2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z',0,NULL);
CREATE TABLE eventbus_types (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,                 -- domain, integration, technical
  bases TEXT NOT NULL,                -- JSON: names of the event classes it derives from
  schema TEXT,
  UNIQUE (name, version)
) STRICT;
INSERT INTO "eventbus_types" VALUES(1,'Placed',1,'domain','[]',NULL);
INSERT INTO "eventbus_types" VALUES(2,'Paid',1,'domain','[]',NULL);
INSERT INTO "eventbus_types" VALUES(3,'stock.Counted',1,'domain','[]',NULL);
INSERT INTO "eventbus_types" VALUES(4,'eventbus.DeadLetterEdited',1,'technical','[]',NULL);
INSERT INTO "eventbus_types" VALUES(5,'stock.Reminded',1,'domain','[]',NULL);
CREATE TABLE "stock__1" (number INTEGER PRIMARY KEY, times INTEGER NOT NULL);
INSERT INTO "stock__1" VALUES(1,1);
CREATE UNIQUE INDEX eventbus_events_stream ON eventbus_events (stream, sequence) WHERE stream IS NOT NULL;
CREATE INDEX eventbus_events_correlation ON eventbus_events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX eventbus_events_causation ON eventbus_events (causation_id) WHERE causation_id IS NOT NULL;
CREATE INDEX eventbus_deliveries_key ON eventbus_deliveries (subscription_id, order_key, position);
CREATE INDEX eventbus_deliveries_due ON eventbus_deliveries (due) WHERE state = 'retrying';
CREATE INDEX eventbus_deliveries_dead ON eventbus_deliveries (subscription_id, position) WHERE state = 'dead';
CREATE INDEX eventbus_inbox_due ON eventbus_inbox (due) WHERE due IS NOT NULL;
CREATE INDEX eventbus_inbox_asked ON eventbus_inbox (asked) WHERE asked IS NOT NULL;
CREATE INDEX eventbus_inbox_events_key ON eventbus_inbox_events (source_id, key);
CREATE INDEX eventbus_schedules_due ON eventbus_schedules (due, id) WHERE state = 'active' AND spec IS NULL;
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
CREATE INDEX "stock__1_index1" ON "stock__1" (times);
CREATE VIEW "stock" AS /* eventbus projection */ SELECT * FROM "stock__1";
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('eventbus_subscriptions',4);
INSERT INTO "sqlite_sequence" VALUES('eventbus_schedules',2);
INSERT INTO "sqlite_sequence" VALUES('eventbus_events',5);
INSERT INTO "sqlite_sequence" VALUES('eventbus_outbox',1);
COMMIT;
