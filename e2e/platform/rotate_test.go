// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

const rotations = 3

// security.md no. 19: the credential of a backend is changed by PATCH, and the old
// one is worth nothing as soon as the answer is there, while 64 clients send.
func TestRotatedCredentialFailsNoRequest(t *testing.T) {
	t.Run("token of Vault", func(t *testing.T) {
		v := startVault(t, 4)
		node := harness.StartDevnet(t, binaries(t), 200*time.Millisecond, accounts(v)...)
		m := startBare(t, node, local)
		n := m.settle(node, membership, environment, v)
		var revoked, connected atomic.Int64 // so many of the tokens, beginning with the first
		token := func(i int) string {
			if i == 0 {
				return vaultfake.Token
			}
			return fmt.Sprintf("hvs.rotated-%d", i)
		}
		v.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			for i := range int(revoked.Load()) {
				if r.Header.Get("X-Vault-Token") == token(i) {
					vaultfake.Refuse(w, http.StatusForbidden, "permission denied", "invalid token")
					return true
				}
			}
			// To connect takes longer than to call, as it does with clouds.
			if r.Header.Get("X-Vault-Token") != token(int(connected.Load())) {
				time.Sleep(300 * time.Millisecond)
			}
			return false
		})
		m.sendWhile(node, n, accounts(v), func(i int) {
			v.Accept(token(i + 1))
			m.want(200, "PATCH", n.place+"/configurations/"+n.configuration, fmt.Sprintf(`{"details":{"user_secret":%q}}`, token(i+1)))
			revoked.Store(int64(i + 1))
			time.AfterFunc(400*time.Millisecond, func() { connected.Store(int64(i + 1)) })
		})
	})
	t.Run("access key of AWS", func(t *testing.T) {
		const id, first = "AKIAIOSFODNN7EXAMPLE", "first/secret/of/forty/characters/0000000"
		server := awskmsfake.Start(awskmsfake.Config{Latency: 20 * time.Millisecond, Secrets: map[string]string{id + "0": first}})
		t.Cleanup(server.Close)
		var from []common.Address
		for i := range 4 {
			from = append(from, server.AddKey(fmt.Sprintf("alias/ops-%d", i), nil).Address)
		}
		node := harness.StartDevnet(t, binaries(t), 200*time.Millisecond, from...)
		m := startBare(t, node, local)
		n := m.serve(node, `{"provider":"aws_kms","user_id":%q,"user_secret":%q,"target_region":%q,"target_address":%q}`, id+"0", first, awskmsfake.Region, server.URL)
		m.sendWhile(node, n, from, func(i int) {
			before, after, secret := fmt.Sprint(id, i), fmt.Sprint(id, i+1), fmt.Sprintf("other/secret/of/forty/characters/%07d", i)
			known := map[string]string{after: secret, before: first}
			if i > 0 {
				known[before] = fmt.Sprintf("other/secret/of/forty/characters/%07d", i-1)
			}
			server.SetSecrets(known)
			m.want(200, "PATCH", place+"/configurations/"+n.configuration, fmt.Sprintf(`{"details":{"user_id":%q,"user_secret":%q}}`, after, secret))
			server.SetSecrets(map[string]string{after: secret})
		})
	})
	t.Run("client secret of Azure", func(t *testing.T) {
		server, err := azuretest.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		var from []common.Address
		for i := range 4 {
			_, account, err := server.NewKey(fmt.Sprintf("ops-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			from = append(from, account)
		}
		node := harness.StartDevnet(t, binaries(t), 200*time.Millisecond, from...)
		m := startBare(t, node, fmt.Sprintf("egress:\n  allow: [127.0.0.1/32]\n  azure: {authority_address: %q, relaxed_hosts: [%q]}\n", server.Entra.URL(), server.Vault.Host()))
		n := m.serve(node, `{"provider":"azure","user_id":%q,"user_secret":%q,"tenant_id":%q,"target_address":%q,"ca_cert":%q}`,
			server.Entra.ClientID, server.Entra.Secret(), server.Entra.Tenant, server.Vault.URL(), authority(t, server))
		m.sendWhile(node, n, from, func(i int) {
			secret := fmt.Sprintf("rotated~%d", i)
			server.Entra.SetSecret(secret) // as with Entra, tokens that were given go on
			m.want(200, "PATCH", place+"/configurations/"+n.configuration, fmt.Sprintf(`{"details":{"user_secret":%q}}`, secret))
		})
	})
}

// sendWhile has 64 clients send through a service until all rotations are done,
// and checks every answer against the chain.
func (m *managed) sendWhile(node *harness.Node, n *tenant, from []common.Address, rotate func(i int)) {
	m.t.Helper()
	url := strings.Replace(m.URL, "://", "://"+n.cred+":"+n.password+"@", 1) + "/" + n.service
	var clients []harness.Client
	for i := range 64 {
		dial := harness.NewHTTPClient
		if i%4 == 0 {
			dial = func(url string) (harness.Client, error) {
				return harness.NewWSClient(m.t.Context(), strings.Replace(url, "http://", "ws://", 1))
			}
		}
		c, err := dial(url)
		if err != nil {
			m.t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	var over atomic.Bool
	results := make(chan []harness.Outcome, len(clients))
	for i, c := range clients {
		go func() {
			var all []harness.Outcome
			for j := 0; j < 200 && !over.Load(); j++ {
				all = append(all, c.Send(ctx, []harness.Transfer{{From: from[(i+j)%len(from)], To: harness.Fresh()}})...)
				time.Sleep(50 * time.Millisecond)
			}
			results <- all
		}()
	}
	for i := range rotations {
		time.Sleep(600 * time.Millisecond)
		rotate(i)
	}
	time.Sleep(1500 * time.Millisecond)
	over.Store(true)
	var outcomes []harness.Outcome
	for range clients {
		outcomes = append(outcomes, <-results...)
	}
	failed, first := harness.Errors(outcomes)
	if failed > 0 {
		m.t.Errorf("%d of %d requests failed: %v", failed, len(outcomes), first)
	}
	m.t.Logf("%d requests over %d rotations, %d failed", len(outcomes), rotations, failed)
	m.mined(node, outcomes, from)
}

// mined waits until all that was accepted is in the chain, once and in sequence,
// and nothing else.
func (m *managed) mined(node *harness.Node, outcomes []harness.Outcome, from []common.Address) {
	m.t.Helper()
	want := map[common.Address]uint64{}
	for _, o := range outcomes {
		if o.Err == nil {
			want[o.From]++
		}
	}
	for _, a := range from {
		harness.WaitNonce(m.t, node, a, want[a], patience)
	}
	history, err := harness.ReadHistory(m.t.Context(), node, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, a := range from {
		if err := history.CheckSequence(a, 0); err != nil {
			m.t.Error(err)
		}
	}
	if err := history.CheckHashes(harness.Hashes(outcomes)); err != nil {
		m.t.Error(err)
	}
	for _, o := range outcomes {
		if n := len(history.To(o.To)); n > 1 || n == 0 && o.Err == nil {
			m.t.Errorf("mined %d times: %s (%v)", n, o.Hash, o.Err)
		}
	}
}
