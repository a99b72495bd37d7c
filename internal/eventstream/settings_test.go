// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
)

func TestDefaultsAndCase(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(`{"name":"s","type":"WebSocket","errorHandling":"SKIP","websocket":{"topic":"t","distributionMode":"Broadcast"}}`)
	want := eventstream.Settings{
		Type: "websocket", BatchSize: 1, BatchTimeout: 5000, ErrorHandling: "skip", RetryTimeout: 120, BlockedDelay: 30,
		WebSocket: &eventstream.WebSocket{Topic: "t", Mode: "broadcast", AckTimeout: 120},
	}
	if got := r.stream(id).Settings; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	id = r.create(`{"type":"webhook","webhook":{"url":"https://a.example/x?y=1","tlsSkipHostVerify":false}}`)
	want = eventstream.Settings{
		Type: "webhook", BatchSize: 1, BatchTimeout: 5000, ErrorHandling: "block", RetryTimeout: 120, BlockedDelay: 30,
		Webhook: &eventstream.Webhook{URL: "https://a.example/x?y=1", RequestTimeout: 120},
	}
	if got := r.stream(id).Settings; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestBadStreamsAreRefusedWithAWord(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	hook := func(rest string) string {
		return `{"type":"webhook","webhook":{"url":"https://a.example"` + rest + `}}`
	}
	for body, want := range map[string]string{
		`[]`:                                     `body: is an array: want an object`,
		`{}`:                                     `type: is missing: want "webhook" or "websocket"`,
		`{"type":"email"}`:                       `type: is none of these: webhook, websocket`,
		`{"type":7}`:                             `type: is a number: want a string`,
		`{"type":"webhook"}`:                     `webhook.url: is missing: want https://host/path`,
		`{"type":"websocket"}`:                   `websocket.topic: is missing: want the name that clients listen to`,
		`{"type":"webhook","batchsize":1}`:       `batchsize: is not a member: want name, type, batchSize, batchTimeoutMS, errorHandling, retryTimeoutSec, blockedRetryDelaySec, timestamps, inputs, confirmations, webhook, websocket`,
		`{"type":"webhook","batchSize":0}`:       `batchSize: is not a whole number from 1 to 1000`,
		`{"type":"webhook","batchSize":1001}`:    `batchSize: is not a whole number from 1 to 1000`,
		`{"type":"webhook","batchSize":1.5}`:     `batchSize: is not a whole number from 1 to 1000`,
		`{"type":"webhook","batchSize":"9"}`:     `batchSize: is a string: want a number`,
		`{"type":"webhook","batchTimeoutMS":-1}`: `batchTimeoutMS: is not a whole number from 0 to 300000`,
		`{"type":"webhook","retryTimeoutSec":99999999999999999999}`:               `retryTimeoutSec: is not a whole number from 0 to 86400`,
		`{"type":"webhook","confirmations":10001}`:                                `confirmations: is not a whole number from 0 to 10000`,
		`{"type":"webhook","timestamps":"true"}`:                                  `timestamps: is a string: want a boolean`,
		`{"type":"webhook","name":"` + strings.Repeat("x", 129) + `"}`:            `name: has 129 bytes: want at most 128`,
		`{"type":"webhook","name":"a\u0000b"}`:                                    `name: has characters that cannot be seen`,
		`{"type":"webhook","websocket":{}}`:                                       `websocket: is not for a stream of type webhook`,
		`{"type":"websocket","webhook":{}}`:                                       `webhook: is not for a stream of type websocket`,
		`{"type":"webhook","webhook":[]}`:                                         `webhook: is an array: want an object`,
		`{"type":"webhook","webhook":{"url":"ftp://a.example/s3cr3t"}}`:           `webhook.url: is not the URL of a receiver: want https://host/path`,
		`{"type":"webhook","webhook":{"url":"https:///s3cr3t"}}`:                  `webhook.url: is not the URL of a receiver: want https://host/path`,
		`{"type":"webhook","webhook":{"url":"https://u:s3cr3t@a.example"}}`:       `webhook.url: carries a user or password: put them in webhook.headers, as Authorization`,
		`{"type":"webhook","webhook":{"url":"https://a.example/#s3cr3t"}}`:        `webhook.url: has a fragment, which is never sent`,
		`{"type":"webhook","webhook":{"url":"https://10.1.2.3/"}}`:                `webhook.url: cannot be used here: address 10.1.2.3 refused: it is in 10.0.0.0/8 (private), which the operator's rules would have to allow`,
		hook(`,"tlsSkipHostVerify":true`):                                         `webhook.tlsSkipHostVerify: is not offered, since anybody on the way could then read along: give the certificate of the receiver's authority in webhook.caCert`,
		hook(`,"caCert":"x"`):                                                     `webhook.caCert: holds no certificate: want PEM, beginning with -----BEGIN CERTIFICATE-----`,
		hook(`,"requestTimeoutSec":0`):                                            `webhook.requestTimeoutSec: is not a whole number from 1 to 300`,
		hook(`,"headers":[]`):                                                     `webhook.headers: is an array: want an object of names and values`,
		hook(`,"headers":{"a b":"s3cr3t"}`):                                       `webhook.headers: member 1 is not named as a header can be`,
		hook(`,"headers":{"host":"s3cr3t"}`):                                      `webhook.headers.Host: is set by the signer`,
		hook(`,"headers":{"x-hsmsigner-stream":"s3cr3t"}`):                        `webhook.headers.X-Hsmsigner-Stream: is set by the signer`,
		hook(`,"headers":{"a":"s3cr3t","A":"2"}`):                                 `webhook.headers.A: stands there twice, since the case of a header's name does not count`,
		hook(`,"headers":{"a":7}`):                                                `webhook.headers.A: is a number: want a string`,
		hook(`,"headers":{"a":"s3cr3t\r\nb: c"}`):                                 `webhook.headers.A: has a character that no header may have, such as a line break`,
		hook(`,"headers":{"a":"` + strings.Repeat("x", 9000) + `"}`):              `webhook.headers: has 9001 bytes: want at most 8192`,
		hook(`,"headers":{"a":"s3cr3t"}`):                                         `webhook.headers: cannot be kept: this deployment has no key to seal them with (seal.keys)`,
		`{"type":"websocket","websocket":{"topic":"a\nb"}}`:                       `websocket.topic: has characters that cannot be seen`,
		`{"type":"websocket","websocket":{"topic":"t","distributionMode":"all"}}`: `websocket.distributionMode: is none of these: workloadDistribution, broadcast`,
		`{"type":"websocket","websocket":{"topic":"t","x":1}}`:                    `x: is not a member: want topic, distributionMode, ackTimeoutSec`,
	} {
		_, err := r.Create(t.Context(), who, place, wallet, parse(t, body))
		var bad *eventstream.InputError
		if !errors.As(err, &bad) || strings.Contains(fmt.Sprint(err), "s3cr3t") {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got := err.Error(); got != want && !(strings.Contains(body, "10.1.2.3") && strings.HasPrefix(got, "webhook.url: cannot be used here: ")) && !strings.HasSuffix(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	if all, err := r.Streams.Streams(t.Context(), place, wallet, "", 0); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}

func TestBadSubscriptionsAreRefusedWithAWord(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(`{"type":"webhook","webhook":{"url":%q}}`, rec.url)
	body := func(rest string) string { return `{"stream":"` + id + `","event":` + changed + rest + `}` }
	for body, want := range map[string]string{
		`{"event":{}}`:                           `stream: is missing: want the id of an event stream`,
		`{"stream":"x","event":` + changed + `}`: `there is no event stream "x" here`,
		`{"stream":"x"}`:                         `event: is nothing: want the event's entry of the ABI`,
		`{"stream":"` + id + `","event":{"type":"event","name":"E","anonymous":true,"inputs":[]}}`: `event: is anonymous: it has no topic by which its logs can be found`,
		`{"stream":"` + id + `","event":{"type":"event","name":"E","inputs":[{"type":"uint7"}]}}`:  `event: `,
		`{"stream":"` + id + `","event":` + setEntry + `}`:                                         `event: `,
		body(`,"address":"0x12"`):            `address: "0x12" is no address: want 0x and 40 hexadecimal digits`,
		body(`,"fromBlock":"earliest"`):      `fromBlock: is no block: want "latest", or a number in decimal or as 0x`,
		body(`,"methods":{}`):                `methods: is an object: want an array of entries of the ABI`,
		body(`,"methods":[` + changed + `]`): `methods[0]: `,
		body(`,"blocks":1`):                  `blocks: is not a member: want name, stream, event, methods, address, fromBlock`,
	} {
		wanted, err := eventstream.ReadWanted(parse(t, body))
		if err == nil {
			_, err = r.Subscribe(t.Context(), who, place, wallet, wanted)
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
	wanted, err := eventstream.ReadWanted(parse(t, body(`,"name":"n","address":"A1B2C3D4E5F6A1B2C3D4E5F6A1B2C3D4E5F6A1B2","fromBlock":"0x10","methods":[`+setEntry+`]`)))
	if err != nil {
		t.Fatal(err)
	}
	u, err := r.Subscribe(t.Context(), who, place, wallet, wanted)
	if err != nil || u.Name != "n" || u.FromBlock != "16" || u.Block != 16 || u.Signature != "Changed(address,uint256)" || u.Address == nil || !json.Valid(u.Event) {
		t.Errorf("%+v, %v", u, err)
	}
	chain.set(func() { chain.down = true })
	var away *eventstream.NodeError
	if _, err := r.Subscribe(t.Context(), who, place, wallet, eventstream.Wanted{Stream: id, Event: json.RawMessage(changed)}); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
}
