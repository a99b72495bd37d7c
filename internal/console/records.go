// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func recordRoutes(get func(path string, serve handler)) {
	get("/audit", listRecords)
	get("/audit/checkpoint", giveCheckpoint)
	get("/audit/records/{record}", showRecord)
	get("/audit/records/{record}/proof", giveProof)
}

// recordsShown is how many records one page has.
const recordsShown = 50

// recordFilters are the fields of the form, as in the API.
func recordFilters() []string {
	return []string{"kind", "wallet", "principal", "action", "event", "address", "subject", "from", "to"}
}

// recordsPage is the data of the list.
type recordsPage struct {
	form
	Shown    []platform.AuditRecord
	Names    map[string]string // of principals
	Wallets  []choice
	Called   map[string]string // wallets, by what records call them
	Kinds    []string
	Actions  []string
	Older    string // URL; empty: there are no more
	Newest   bool   // from the newest on
	Filtered bool
	Log      logState
}

// logState is how the log over the trail is.
type logState struct {
	Checkpoint *platform.AuditCheckpoint // nil: there is none
	None       string                    // why
	Waiting    time.Duration             // how long the newest record that is shown has waited to be under a checkpoint; 0: it is
	Known      bool                      // whether Waiting is
}

// Late reports whether records wait for longer than they should: after 30 seconds
// nothing is signed any more.
func (s logState) Late() bool { return s.Waiting > 5*time.Second }

func listRecords(ctx context.Context, v *visit) (view, error) {
	services, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return view{}, err
	}
	data := recordsPage{form: form{Values: v.form, Problems: map[string]string{}}, Names: v.people(ctx), Called: walletNames(services), Actions: actions()}
	for _, s := range services {
		data.Wallets = append(data.Wallets, choice{runName(s), s.Name})
	}
	for _, k := range audit.Kinds() {
		data.Kinds = append(data.Kinds, k.String())
	}
	q := data.query()
	q.Before = v.form.Get("before")
	data.Newest = q.Before == ""
	if len(data.Problems) == 0 {
		page, err := v.c.cfg.Platform.AuditRecords(ctx, v.who, q)
		if err != nil {
			return view{}, err
		}
		data.Shown = page.Records
		if page.Next != "" {
			next := url.Values{"before": {page.Next}}
			for _, name := range recordFilters() {
				if text := v.form.Get(name); text != "" {
					next.Set(name, text)
				}
			}
			data.Older = v.path("audit") + "?" + next.Encode()
		}
	}
	data.Log = v.logState(ctx, data)
	return formView(view{page: "audit", title: "Audit", section: "audit", data: data, fragment: v.wantsFragment()}, data.form), nil
}

func actions() []string {
	return []string{
		string(audit.SendTransaction), string(audit.SignTransaction), string(audit.SignMessage), string(audit.SignTypedData), string(audit.SignDocument),
		string(audit.ProvePossession), string(audit.Repair), string(audit.CreateKey), string(audit.ImportKey),
	}
}

// query reads the filters; what cannot be read is a problem of its field.
func (p *recordsPage) query() platform.RecordQuery {
	text := func(name string) string {
		is := strings.TrimSpace(p.Get(name))
		p.Filtered = p.Filtered || is != ""
		return is
	}
	q := platform.RecordQuery{
		Principal: text("principal"), Wallet: text("wallet"), Action: text("action"), Event: text("event"), Subject: text("subject"), Limit: recordsShown,
	}
	if kind := text("kind"); slices.Contains(p.Kinds, kind) {
		k, err := audit.ParseKind(kind)
		if err == nil {
			q.Kinds = []audit.Kind{k}
		}
	}
	if address := text("address"); common.IsHexAddress(address) {
		q.Address = common.HexToAddress(address)
	} else if address != "" {
		p.Problems["address"] = "Want an address: 0x and 40 hex digits."
	}
	for name, to := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		is := text(name)
		for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02"} {
			if at, err := time.ParseInLocation(layout, is, time.UTC); err == nil {
				*to = at
			}
		}
		if is != "" && to.IsZero() {
			p.Problems[name] = "Want a time like 2026-01-02T15:04, in UTC."
		}
	}
	return q
}

func (v *visit) logState(ctx context.Context, p recordsPage) logState {
	var s logState
	c, err := v.c.cfg.Platform.Checkpoint(ctx, v.who)
	if err != nil {
		s.None = sentence(err.Error())
		return s
	}
	s.Checkpoint = &c
	if !p.Newest || p.Filtered || len(p.Shown) == 0 {
		return s
	}
	newest := p.Shown[0]
	_, err = v.c.cfg.Platform.RecordProof(ctx, v.who, newest.ID)
	var refused *platform.Error
	switch {
	case err == nil:
		s.Known = true
	case errors.As(err, &refused) && refused.Reason == platform.Unavailable:
		s.Known, s.Waiting = true, max(time.Since(newest.At), time.Millisecond)
	}
	return s
}

// plainNote is the media type of a signed note.
const plainNote = "text/plain; charset=utf-8"

func giveCheckpoint(ctx context.Context, v *visit) (view, error) {
	c, err := v.c.cfg.Platform.Checkpoint(ctx, v.who)
	if err != nil {
		return view{}, err
	}
	return view{file: &file{"audit-" + c.At.UTC().Format("20060102T150405Z") + ".checkpoint", plainNote, []byte(c.Checkpoint)}}, nil
}

// recordPage is the data of the page of one record.
type recordPage struct {
	ID         string
	Proof      platform.AuditProof
	Fields     []platform.ApprovalField
	Size       int64  // of the checkpoint
	Failure    string // what is wrong with the proof; empty: it holds
	Names      map[string]string
	Checkpoint []string // its lines
}

var recordID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (v *visit) recordProof(ctx context.Context) (string, platform.AuditProof, error) {
	id := v.r.PathValue("record")
	if !recordID.MatchString(id) {
		return "", platform.AuditProof{}, &platform.Error{Reason: platform.NotFound, Msg: "there is no audit record with that id"}
	}
	p, err := v.c.cfg.Platform.RecordProof(ctx, v.who, id)
	return id, p, err
}

func showRecord(ctx context.Context, v *visit) (view, error) {
	id, p, err := v.recordProof(ctx)
	if err != nil {
		return view{}, err
	}
	data := recordPage{ID: id, Proof: p, Names: v.people(ctx), Fields: fieldsOf(p.Record), Checkpoint: strings.Split(strings.TrimSpace(p.Checkpoint), "\n")}
	if data.Size, err = checkProof(p); err != nil {
		data.Failure = sentence(err.Error())
	}
	return view{page: "record", title: "Audit record " + short(id), section: "audit", data: data}, nil
}

// checkProof verifies a proof as whoever has downloaded it would, with nothing
// but the log's key.
func checkProof(p platform.AuditProof) (size int64, err error) {
	key, err := logbook.ParseVerifier(p.Key)
	if err != nil {
		return 0, err
	}
	c, err := logbook.ParseCheckpoint([]byte(p.Checkpoint), key)
	if err != nil {
		return 0, err
	}
	hashes := make([]tlog.Hash, len(p.Hashes))
	for i, text := range p.Hashes {
		if hashes[i], err = tlog.ParseHash(text); err != nil {
			return c.Size, err
		}
	}
	return c.Size, logbook.Proof{Line: []byte(p.Record), Index: p.Index, Hashes: hashes, Checkpoint: c}.Check(key)
}

// fieldsOf are the members of a record's line, in their order.
func fieldsOf(line string) []platform.ApprovalField {
	d := json.NewDecoder(strings.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var out []platform.ApprovalField
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return out
		}
		word, _ := name.(string)
		text := string(value)
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		var nested bytes.Buffer // a detail is JSON itself
		if strings.HasPrefix(text, "{") && json.Indent(&nested, []byte(text), "", "  ") == nil {
			text = nested.String()
		}
		out = append(out, platform.ApprovalField{Name: word, Value: text})
	}
	return out
}

func giveProof(ctx context.Context, v *visit) (view, error) {
	id, p, err := v.recordProof(ctx)
	if err != nil {
		return view{}, err
	}
	text, err := indented(p)
	return view{file: &file{"audit-record-" + id + ".json", "application/json", []byte(text + "\n")}}, err
}
