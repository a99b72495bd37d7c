// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// access measures what it costs to know who is asking: the same load on a daemon
// that lets everybody in, and on one with the management API, by an app credential
// that was made with it.
func access(ctx context.Context, b *bench, p *Part) error {
	_, node1, open := b.sending("everybody may", setup{Keys: harness.NewKeys(b.h, 1)}, senders)
	d, node2, known := b.sending("with an app credential", setup{Keys: harness.NewKeys(b.h, 1), Management: true}, senders)
	known.during = b.profiled("access", d)
	credential, err := d.credential(ctx, b.binary(false))
	if err != nil {
		return err
	}
	for i, r := range known.target.Requests {
		known.target.Requests[i] = authorised(r, credential)
	}
	if p.Samples, err = b.compare(ctx, b.length, open, known); err != nil {
		return err
	}
	p.atLeast("of the rate without", p.ratio(1, 0), .95)
	before, after := p.Samples[0].CPU.Daemon, p.Samples[1].CPU.Daemon
	p.note("the daemon's processor time is %.3f of that without", float64(after)/float64(before))
	return errors.Join(sound(node1, open), sound(node2, known))
}

// credential makes an app credential as an operator would, and gives the header
// that shows it.
func (d *daemon) credential(ctx context.Context, program string) (string, error) {
	key, err := exec.CommandContext(ctx, program, "admin", "bootstrap", "--config", d.config).Output()
	if err != nil {
		return "", fmt.Errorf("hsmsigner admin bootstrap: %w", err)
	}
	var made struct{ Username, Password string }
	for range 100 { // the daemon takes the new key within a second
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.Admin+"/api/v1/c/h0consort0/e/h0environ0/appcreds", strings.NewReader(`{"name":"bench"}`))
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		err = json.NewDecoder(res.Body).Decode(&made)
		res.Body.Close()
		if res.StatusCode == http.StatusCreated {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(made.Username+":"+made.Password)), err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", errors.New("no app credential could be made")
}
