// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// command runs the program.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, said bytes.Buffer
	code = run(t.Context(), append([]string{"hsmsigner"}, args...), &out, &said)
	return out.String(), said.String(), code
}

// auditConfig is a config file with an audit section.
func auditConfig(t *testing.T, section string) (path string, c *config.Config) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	check(t, os.WriteFile(path, []byte("management: {}\naudit:\n"+section), 0o600))
	c, _, err := config.Load(path)
	check(t, err)
	return path, c
}

// trailed has the daemon's log take in some records: of signatures, and events.
// With it go its database and the id of an intent.
func trailed(t *testing.T, c *config.Config, n int) (intent string) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data})
	check(t, err)
	trail, err := openAudit(t.Context(), c, db, store.NewID(), slog.New(slog.DiscardHandler))
	check(t, err)
	for range n {
		i := audit.Intent{ID: store.NewID(), At: time.Now(), Principal: "key:x", Wallet: "treasury", Address: common.Address{1}, Action: audit.SendTransaction, Subject: "tx", Verdict: "allow: default"}
		check(t, db.WriteIntent(t.Context(), i))
		check(t, db.WriteOutcome(t.Context(), audit.Outcome{ID: store.NewID(), Intent: i.ID, At: time.Now(), Digest: common.Hash{1}, Hash: common.Hash{2}}))
		check(t, db.WriteEvent(t.Context(), audit.Event{Kind: "sign-in", Principal: "person:x"}))
		intent = i.ID
	}
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check(t, trail.book.Await(limited, intent))
	check(t, trail.health(t.Context()))
	for _, w := range c.Audit.Witnesses {
		path := w.File + ".latest"
		await(t, path, func() bool { _, err := os.Stat(path); return err == nil })
	}
	trail.close()
	check(t, db.Close())
	return intent
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

func TestAnAuditorsCommandsAgreeAndFindWhatIsAltered(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept")
	path, c := auditConfig(t, "  name: example.org/log\n  witnesses: [{name: w, file: "+kept+", every: 1s}]\n")
	id := trailed(t, c, 5)

	key, _, code := command(t, "audit", "key", "-c", path)
	if code != 0 || !strings.HasPrefix(key, "example.org/log+") {
		t.Fatalf("%d %q", code, key)
	}
	key = strings.TrimSpace(key)
	verify := []string{"audit", "verify", "-c", path, "--key", key, "--checkpoint", kept, "--checkpoint", kept + ".latest"}
	out, said, code := command(t, verify...)
	if code != 0 || !strings.Contains(out, "nothing was altered") || strings.Contains(said, "warning") {
		t.Fatalf("%d %s %s", code, out, said)
	}
	if _, said, code = command(t, "audit", "verify", "-c", path); code != 0 || strings.Count(said, "warning") != 2 {
		t.Errorf("without key and checkpoint: %d %s", code, said)
	}

	// A proof travels without the database, and holds by nothing but the key.
	proof, said, code := command(t, "audit", "prove", id, "-c", path)
	if code != 0 {
		t.Fatal(said)
	}
	file := filepath.Join(t.TempDir(), "proof.json")
	check(t, os.WriteFile(file, []byte(proof), 0o600))
	if out, said, code = command(t, "audit", "prove", "--check", file, "--key", key); code != 0 || !strings.Contains(out, id) {
		t.Errorf("%d %s %s", code, out, said)
	}
	check(t, os.WriteFile(file, []byte(strings.Replace(proof, "treasury", "treasure", 1)), 0o600))
	if _, said, code = command(t, "audit", "prove", "--check", file, "--key", key); code != 1 || !strings.Contains(said, "does not hold") {
		t.Errorf("a changed proof: %d %s", code, said)
	}
	if _, _, code = command(t, "audit", "prove", "--check", file); code != 2 {
		t.Errorf("without a key: %d", code)
	}
	if _, _, code = command(t, "audit", "prove", strings.Repeat("0", 32), "-c", path); code != 4 {
		t.Errorf("a record that is none: %d", code)
	}

	exported := filepath.Join(t.TempDir(), "records.jsonl")
	if _, said, code = command(t, "audit", "export", "-c", path, "--file", exported); code != 0 {
		t.Fatal(said)
	}
	text, err := os.ReadFile(exported)
	check(t, err)
	intents := 0
	for line := range strings.Lines(string(text)) {
		var any map[string]any
		check(t, json.Unmarshal([]byte(line), &any))
		if any["kind"] == "intent" {
			intents++
		}
	}
	if intents != 5 {
		t.Errorf("%d intents exported", intents)
	}
	verifyFile := []string{"audit", "verify", exported, "--key", key, "--checkpoint", kept}
	if out, said, code = command(t, verifyFile...); code != 0 || !strings.Contains(out, "nothing was altered") {
		t.Errorf("%d %s %s", code, out, said)
	}
	check(t, os.WriteFile(exported, bytes.Replace(text, []byte("key:x"), []byte("key:y"), 1), 0o600))
	if out, _, code = command(t, append(verifyFile, "-o", "json")...); code != 1 || !strings.Contains(out, `"ok": false`) {
		t.Errorf("an altered export: %d %s", code, out)
	}

	if out, said, code = command(t, "audit", "checkpoint", "-c", path); code != 0 || !strings.HasPrefix(out, "example.org/log\n") || !strings.Contains(said, "witness:w has") {
		t.Errorf("%d %s %s", code, out, said)
	}
	if out, _, code = command(t, "audit", "list", "-c", path, "--kind", "intent", "--wallet", "treasury", "-o", "json"); code != 0 || strings.Count(out, `"intent"`) != 5 {
		t.Errorf("%d %s", code, out)
	}
	if out, _, _ = command(t, "audit", "list", "-c", path, "--limit", "3"); strings.Count(out, "\n") != 4 {
		t.Errorf("%s", out)
	}

	// Whoever owns the database, and not the key, is found out.
	alter(t, c, `UPDATE audit_intent SET principal = 'key:z' WHERE id = '`+id+`'`)
	out, said, code = command(t, verify...)
	if code != 1 || !strings.Contains(out+said, id) || !strings.Contains(said, "edited") {
		t.Errorf("%d %s %s", code, out, said)
	}
}

func alter(t *testing.T, c *config.Config, text string) {
	t.Helper()
	db, err := sql.Open(sqlite.Driver, filepath.Join(c.Data, "hsmsigner.db"))
	check(t, err)
	defer db.Close()
	res, err := db.ExecContext(t.Context(), text)
	check(t, err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatal(n, err)
	}
}

// The key comes from a file, or is made once and sealed; it is never in an error
// or a log, and never lost by a restart.
func TestTheAuditKeyIsMadeOnceAndSealed(t *testing.T) {
	path, c := auditConfig(t, "  interval: 100ms\n")
	if _, said, code := command(t, "audit", "key", "-c", path); code != 4 {
		t.Errorf("before the first start: %d %s", code, said)
	}
	trailed(t, c, 1)
	first, _, code := command(t, "audit", "key", "-c", path)
	trailed(t, c, 1)
	again, _, _ := command(t, "audit", "key", "-c", path)
	if code != 0 || first != again || !strings.HasPrefix(first, "hsmsigner/") {
		t.Errorf("%d %q %q", code, first, again)
	}
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data})
	check(t, err)
	defer db.Close()
	row, err := db.SealedKey(t.Context(), auditKeyRow, nil)
	check(t, err)
	if bytes.Contains(row, []byte("PRIVATE")) {
		t.Error("the key stands in the database in clear")
	}
	// What stood there in clear is sealed when it can be.
	key, err := logbook.NewKey("example.org/clear")
	check(t, err)
	check(t, db.ReplaceSealedKey(t.Context(), auditKeyRow, row, []byte(key.Text())))
	var said bytes.Buffer
	got, err := auditKey(t.Context(), c, db, slog.New(slog.NewTextHandler(&said, nil)))
	check(t, err)
	row, err = db.SealedKey(t.Context(), auditKeyRow, nil)
	check(t, err)
	if got.String() != key.String() || bytes.Contains(row, []byte("PRIVATE")) || !strings.Contains(said.String(), "in clear") || strings.Contains(said.String(), "PRIVATE") {
		t.Errorf("%s %s", got, said.String())
	}
	sealer, err := openSealer(t.Context(), c, db)
	check(t, err)
	if plain, err := sealer.Open(t.Context(), seal.OfKey(auditKeyRow), row); err != nil || string(plain) != key.Text() {
		t.Error(err)
	}
	again2, err := auditKey(t.Context(), c, db, slog.New(slog.DiscardHandler))
	if err != nil || again2.String() != key.String() {
		t.Error(err)
	}
	c.Audit.Name = "example.org/other"
	if _, err := auditKey(t.Context(), c, db, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "a log keeps its name") {
		t.Error(err)
	}
}

func TestAnAuditKeyOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.key")
	public, said, code := command(t, "audit", "key", "--new", file, "--name", "example.org/treasury")
	if code != 0 || !strings.HasPrefix(public, "example.org/treasury+") {
		t.Fatalf("%d %s", code, said)
	}
	info, err := os.Stat(file)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	if _, _, code := command(t, "audit", "key", "--new", file); code != 1 {
		t.Errorf("a key was written over: %d", code)
	}
	path, c := auditConfig(t, "  key: {file: "+file+"}\n")
	trailed(t, c, 1)
	if got, said, code := command(t, "audit", "key", "-c", path); code != 0 || got != public {
		t.Errorf("%d %s %s", code, got, said)
	}
	if out, said, code := command(t, "audit", "verify", "-c", path, "--key", strings.TrimSpace(public)); code != 0 {
		t.Errorf("%d %s %s", code, out, said)
	}
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data})
	check(t, err)
	defer db.Close()
	if _, err := db.SealedKey(t.Context(), auditKeyRow, nil); err == nil {
		t.Error("a key was stored although there is a file")
	}
	text, err := os.ReadFile(file)
	check(t, err)
	for _, bad := range []string{"x", string(text[:len(text)-8]), strings.TrimSpace(public)} {
		check(t, os.WriteFile(file, []byte(bad), 0o600))
		if _, err := auditKey(t.Context(), c, db, slog.New(slog.DiscardHandler)); err == nil || len(bad) > 20 && strings.Contains(err.Error(), bad[:20]) {
			t.Errorf("%v", err)
		}
	}
}

// A daemon gives its records to a syslog server, and its checkpoints to a file.
func TestTheDaemonsTrailIsGivenAway(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "log")
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "unixgram", socket)
	check(t, err)
	defer conn.Close()
	_, c := auditConfig(t, "  syslog: [{name: siem, address: 'unix://"+socket+"', facility: audit}]\n  witnesses: [{name: w, file: "+filepath.Join(dir, "kept")+", every: 1s}]\n")
	id := trailed(t, c, 2)
	// What it did not come to send, the next start sends.
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data})
	check(t, err)
	defer func() { check(t, db.Close()) }()
	trail, err := openAudit(t.Context(), c, db, store.NewID(), slog.New(slog.DiscardHandler))
	check(t, err)
	defer trail.close()
	room := make([]byte, 64<<10)
	var got strings.Builder
	for !strings.Contains(got.String(), id) {
		check(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		n, _, err := conn.ReadFrom(room)
		check(t, err)
		fmt.Fprintf(&got, "%s\n", room[:n])
	}
	if !strings.HasPrefix(got.String(), "<110>1 ") {
		t.Error(got.String())
	}
}
