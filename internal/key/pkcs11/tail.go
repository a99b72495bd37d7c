// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"sync"
)

// tail keeps the last lines that a child wrote to its standard error, for the
// log. A module that prints the PIN has it blotted out.
type tail struct {
	secrets []string

	mu    sync.Mutex
	lines []string
	fatal string // what the Go runtime said of a crash
}

const (
	tailLines = 20
	lineSize  = 512
)

// secretsOf gives what must not be logged of a PIN: all of it, and of
// "user:password" the password.
func secretsOf(pin string) []string {
	_, password, _ := strings.Cut(pin, ":")
	return slices.DeleteFunc([]string{pin, password}, func(s string) bool { return s == "" })
}

func (t *tail) read(r io.Reader) {
	lines := bufio.NewReaderSize(r, 4096)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		t.add(string(line))
		for more && err == nil { // the rest of a long line
			_, more, err = lines.ReadLine()
		}
	}
}

func (t *tail) add(line string) {
	for _, secret := range t.secrets {
		line = strings.ReplaceAll(line, secret, "***")
	}
	line = strings.ToValidUTF8(line[:min(len(line), lineSize)], "")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fatal != "" {
		return // the stacks of all goroutines follow
	}
	if strings.HasPrefix(line, "SIG") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "panic: ") {
		t.fatal = line
	}
	if len(t.lines) == tailLines {
		t.lines = t.lines[1:]
	}
	t.lines = append(t.lines, line)
}

func (t *tail) crash() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fatal
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
