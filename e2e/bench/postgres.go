// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

// postgres is a private PostgreSQL server on this machine, which syncs every commit
// to disk as one in production does.
type postgres struct {
	url  string // of a new database
	main string // process id of the server, which has a child for each connection
}

// postgres starts a server, which lives until the part ends.
func (b *bench) postgres(ctx context.Context) (postgres, error) {
	server, err := pgtest.Start(ctx)
	if err != nil {
		return postgres{}, fmt.Errorf("start PostgreSQL: %w", err)
	}
	b.h.Cleanup(func() {
		if err := server.Close(); err != nil {
			b.h.Logf("bench: stop PostgreSQL: %v", err)
		}
	})
	text, err := os.ReadFile(filepath.Join(server.DataDir(), "postmaster.pid"))
	if err != nil {
		return postgres{}, fmt.Errorf("start PostgreSQL: %w", err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	url, err := server.NewDatabase(ctx)
	return postgres{url: url, main: string(first)}, err
}

// CPUTime is that of the server and of its children, those that have ended as well.
func (p postgres) CPUTime() (sum time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		const ppid, utime, cstime = 4 - 3, 14 - 3, 17 - 3 // proc_pid_stat(5) counts from 1
		if len(fields) <= cstime || fields[ppid] != p.main && path != "/proc/"+p.main+"/stat" {
			continue
		}
		for _, f := range fields[utime : cstime+1] {
			if ticks, err := strconv.ParseInt(f, 10, 64); err == nil {
				sum += time.Duration(ticks) * (time.Second / 100)
			}
		}
	}
	return sum
}
