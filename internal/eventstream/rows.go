// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Stream is an event stream as its owner sees it.
type Stream struct {
	ID        string
	Name      string
	Settings  Settings
	Suspended bool
	Trouble   string // why nothing is delivered just now; empty if nothing is wrong
	Held      bool   // some process delivers it, or waits for something to deliver
	Principal string
	Created   time.Time
	Updated   time.Time
}

func shownStream(row store.Stream) (Stream, error) {
	settings, err := decodeSettings(row.Settings)
	if err != nil {
		return Stream{}, err
	}
	return Stream{
		ID: row.ID, Name: row.Name, Settings: settings, Suspended: row.Suspended, Trouble: row.Trouble,
		Held: row.Holder != "" && time.Now().Before(row.Until), Principal: row.Principal, Created: row.Created, Updated: row.Updated,
	}, nil
}

// find reads a stream of a wallet. What is not there is not found, in the same words
// as what is another's.
func (s *Streams) find(ctx context.Context, at Place, wallet, id string) (store.Stream, error) {
	row, err := s.cfg.Store.Stream(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (row.Wallet != wallet || row.Environment != at.Environment || row.Membership != at.Membership) {
		return row, &NotFoundError{What: "event stream", ID: shown(id)}
	}
	return row, err
}

// Create makes a stream of a wallet from a body as docs/event-streams.md describes
// it. The error is an [*InputError] or a [*ConflictError] if the caller can mend
// it.
func (s *Streams) Create(ctx context.Context, who auth.Principal, at Place, wallet string, body strictjson.Value) (Stream, error) {
	d := newDraft()
	if err := d.read(body, true); err != nil {
		return Stream{}, err
	}
	now := after(time.Time{})
	row := store.Stream{
		ID: store.NewID(), Environment: at.Environment, Membership: at.Membership, Wallet: wallet,
		Principal: who.Name, Created: now, Updated: now,
	}
	if err := s.put(ctx, &row, d); err != nil {
		return Stream{}, err
	}
	err := s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		n, err := w.CountStreams(at.Environment, at.Membership)
		if err != nil {
			return err
		}
		if n >= MaxStreams {
			return conflict("there are %d event streams already: want at most %d", n, MaxStreams)
		}
		if err := w.InsertStream(row); err != nil {
			return err
		}
		return w.AuditEvent(s.toldChange("event-stream-create", who, store.Stream{}, row))
	})
	if err != nil {
		return Stream{}, err
	}
	s.wake()
	return shownStream(row)
}

// put takes a draft into a row.
func (s *Streams) put(ctx context.Context, row *store.Stream, d draft) error {
	if hook := d.settings.Webhook; hook != nil {
		if err := s.allowed(hook.URL); err != nil {
			return err
		}
	}
	settings, err := json.Marshal(d.settings)
	if err != nil {
		return err
	}
	row.Name, row.Settings = d.name, string(settings)
	if d.headers == nil {
		return nil
	}
	row.Secret = nil
	if len(d.headers) == 0 {
		return nil
	}
	if s.cfg.Sealer == nil {
		return badInput("webhook.headers", "cannot be kept: this deployment has no key to seal them with (seal.keys)")
	}
	plain, err := json.Marshal(d.headers)
	if err != nil {
		return err
	}
	defer clear(plain)
	row.Secret, err = s.cfg.Sealer.Seal(ctx, seal.OfStream(*row), plain)
	return err
}

// told is what happened to a stream or to a subscription of it, for the audit trail.
func (s *Streams) told(kind string, who auth.Principal, row store.Stream, subject, name string) audit.Event {
	return s.event(kind, who, row, subject, about{Name: name, Stream: row.ID, Webhook: host(row)})
}

// toldChange is told of a stream that was another before; the zero stream if it is
// new.
func (s *Streams) toldChange(kind string, who auth.Principal, was, row store.Stream) audit.Event {
	a := about{Name: row.Name, Stream: row.ID, Webhook: host(row), Headers: !bytes.Equal(was.Secret, row.Secret)}
	if before := host(was); before != a.Webhook {
		a.Before = before
	}
	return s.event(kind, who, row, row.ID, a)
}

// about is the detail of an event of the audit trail.
type about struct {
	Name    string `json:"name"`
	Stream  string `json:"stream"`
	Webhook string `json:"webhook,omitempty"`         // host, with the port if the URL has one
	Before  string `json:"webhook_before,omitempty"`  // the host until now, if it is another
	Headers bool   `json:"headers_changed,omitempty"` // sealed headers were given or taken away
}

func (s *Streams) event(kind string, who auth.Principal, row store.Stream, subject string, a about) audit.Event {
	detail, _ := json.Marshal(a) // it has strings and a flag
	e := audit.Event{
		Principal: who.Name, Kind: kind, Environment: row.Environment, Membership: row.Membership, Wallet: row.Wallet,
		Subject: subject, Detail: string(detail),
	}
	if s.cfg.Consortium != nil {
		e.Consortium = s.cfg.Consortium(Place{Environment: row.Environment, Membership: row.Membership})
	}
	return e
}

// host is that of a stream's webhook; empty if there is none.
func host(row store.Stream) string {
	settings, err := decodeSettings(row.Settings)
	if err != nil || settings.Webhook == nil {
		return ""
	}
	u, err := url.Parse(settings.Webhook.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Streams lists the streams of a wallet, oldest first, after the id of one.
func (s *Streams) Streams(ctx context.Context, at Place, wallet, after string, limit int) ([]Stream, error) {
	rows, err := s.cfg.Store.Streams(ctx, store.StreamFilter{
		Wallet: wallet, Environment: at.Environment, Membership: at.Membership, After: after, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	all := make([]Stream, 0, len(rows))
	for _, row := range rows {
		one, err := shownStream(row)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// Stream reads one stream. A [*NotFoundError] if the wallet has no such one.
func (s *Streams) Stream(ctx context.Context, at Place, wallet, id string) (Stream, error) {
	row, err := s.find(ctx, at, wallet, id)
	if err != nil {
		return Stream{}, err
	}
	return shownStream(row)
}

// Update changes what the body names of a stream. What is on its way is delivered
// once more. Who points a webhook elsewhere has to give its headers anew: those that
// are sealed may be secrets of somebody else.
func (s *Streams) Update(ctx context.Context, who auth.Principal, at Place, wallet, id string, body strictjson.Value) (Stream, error) {
	return s.change(ctx, who, at, wallet, id, "event-stream-update", func(row *store.Stream) error {
		settings, err := decodeSettings(row.Settings)
		if err != nil {
			return err
		}
		d := draft{name: row.Name, settings: settings}
		if err := d.read(body, false); err != nil {
			return err
		}
		if row.Secret != nil && d.headers == nil {
			if err := sameReceiver(settings.Webhook, d.settings.Webhook); err != nil {
				return err
			}
		}
		return s.put(ctx, row, d)
	})
}

// Suspend stops a stream; it keeps its place. One that is suspended stays so.
func (s *Streams) Suspend(ctx context.Context, who auth.Principal, at Place, wallet, id string) (Stream, error) {
	return s.change(ctx, who, at, wallet, id, "event-stream-suspend", func(row *store.Stream) error {
		row.Suspended = true
		return nil
	})
}

// Resume lets a suspended stream go on where it was.
func (s *Streams) Resume(ctx context.Context, who auth.Principal, at Place, wallet, id string) (Stream, error) {
	return s.change(ctx, who, at, wallet, id, "event-stream-resume", func(row *store.Stream) error {
		row.Suspended = false
		return nil
	})
}

func (s *Streams) change(ctx context.Context, who auth.Principal, at Place, wallet, id, kind string, edit func(*store.Stream) error) (Stream, error) {
	row, err := s.find(ctx, at, wallet, id)
	if err != nil {
		return Stream{}, err
	}
	was := row
	if err := edit(&row); err != nil {
		return Stream{}, err
	}
	row.Updated, row.Trouble = after(was.Updated), ""
	err = s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.UpdateStream(row, was.Updated); err != nil {
			return err
		}
		return w.AuditEvent(s.toldChange(kind, who, was, row))
	})
	if errors.Is(err, store.ErrRevision) {
		return Stream{}, conflict("the event stream was changed by somebody else meanwhile: read it again")
	}
	if err != nil {
		return Stream{}, err
	}
	s.wake()
	return shownStream(row)
}

// after is a time that has not been a row's.
func after(was time.Time) time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(was) {
		return was.Add(time.Microsecond)
	}
	return now
}

// Delete forgets a stream with its subscriptions.
func (s *Streams) Delete(ctx context.Context, who auth.Principal, at Place, wallet, id string) error {
	row, err := s.find(ctx, at, wallet, id)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.DeleteStream(id); err != nil {
			return err
		}
		return w.AuditEvent(s.told("event-stream-delete", who, row, row.ID, row.Name))
	})
	if errors.Is(err, store.ErrNotFound) {
		return &NotFoundError{What: "event stream", ID: shown(id)}
	}
	s.wake()
	return err
}
