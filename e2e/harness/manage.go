// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// Manager calls a daemon's management API as an admin of the deployment.
type Manager struct {
	Key string // an API key
	URL string // where the API begins

	t T
}

// Manage has the operator make the first API key of a daemon, and waits until the
// daemon takes it, which it does within a second.
func Manage(t T, bin Binaries, d *Daemon) *Manager {
	t.Helper()
	var diagnosis bytes.Buffer
	cmd := exec.Command(bin.Hsmsigner, "admin", "bootstrap", "--config", d.Config())
	cmd.Stderr = &diagnosis
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("harness: admin bootstrap: %v: %s%s", err, out, diagnosis.String())
	}
	m := &Manager{Key: strings.TrimSpace(string(out)), URL: d.AdminURL + "/api/v1", t: t}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if code, _ := m.Ask("GET", "/whoami", ""); code == http.StatusOK {
			return m
		}
	}
	t.Fatalf("harness: the first API key opens nothing")
	return nil
}

// Ask sends a request, with a body of JSON unless it is empty.
func (m *Manager) Ask(method, path, body string) (int, []byte) {
	m.t.Helper()
	req, err := http.NewRequest(method, m.URL+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatalf("harness: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatalf("harness: %v", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatalf("harness: %v", err)
	}
	return res.StatusCode, text
}

// Want is Ask, and ends the test unless the answer has the code. It returns the
// answer if that is an object.
func (m *Manager) Want(code int, method, path, body string) (object map[string]any) {
	m.t.Helper()
	got, text := m.Ask(method, path, body)
	if got != code {
		m.t.Fatalf("harness: %s %s: %d, want %d: %s", method, path, got, code, text)
	}
	if bytes.HasPrefix(text, []byte("{")) {
		if err := json.Unmarshal(text, &object); err != nil {
			m.t.Fatalf("harness: %v", err)
		}
	}
	return object
}
