// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"io"
	"net/http"
	"strings"
	"testing"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Kaleido's users put the app credential into the URL.
func TestCredentialsInTheURLWorkWithClientsAsTheyAre(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Auth = func(q *http.Request) (auth.Principal, error) {
			if user, pass, ok := q.BasicAuth(); !ok || user != "u0credent1" || pass != "p-_4" && pass != "p-_:/@ä" {
				return auth.Principal{}, auth.ErrCredentials
			}
			return auth.Principal{Name: "app:u0credent1"}, nil
		}
	})
	// go-ethereum sends what is escaped as it stands when it opens a WebSocket, so
	// passwords that are to work everywhere need no escaping.
	const right, escaped, wrong = "u0credent1:p-_4@", "u0credent1:p-_%3A%2F%40%C3%A4@", "u0credent1:no@"
	url := func(scheme, userinfo string) string {
		return scheme + "://" + userinfo + r.http.Listener.Addr().String() + "/treasury"
	}
	for _, scheme := range []string{"http", "ws"} {
		c, err := gethrpc.DialContext(limited(t), url(scheme, right))
		if err != nil {
			t.Fatalf("go-ethereum, %s: %v", scheme, err)
		}
		var accounts []string
		if err := c.CallContext(limited(t), &accounts, "eth_accounts"); err != nil || len(accounts) != 1 {
			t.Errorf("go-ethereum, %s: %v %v", scheme, accounts, err)
		}
		c.Close()
		c, err = gethrpc.DialContext(limited(t), url(scheme, wrong))
		if err == nil {
			err = c.CallContext(limited(t), &accounts, "eth_accounts")
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("go-ethereum, %s, wrong password: %v", scheme, err)
		}
	}
	resp, err := r.http.Client().Post(url("http", escaped), "application/json", strings.NewReader(ping))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("net/http: %d %s", resp.StatusCode, body)
	}
	ws, _, err := websocket.Dial(limited(t), url("ws", escaped), &websocket.DialOptions{HTTPClient: r.http.Client()})
	if err != nil {
		t.Fatalf("coder/websocket: %v", err)
	}
	c := &client{t, ws}
	if got := c.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Error(got)
	}
	_ = ws.CloseNow()
}
