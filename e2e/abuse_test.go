// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// The daemon may not grow by more than this while it is abused. It has 256 MiB
// for requests by default, and the collector may double what is live.
const memoryAllowed = 400 << 20

// abused starts a daemon in front of a stub node, and checks in the end that it
// still runs, still answers, and has not grown without bound.
func abused(t *testing.T) *harness.Daemon {
	t.Helper()
	node := nodetest.New(t, nodetest.Options{DefaultBalance: nodetest.Ether(1), Interval: 100 * time.Millisecond})
	d := harness.StartDaemon(t, binaries(t), harness.Options{NodeURL: node.URL(), ChainID: 1337, Keys: harness.NewKeys(t, 1)})
	before := d.PeakMemory()
	t.Cleanup(func() {
		if grown := d.PeakMemory() - before; grown > memoryAllowed {
			t.Errorf("the daemon grew by %d MiB, allowed are %d", grown>>20, memoryAllowed>>20)
		}
		if status, text := post(t, http.DefaultClient, d.URL, blockNumber); status != http.StatusOK || !strings.Contains(text, `"result"`) {
			t.Errorf("afterwards eth_blockNumber gives status %d: %s", status, text)
		}
	})
	return d
}

const blockNumber = `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`

func post(t *testing.T, client *http.Client, url, body string) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := client.Do(request)
	if err != nil {
		t.Fatalf("post: %v", err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatalf("post: %v", err)
	}
	return reply.StatusCode, string(b)
}

type answer struct {
	ID    json.RawMessage `json:"id"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Result json.RawMessage `json:"result"`
}

// Scenario 32: batches.
func TestScenario32OversizedNestedAndForbiddenBatches(t *testing.T) {
	d := abused(t)

	huge := "[" + strings.TrimSuffix(strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},`, 10_000), ",") + "]"
	_, text := post(t, http.DefaultClient, d.URL, huge)
	var whole answer
	if err := json.Unmarshal([]byte(text), &whole); err != nil || whole.Error == nil || whole.Error.Code != -32600 || string(whole.ID) != "null" {
		t.Errorf("a batch of 10,000: want one error -32600 with id null, got %.300s", text)
	}

	for _, c := range []struct{ name, body, want string }{
		{"nested batch", `[[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}]]`, `null:-32600`},
		{"empty batch", `[]`, ``},
		{
			"forbidden items among others",
			`[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"jsonrpc":"2.0","id":"two","method":"personal_unlockAccount","params":["0x0","",0]},` +
				`{"jsonrpc":"2.0","id":3,"method":"eth_blockNumber"},{"jsonrpc":"2.0","id":null,"method":"admin_nodeInfo"},` +
				`{"jsonrpc":"2.0","id":5,"method":"ETH_accounts"},{"jsonrpc":"2.0","id":6.50,"method":"eth_accounts","params":[]}]`,
			`1:0 "two":-32601 3:0 null:-32601 5:-32601 6.50:0`,
		},
	} {
		_, text := post(t, http.DefaultClient, d.URL, c.body)
		if c.want == "" {
			if err := json.Unmarshal([]byte(text), &whole); err != nil || whole.Error == nil || whole.Error.Code != -32600 {
				t.Errorf("%s: want one error -32600, got %s", c.name, text)
			}
			continue
		}
		var answers []answer
		if err := json.Unmarshal([]byte(text), &answers); err != nil {
			t.Errorf("%s: %v in %s", c.name, err, text)
			continue
		}
		var got []string
		for _, a := range answers {
			code := 0
			if a.Error != nil {
				code = a.Error.Code
			}
			got = append(got, fmt.Sprintf("%s:%d", a.ID, code))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, want %s", c.name, strings.Join(got, " "), c.want)
		}
	}
}

// Scenario 33: a body of 1 GB, announced or not, is cut off early.
func TestScenario33HugeBodyIsCutOff(t *testing.T) {
	d := abused(t)
	for _, length := range []int64{1 << 30, -1} { // with Content-Length, and chunked
		source := &counting{left: 1 << 30}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL, source)
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = length
		request.Header.Set("Content-Type", "application/json")
		started := time.Now()
		reply, err := http.DefaultTransport.RoundTrip(request)
		if err == nil { // else the connection was closed on us, which is an answer too
			reply.Body.Close()
			if reply.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("1 GB with length %d: status %d, want 413", length, reply.StatusCode)
			}
		}
		if took, sent := time.Since(started), source.read.Load(); sent > 64<<20 || took > time.Minute {
			t.Errorf("1 GB with length %d: it took %d MiB in %s before it stopped", length, sent>>20, took)
		}
	}
}

type counting struct {
	left int64
	read atomic.Int64
}

func (c *counting) Read(b []byte) (int, error) {
	n := min(int64(len(b)), c.left)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range b[:n] {
		b[i] = ' '
	}
	c.left -= n
	c.read.Add(n)
	return int(n), nil
}

// Scenario 33: a gzip bomb is not unpacked.
func TestScenario33CompressedBodyIsRefused(t *testing.T) {
	d := abused(t)
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := io.Copy(w, &counting{left: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL, &bomb)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("status %d, want 415", reply.StatusCode)
	}
}

// Scenario 33: 2,000 connections that send their request a byte at a time. A
// program that was connected before goes on undisturbed, and the slow ones are
// closed, which lets new programs in.
func TestScenario33SlowLorisDoesNotDisturbOthers(t *testing.T) {
	d := abused(t)
	good := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	baseline := p99(t, good, d.URL)

	address := strings.TrimPrefix(d.URL, "http://")
	var slow []net.Conn
	t.Cleanup(func() {
		for _, c := range slow {
			c.Close()
		}
	})
	for range 2000 {
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			break // the backlog is full: refused is as good as closed
		}
		slow = append(slow, c)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
	}
	if len(slow) < 500 {
		t.Fatalf("only %d slow connections came about", len(slow))
	}
	during := p99(t, good, d.URL)
	if limit := max(4*baseline, time.Second); during > limit {
		t.Errorf("p99 is %s with %d slow connections, %s without", during, len(slow), baseline)
	}

	// What a connection sends now and then must not prolong its life.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	left := slices.Clone(slow)
	for len(left) > 0 && ctx.Err() == nil {
		time.Sleep(time.Second)
		left = slices.DeleteFunc(left, func(c net.Conn) bool {
			_, err := c.Write([]byte{'x'})
			return err != nil
		})
	}
	if len(left) > 0 {
		t.Errorf("%d of %d slow connections still stand after three minutes", len(left), len(slow))
	}
	newcomer := &http.Client{Transport: &http.Transport{}}
	if status, text := post(t, newcomer, d.URL, blockNumber); status != http.StatusOK {
		t.Errorf("a newcomer gets status %d: %s", status, text)
	}
}

// p99 of 500 requests, one after another.
func p99(t *testing.T, client *http.Client, url string) time.Duration {
	t.Helper()
	took := make([]time.Duration, 500)
	for i := range took {
		started := time.Now()
		if status, text := post(t, client, url, blockNumber); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, text)
		}
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// Scenario 34: sockets above the limit are refused, and the others go on.
func TestScenario34TooManySocketsAreRefused(t *testing.T) {
	d := abused(t)
	good := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	post(t, good, d.URL, blockNumber)

	var open []*websocket.Conn
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.CloseNow()
		}
	})
	refused := false
	for len(open) < 1500 && !refused {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := harness.DialWS(ctx, d.WSURL)
		cancel()
		if refused = err != nil; !refused {
			open = append(open, c)
		}
	}
	if !refused {
		t.Errorf("%d WebSockets were let in", len(open))
	}
	if len(open) < 500 {
		t.Errorf("only %d WebSockets were let in", len(open))
	}
	if status, text := post(t, good, d.URL, blockNumber); status != http.StatusOK {
		t.Errorf("beside %d WebSockets HTTP gives status %d: %s", len(open), status, text)
	}
	echo(t, open[0])
	echo(t, open[len(open)-1])
}

func echo(t *testing.T, c *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(blockNumber)); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, text, err := c.Read(ctx); err != nil || !bytes.Contains(text, []byte(`"result"`)) {
		t.Fatalf("read: %s %v", text, err)
	}
}

// Scenario 34: a socket that asks without end and reads nothing is slowed down and
// then closed; what it is owed does not pile up in memory.
func TestScenario34SocketThatNeverReadsIsClosed(t *testing.T) {
	t.Parallel()
	d := abused(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c, err := harness.DialWS(ctx, d.WSURL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":0,"method":"eth_subscribe","params":["newHeads"]}`)); err != nil {
		t.Fatal(err)
	}
	one := `{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0x0",true]},`
	batch := []byte("[" + strings.TrimSuffix(strings.Repeat(one, 100), ",") + "]")
	for err == nil {
		err = c.Write(ctx, websocket.MessageText, batch)
	}
	if ctx.Err() != nil {
		t.Errorf("the socket still stands after four minutes")
	}
}

// Scenario 42: eth_sign cannot be made to sign a transaction. The digest of a live
// transaction is signed as a message of 32 bytes, with the prefix of EIP-191.
func TestScenario42SignNeverSignsATransactionDigest(t *testing.T) {
	d := abused(t)
	client, err := ethclient.DialContext(t.Context(), d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	from := d.Addresses[0]
	var hash common.Hash
	err = client.Client().CallContext(t.Context(), &hash, "eth_sendTransaction", map[string]any{"from": from, "to": harness.Fresh(), "value": "0x1"})
	if err != nil {
		t.Fatal(err)
	}
	live, _, err := client.TransactionByHash(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	signer := types.LatestSignerForChainID(live.ChainId())
	digest := signer.Hash(live)
	var signature hexutil.Bytes
	err = client.Client().CallContext(t.Context(), &signature, "eth_sign", from, hexutil.Bytes(digest[:]))
	if err != nil {
		return // refusing is fine as well
	}
	plain := bytes.Clone(signature)
	plain[64] -= 27
	if key, err := crypto.SigToPub(digest[:], plain); err == nil && crypto.PubkeyToAddress(*key) == from {
		t.Fatalf("eth_sign gave a signature of the transaction's digest %s", digest)
	}
}
