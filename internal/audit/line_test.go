// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

var when = time.Date(2026, 11, 22, 15, 4, 5, 678_901_999, time.FixedZone("", 3600))

// What has been logged once must hash the same for ever.
func TestLinesStayAsTheyAre(t *testing.T) {
	intent := audit.Intent{
		ID: "01", At: when, Principal: "app:shop", Wallet: "treasury", Address: common.HexToAddress("0xAbC1"), Action: audit.SendTransaction,
		Subject: "02", Verdict: "deny: \"x\"\n", Detail: `{"to":"0x1"}`,
	}
	outcome := audit.Outcome{ID: "03", Intent: "01", At: when, Digest: common.Hash{1}, RequestID: "é\u2028", Error: "bad \xff\xfe and \x00 \x01\x7f<&>"}
	event := audit.Event{ID: "04", At: when, Principal: "p", Kind: "freeze", Consortium: "c", Environment: "e", Membership: "m", Wallet: "w", Subject: "s", Detail: `{"a":1`}
	for want, r := range map[string]audit.Record{
		`{"kind":"intent","id":"01","at":"2026-11-22T14:04:05.678901Z","principal":"app:shop","wallet":"treasury","address":"0x000000000000000000000000000000000000abc1","action":"send-transaction","subject":"02","verdict":"deny: \"x\"\n","detail":{"to":"0x1"}}`:                {Kind: audit.IntentKind, Intent: &intent},
		`{"kind":"outcome","id":"03","at":"2026-11-22T14:04:05.678901Z","intent":"01","digest":"0x0100000000000000000000000000000000000000000000000000000000000000","hash":"","request_id":"é` + "\u2028" + `","error":"bad ` + "\ufffd" + ` and ` + "\ufffd" + ` \u0001\u007f<&>"}`: {Kind: audit.OutcomeKind, Outcome: &outcome},
		`{"kind":"event","id":"04","at":"2026-11-22T14:04:05.678901Z","principal":"p","event":"freeze","consortium":"c","environment":"e","membership":"m","wallet":"w","subject":"s","detail":"{\"a\":1"}`:                                                                          {Kind: audit.EventKind, Event: &event},
	} {
		got := string(r.AppendLine(nil))
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("no JSON: %s", got)
		}
		back, err := audit.ParseLine([]byte(got))
		if err != nil || string(back.AppendLine(nil)) != want {
			t.Errorf("%v: %+v", err, back)
		}
	}
	if got, _ := audit.ParseLine(audit.Record{Kind: audit.EventKind, Event: &event}.AppendLine(nil)); !reflect.DeepEqual(got.Event.Detail, event.Detail) {
		t.Errorf("detail %q", got.Event.Detail)
	}
}

func TestNoTwoRecordsHaveOneLine(t *testing.T) {
	seen := make(map[string]string)
	for _, detail := range []string{"", "{}", `"{}"`, `{"a":1}`, `{"a": 1}`, "{\"a\":\n1}", `{"a":1}{}`, `{`, "{\x7f}", `null`, `"x"`, "x", `\"x\"`} {
		line := string(audit.Record{Kind: audit.EventKind, Event: &audit.Event{ID: "1", At: when, Detail: detail}}.AppendLine(nil))
		if other, ok := seen[line]; ok {
			t.Errorf("%q and %q both give %s", other, detail, line)
		}
		seen[line] = detail
		if !json.Valid([]byte(line)) || strings.Contains(line, "\n") {
			t.Errorf("not one line of JSON: %s", line)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"kind":"event","id":"04","at":"2026-11-22T14:04:05.678901Z","principal":"p","event":"freeze","consortium":"c","environment":"e","membership":"m","wallet":"w","subject":"s","detail":"{\"a\":1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := audit.ParseLine(b)
		if err == nil && string(r.AppendLine(nil)) != string(b) {
			t.Fatalf("%q became %q", b, r.AppendLine(nil))
		}
	})
}
