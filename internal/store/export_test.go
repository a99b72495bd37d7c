// SPDX-License-Identifier: Apache-2.0

package store

import "fmt"

// WithMigration adds a migration after the embedded ones.
func WithMigration(cfg Config, text string) Config {
	steps, err := cfg.migrations()
	if err != nil {
		panic(err)
	}
	step, err := parseMigration(len(steps)+1, "test.sql", text)
	if err != nil {
		panic(err)
	}
	cfg.steps = append(steps[:len(steps):len(steps)], step)
	return cfg
}

// AtSchema is the program that knew only the first n migrations.
func AtSchema(cfg Config, n int) Config {
	steps, err := cfg.migrations()
	if err != nil {
		panic(err)
	}
	cfg.steps = steps[:n]
	return cfg
}

// Pooled says whether the store takes its server for one behind a pooler.
func Pooled(db *DB) bool { return db.pg.pooled }

// BackendPID is the server process that carries out the closure.
func BackendPID(w *Writer) uint32 { return w.s.(*postgresSession).pg.PID() }

// WantSetting looks at a parameter of the connection.
func WantSetting(w *Writer, name, want string) error {
	rows, err := w.query(`SELECT current_setting($1)`, name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var got string
	for rows.Next() {
		if err := rows.Scan(&got); err != nil {
			return err
		}
	}
	if got != want {
		return fmt.Errorf("%s is %s, want %s", name, got, want)
	}
	return rows.Err()
}

// Script runs a statement as it is.
func Script(w *Writer, text string) error {
	_, err := w.exec("run", text)
	return err
}

// Newest is the schema version of this program.
func Newest() int {
	steps, err := migrations()
	if err != nil {
		panic(err)
	}
	return len(steps)
}
