// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

func TestServiceWithTransactionsUnderWayGoesWhenTheyAreFinal(t *testing.T) {
	v := startVault(t, 1)
	node := harness.StartAnvil(t, 0, accounts(v)...)
	m := startBare(t, node, local)
	n := m.settle(node, membership, environment, v)
	halt(t, node)
	hash := m.sent(n)
	service := n.place + "/services/" + n.service
	if refused := m.want(409, "DELETE", n.place+"/configurations/"+n.configuration, ""); refused["error"] != "conflict" {
		t.Errorf("configuration in use: %v", refused)
	}
	m.want(409, "DELETE", n.place+"/nodes/"+n.node, "")

	m.want(202, "DELETE", service, "")
	if got := m.want(200, "GET", service, ""); got["state"] != "deleting" {
		t.Errorf("state %v", got["state"])
	}
	_, absent := m.door(missing, n.cred, n.password, transfer(n.account))
	if code, answer := m.door(n.service, n.cred, n.password, transfer(n.account)); code != 404 || answer != absent {
		t.Errorf("takes more: %s", answer)
	}
	m.want(409, "DELETE", n.place+"/configurations/"+n.configuration, "")
	if got := m.want(200, "GET", service+"/transactions/"+hash, ""); got["hash"] != hash {
		t.Errorf("what is under way: %v", got)
	}
	m.Restart() // it stays so
	if got := m.want(200, "GET", service, ""); got["state"] != "deleting" {
		t.Errorf("state %v after a restart", got["state"])
	}

	mine(t, node, 1)
	harness.WaitNonce(t, node, n.account, 1, patience)
	mine(t, node, 20) // final
	eventually(t, patience, "gone", func() bool {
		code, _ := m.ask(m.root, "GET", service, "")
		return code == 404
	})
	m.want(204, "DELETE", n.place+"/configurations/"+n.configuration, "")
	m.want(204, "DELETE", n.place+"/nodes/"+n.node, "")
	if got := node.Nonce(t, n.account); got != 1 {
		t.Errorf("%d transactions are mined", got)
	}
}

func TestWalletOfTheConfigFileIsAServiceThatNobodyChanges(t *testing.T) {
	m := startBare(t, harness.StartDevnet(t, binaries(t), 100*time.Millisecond), local)
	all := m.list(place + "/services")
	if len(all) != 1 || all[0]["read_only"] != true || all[0]["name"] != "e2e" {
		t.Fatalf("services: %v", all)
	}
	service := place + "/services/" + all[0]["_id"].(string)
	m.reaches(service, "started")
	for method, body := range map[string]string{"PATCH": `{"name":"mine"}`, "DELETE": ""} {
		if refused := m.want(409, method, service, body); refused["error"] != "conflict" || !strings.Contains(fmt.Sprint(refused["errorMessage"]), "config file") {
			t.Errorf("%s: %v", method, refused)
		}
	}
	if got := m.want(200, "GET", service+"/status", ""); got["accounts"] != 1.0 {
		t.Errorf("status: %v", got)
	}
}

func TestServiceWithAWrongSecretSaysSoAndStartsWithTheRightOne(t *testing.T) {
	v := startVault(t, 1)
	node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(v)...)
	m := startBare(t, node, local)
	m.make(place+"/nodes", `{"name":"node","chain_id":%d,"urls":{"rpc":%q}}`, node.ChainID, node.URL)
	configuration := m.make(place+"/configurations", `{"name":"vault","type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,
		"role_id":"5a3b8f0e-0000-0000-0000-000000000000","user_secret":"wrong"}}`, v.URL())
	id := m.make(place+"/services", `{"name":"pay","service":"cloudhsm","details":{"cloudhsm_id":%q}}`, configuration)
	service := place + "/services/" + id
	failed := m.reaches(service, "failed")
	reason := fmt.Sprint(failed["state_reason"])
	t.Logf("reason: %s", reason)
	if !strings.Contains(reason, "user_secret") && !strings.Contains(reason, "secret id") {
		t.Errorf("the reason does not say what to change: %s", reason)
	}
	status := m.want(200, "GET", service+"/status", "")
	if backend := status["backend"].(map[string]any); status["state"] != "failed" || status["ready"] != false || backend["ok"] != false || backend["reason"] == nil {
		t.Errorf("status: %v", status)
	}
	m.want(200, "PATCH", place+"/configurations/"+configuration, `{"details":{"user_secret":"secret-1"}}`)
	began := time.Now()
	if got := m.reaches(service, "started"); got["_id"] != id || got["state_reason"] != nil {
		t.Errorf("service: %v", got)
	}
	t.Logf("started %s after the PATCH", time.Since(began).Round(time.Millisecond))
	made := m.want(201, "POST", place+"/appcreds", `{"name":"shop"}`)
	m.sent(&tenant{service: id, cred: made["_id"].(string), password: made["password"].(string), account: accounts(v)[0]})
	harness.WaitNonce(t, node, accounts(v)[0], 1, patience)
}

// What a tenant has made outlives the daemon, and so does what it was told of.
func TestServicesComeBackAndLoseNothing(t *testing.T) {
	v := startVault(t, 4)
	node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(v)...)
	m := startBare(t, node, local)
	n := m.settle(node, membership, environment, v)
	service := n.place + "/services/" + n.service

	m.sent(n)
	if code := m.Stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	m.Restart()
	m.reaches(service, "started")
	m.sent(n)
	harness.WaitNonce(t, node, n.account, 2, patience)

	const clients, each = 16, 20
	from := accounts(v)
	work := make([][]harness.Transfer, clients)
	var open []harness.Client
	url := strings.Replace(m.URL, "://", "://"+n.cred+":"+n.password+"@", 1) + "/" + n.service
	for i := range work {
		for j := range each {
			work[i] = append(work[i], harness.Transfer{From: from[(i+j)%len(from)], To: harness.Fresh()})
		}
		c, err := harness.NewHTTPClient(url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	var answered sync.WaitGroup // a third of them
	answered.Add(clients * each / 3)
	var mu sync.Mutex
	count, killed := 0, make(chan struct{})
	done := make(chan []harness.Outcome, 1)
	go func() {
		done <- harness.Burst(t.Context(), open, work, func(harness.Outcome) {
			mu.Lock()
			count++
			n := count
			mu.Unlock()
			if n <= clients*each/3 {
				answered.Done()
			} else {
				<-killed // or all would be answered before, if this process stands still
			}
		})
	}()
	answered.Wait()
	m.Kill9()
	close(killed)
	outcomes := <-done
	m.Restart()
	m.reaches(service, "started")
	accepted := harness.Hashes(outcomes)
	if len(accepted) == 0 || len(accepted) == len(outcomes) {
		t.Errorf("%d of %d were accepted: the kill came at no good time", len(accepted), len(outcomes))
	}
	t.Logf("killed after %d of %d answers", len(accepted), len(outcomes))
	var last []harness.Outcome // one more of each, to see that the sequence goes on
	for _, a := range from {
		last = append(last, open[0].Send(t.Context(), []harness.Transfer{{From: a, To: harness.Fresh()}})...)
	}
	for _, o := range last {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	var history *harness.History
	eventually(t, patience, "mined, all that was accepted", func() bool {
		var err error
		if history, err = harness.ReadHistory(t.Context(), node, 0); err != nil {
			t.Fatal(err)
		}
		return history.CheckHashes(append(harness.Hashes(last), accepted...)) == nil
	})
	for _, a := range from {
		if err := history.CheckSequence(a, 0); err != nil {
			t.Error(err)
		}
	}
	for _, o := range outcomes {
		if times := len(history.To(o.To)); times > 1 {
			t.Errorf("mined %d times: %v", times, o)
		}
	}
	eventually(t, patience, "ready", func() bool { return m.want(200, "GET", service+"/status", "")["ready"] == true })
}
