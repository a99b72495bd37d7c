// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// facts are what the server was found to be when it was opened.
type facts struct {
	version   int    // server_version_num
	commit    string // synchronous_commit
	standbys  string // synchronous_standby_names
	fsync     bool
	followers int  // standbys that stream from it, of any kind
	raise     bool // synchronous_commit is set to on for our connections
}

func readFacts(ctx context.Context, conn *pgx.Conn) (facts, error) {
	var f facts
	var version, fsync string
	var followers int64
	// A role without pg_monitor sees the rows of pg_stat_replication, but not
	// what is in them.
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num'), current_setting('synchronous_commit'),
		current_setting('synchronous_standby_names'), current_setting('fsync'), (SELECT count(*) FROM pg_stat_replication)`,
		pgx.QueryExecModeExec).Scan(&version, &f.commit, &f.standbys, &fsync, &followers)
	if err != nil {
		return f, err
	}
	if f.version, err = strconv.Atoi(version); err != nil {
		return f, fmt.Errorf("server version %q", version)
	}
	f.fsync, f.followers = fsync == "on", int(followers)
	// off answers before the rows are on disk, local before a standby has them.
	f.raise = f.commit == "off" || f.commit == "local"
	return f, nil
}

// Durability says in one line how safe a committed row is, for the log at
// start, and at which level that is to be said: slog.LevelWarn if guarantee 3
// (nothing sent twice) does not hold across a fail-over.
func (db *DB) Durability() (string, slog.Level) {
	if db.pg == nil {
		return "every commit is synced to the local disk", slog.LevelInfo
	}
	f := db.pg.facts
	var notes []string
	level := slog.LevelInfo
	switch {
	case !f.fsync:
		level = slog.LevelWarn
		notes = append(notes, "the server runs with fsync=off: a crash of its machine loses committed rows and with them nonces")
	case f.raise:
		notes = append(notes, "synchronous_commit="+f.commit+" of the server is overridden by on for this program's connections")
	}
	switch {
	case f.standbys != "":
		text := "replicated synchronously to " + synchronousTo(f.standbys)
		if f.commit == "remote_write" {
			text += ", which have the rows in memory only (synchronous_commit=remote_write)"
			level = slog.LevelWarn
		}
		notes = append(notes, text)
	case f.followers > 0:
		level = slog.LevelWarn
		notes = append(notes, fmt.Sprintf("replicated ASYNCHRONOUSLY to %d: a fail-over can lose committed rows and with them nonces (guarantee 3 needs synchronous replication: set synchronous_standby_names)", f.followers))
	default:
		notes = append(notes, "not replicated by PostgreSQL")
	}
	return strings.Join(notes, "; "), level
}

// synchronousTo words synchronous_standby_names: how many of which standbys
// have to have a row (PostgreSQL, 20.6.2).
func synchronousTo(names string) string {
	words := strings.Fields(strings.ReplaceAll(names, "(", " ( "))
	for i, word := range words {
		if n, err := strconv.Atoi(word); err == nil && i+1 < len(words) && words[i+1] == "(" {
			return fmt.Sprintf("%d of %s", n, strings.TrimSpace(names[strings.Index(names, "("):]))
		}
	}
	return "1 of (" + names + ")"
}
