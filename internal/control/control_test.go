// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/control"
)

// desk is a daemon that knows one sender and one wallet.
type desk struct{ orders chan control.RepairAction }

func (d desk) Repair(_ context.Context, sender string, action control.RepairAction) (control.Report, error) {
	switch {
	case sender != "1337-aabbccdd-0x01":
		return control.Report{}, fmt.Errorf("sender %s: %w", sender, control.ErrNotFound)
	case action.Action == control.Adopt:
		return control.Report{}, fmt.Errorf("%w: the chain is behind our rows", control.ErrRefused)
	case action.Action == control.Release:
		return control.Report{}, errors.New("node unavailable")
	}
	d.orders <- action
	return control.Report{Sender: sender, Latest: 7, Next: 9, Findings: []string{"two are in flight"}}, nil
}

func (desk) Refresh(_ context.Context, wallet string) error {
	if wallet != "a/b" {
		return fmt.Errorf("wallet %s: %w", wallet, control.ErrNotFound)
	}
	return nil
}

func serve(t *testing.T, dir string) desk {
	t.Helper()
	d := desk{make(chan control.RepairAction, 1)}
	server, err := control.Serve(context.Background(), dir, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(control.SocketPath(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return d
}

func TestRepairCarriesOrderAndReport(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	client := control.NewClient(dir)
	want := control.RepairAction{Action: control.Cancel, Tx: "0193"}
	report, err := client.Repair(t.Context(), "1337-aabbccdd-0x01", want)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-d.orders; got != want {
		t.Errorf("the daemon got %+v, want %+v", got, want)
	}
	if wantReport := (control.Report{Sender: "1337-aabbccdd-0x01", Latest: 7, Next: 9, Findings: []string{"two are in flight"}}); !reflect.DeepEqual(report, wantReport) {
		t.Errorf("got %+v, want %+v", report, wantReport)
	}
	if err := client.Refresh(t.Context(), "a/b"); err != nil {
		t.Errorf("refresh: %v", err)
	}
}

func TestErrorsKeepTheirKindAndWords(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir)
	client := control.NewClient(dir)
	for _, c := range []struct {
		sender string
		action control.RepairAction
		kind   error
		text   string
	}{
		{"nobody", control.RepairAction{Action: control.Explain}, control.ErrNotFound, "sender nobody: not found"},
		{"1337-aabbccdd-0x01", control.RepairAction{Action: control.Adopt}, control.ErrRefused, "refused: the chain is behind our rows"},
		{"1337-aabbccdd-0x01", control.RepairAction{Action: control.Release}, nil, "node unavailable"},
		{"1337-aabbccdd-0x01", control.RepairAction{Action: "drop"}, control.ErrRefused, `refused: "drop" is not an action: want one of [explain adopt release cancel speed-up]`},
		{"1337-aabbccdd-0x01", control.RepairAction{Action: control.Cancel}, control.ErrRefused, "refused: the id of a transaction belongs to cancel and speed-up, and to nothing else"},
		{"1337-aabbccdd-0x01", control.RepairAction{Action: control.Explain, Tx: "x"}, control.ErrRefused, "refused: the id of a transaction belongs to cancel and speed-up, and to nothing else"},
	} {
		_, err := client.Repair(t.Context(), c.sender, c.action)
		if err == nil || err.Error() != c.text {
			t.Errorf("%v: got %v, want %q", c.action, err, c.text)
		}
		for _, kind := range []error{control.ErrNotFound, control.ErrRefused, control.ErrNotRunning} {
			if errors.Is(err, kind) != (kind == c.kind) {
				t.Errorf("%v: is %v", err, kind)
			}
		}
	}
}

func TestWithoutDaemonTheClientSaysSo(t *testing.T) {
	dir := t.TempDir()
	abandoned := t.TempDir()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: control.SocketPath(abandoned)})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	for _, dir := range []string{dir, abandoned, filepath.Join(dir, "none"), filepath.Join(dir, strings.Repeat("x", 120))} {
		if err := control.NewClient(dir).Refresh(t.Context(), "w"); !errors.Is(err, control.ErrNotRunning) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestAbandonedSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(control.SocketPath(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	if err := control.NewClient(dir).Refresh(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
}

func TestLongDataPathWorks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	if err := control.NewClient(dir).Refresh(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheOwnerMayOpenTheSocket(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir)
	info, err := os.Stat(control.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}

func TestHangingDaemonEndsWithTheCaller(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.orders <- control.RepairAction{} // full: the next order waits
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := control.NewClient(dir).Repair(ctx, "1337-aabbccdd-0x01", control.RepairAction{Action: control.Explain})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-d.orders
}
