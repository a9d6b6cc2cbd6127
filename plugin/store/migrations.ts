/** The tables, as the list of what was ever done to them. Forward only: a step that was released is never changed. */

/** `PRAGMA application_id` of our files: 'clnf'. */
export const APPLICATION_ID = 0x636c6e66;

/** Step n makes schema version n + 1 (`PRAGMA user_version`) of version n. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE factories (
    instance_id TEXT PRIMARY KEY NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('coordinator', 'member')),
    phase       TEXT NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision > 0),
    state       TEXT NOT NULL,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,
    kind        TEXT NOT NULL,
    effect      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER NOT NULL,
    finished    INTEGER,
    failure     TEXT
  ) STRICT;
  CREATE INDEX outbox_pending ON outbox (id) WHERE finished IS NULL;
  CREATE INDEX outbox_finished ON outbox (finished) WHERE finished IS NOT NULL;

  -- Architecture 12.6. The key is the whole rule: one sighash per outpoint and purpose, for good.
  CREATE TABLE sign_once (
    txid    TEXT NOT NULL,
    vout    INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    sighash TEXT NOT NULL,
    PRIMARY KEY (txid, vout, purpose)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER sign_once_no_update BEFORE UPDATE ON sign_once BEGIN SELECT RAISE(ABORT, 'sign_once is append-only'); END;
  CREATE TRIGGER sign_once_no_delete BEFORE DELETE ON sign_once BEGIN SELECT RAISE(ABORT, 'sign_once is append-only'); END;

  CREATE TABLE transactions (
    id          INTEGER PRIMARY KEY,
    instance_id TEXT NOT NULL REFERENCES factories (instance_id),
    txid        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    raw         TEXT NOT NULL,
    member      INTEGER,
    UNIQUE (instance_id, txid)
  ) STRICT;
  CREATE INDEX transactions_txid ON transactions (txid);

  CREATE TABLE requests (
    request_id  TEXT PRIMARY KEY NOT NULL,
    command     TEXT NOT NULL,
    digest      TEXT NOT NULL,
    instance_id TEXT,
    result      TEXT
  ) STRICT;

  CREATE TABLE journal (
    seq  INTEGER PRIMARY KEY,
    line TEXT NOT NULL,
    hash TEXT NOT NULL
  ) STRICT;
  CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
  CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;

  CREATE TABLE blocks (
    height INTEGER PRIMARY KEY,
    hash   TEXT NOT NULL,
    prev   TEXT NOT NULL
  ) STRICT;

  CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
  ) STRICT;

  -- One row: the counter that never goes back, and where the journal ends.
  CREATE TABLE ledger (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    generation   INTEGER NOT NULL,
    journal_seq  INTEGER NOT NULL,
    journal_hash TEXT NOT NULL
  ) STRICT;
  CREATE TRIGGER ledger_forward_only BEFORE UPDATE ON ledger
    WHEN NEW.generation < OLD.generation OR NEW.journal_seq < OLD.journal_seq
    BEGIN SELECT RAISE(ABORT, 'the ledger goes forward only'); END;
  INSERT INTO ledger VALUES (1, 0, 0, '${'00'.repeat(32)}');
  `,
];
