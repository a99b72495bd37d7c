// SPDX-License-Identifier: Apache-2.0

package pgtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

func TestServerSurvivesACrashAndEnds(t *testing.T) {
	ctx := t.Context()
	s, err := pgtest.Start(ctx, pgtest.WithSetting("work_mem", "8MB"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if conn, err := pgx.Connect(ctx, s.URL("postgres")); err == nil {
			_ = conn.Close(ctx)
			t.Error("the server still answers")
		}
	}()
	url, err := s.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(url, text string) string {
		t.Helper()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		var answer string
		if err := conn.QueryRow(ctx, text, pgx.QueryExecModeSimpleProtocol).Scan(&answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask(url, "SHOW work_mem") + ask(url, "SHOW fsync"); got != "8MBon" {
		t.Errorf("settings %s", got)
	}
	if err := s.Exec(ctx, "test1", "CREATE TABLE kept AS SELECT 'yes' AS answer"); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Up(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := s.Pooler(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(p.URL("test1"), "SELECT answer FROM kept"); got != "yes" {
		t.Errorf("got %s", got)
	}
}
