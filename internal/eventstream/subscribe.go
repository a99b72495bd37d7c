// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Latest as the block to begin with is the one after the newest there is.
const Latest = "latest"

// maxInterface bounds the event and the functions of one subscription, in bytes.
const maxInterface = 64 << 10

// Wanted is a subscription that somebody asks for.
type Wanted struct {
	Stream    string // id
	Name      string // empty: the event's signature
	Event     json.RawMessage
	Methods   []json.RawMessage // functions by which transactions are read, if the stream tells inputs
	Address   *common.Address   // nil: of all contracts
	FromBlock string            // latest, decimal or 0x; empty: latest
}

// Subscription is one event that a stream delivers.
type Subscription struct {
	ID        string
	Stream    string
	Name      string
	Event     json.RawMessage // its ABI entry
	Signature string
	Address   *common.Address // nil: of all contracts
	FromBlock string
	Block     uint64 // the first block that is not wholly delivered
	Principal string
	Created   time.Time
	Updated   time.Time
}

func shownSubscription(row store.Subscription) (Subscription, error) {
	u, err := openSubscription(row)
	if err != nil {
		return Subscription{}, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal([]byte(row.Event), &entries); err != nil {
		return Subscription{}, err
	}
	return Subscription{
		ID: row.ID, Stream: row.Stream, Name: row.Name, Event: entries[0], Signature: u.event.Signature(), Address: u.address,
		FromBlock: row.FromBlock, Block: u.done.Block, Principal: row.Principal, Created: row.Created, Updated: row.Updated,
	}, nil
}

// ReadWanted reads a subscription from a body: {name, stream, event, methods,
// address, fromBlock}.
func ReadWanted(v strictjson.Value) (Wanted, error) {
	f := &fields{v: v}
	var w Wanted
	var event, methods, block strictjson.Value
	var address string
	f.text("name", &w.Name, maxName)
	f.text("stream", &w.Stream, maxName)
	f.any("event", &event)
	f.any("methods", &methods)
	f.text("address", &address, 64)
	f.any("fromBlock", &block)
	if err := f.done(); err != nil {
		return w, err
	}
	if w.Stream == "" {
		return w, badInput("stream", "is missing: want the id of an event stream")
	}
	if event.Kind != strictjson.Object {
		return w, badInput("event", `is %s: want the event's entry of the ABI, {"type": "event", "name": …, "inputs": […]}`, event.Kind)
	}
	w.Event = event.AppendTo(nil)
	if methods.Present() {
		if methods.Kind != strictjson.Array {
			return w, badInput("methods", "is %s: want an array of entries of the ABI", methods.Kind)
		}
		for _, m := range methods.Elems {
			w.Methods = append(w.Methods, m.AppendTo(nil))
		}
	}
	if address != "" {
		a, err := readAddress(address)
		if err != nil {
			return w, err
		}
		w.Address = &a
	}
	var err error
	w.FromBlock, err = ReadBlock(block)
	return w, err
}

func readAddress(text string) (a common.Address, err error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")
	if len(digits) != 40 || !common.IsHexAddress(digits) {
		return a, badInput("address", "%q is no address: want 0x and 40 hexadecimal digits", shown(text))
	}
	return common.HexToAddress(digits), nil
}

// ReadBlock reads where a subscription begins: latest, or a number, as a JSON
// string or number. An absent one is latest.
func ReadBlock(v strictjson.Value) (string, error) {
	if !v.Present() {
		return Latest, nil
	}
	if v.Kind == strictjson.String || v.Kind == strictjson.Number {
		if v.Text == "" || v.Text == Latest {
			return Latest, nil
		}
		base, digits := 10, v.Text
		if after, ok := strings.CutPrefix(v.Text, "0x"); ok && v.Kind == strictjson.String {
			base, digits = 16, after
		}
		n, err := strconv.ParseUint(digits, base, 64)
		if err == nil && n <= math.MaxInt64 && digits[0] != '+' {
			return strconv.FormatUint(n, 10), nil
		}
	}
	return "", badInput("fromBlock", `is no block: want "latest", or a number in decimal or as 0x`)
}

// begin is the cursor before anything was delivered.
func (s *Streams) begin(ctx context.Context, wallet, block string) (cursor, error) {
	if block != Latest {
		n, err := strconv.ParseUint(block, 10, 64)
		return cursor{First: n, Block: n}, err
	}
	node := s.cfg.Node(wallet)
	if node == nil {
		return cursor{}, &NodeError{Msg: "the service does not run here just now, so that its newest block is not known"}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	head, err := chain{node}.head(ctx)
	if err != nil {
		return cursor{}, &NodeError{Msg: "the newest block is not known: " + trouble(err)}
	}
	return cursor{First: head.Number + 1, Block: head.Number + 1, Seen: []seen{{Number: head.Number, Hash: head.Hash}}}, nil
}

// Subscribe has a stream deliver an event. From latest on are the blocks after the
// newest there is when Subscribe asks the node: none of them is missed, however
// late the stream begins. The error is an [*InputError], a [*NotFoundError], a
// [*ConflictError] or a [*NodeError] if it is not the signer's own.
func (s *Streams) Subscribe(ctx context.Context, who auth.Principal, at Place, wallet string, want Wanted) (Subscription, error) {
	stream, err := s.find(ctx, at, wallet, want.Stream)
	if err != nil {
		return Subscription{}, err
	}
	row := store.Subscription{ID: store.NewID(), Stream: stream.ID, Name: want.Name, FromBlock: want.FromBlock, Principal: who.Name}
	if row.FromBlock == "" {
		row.FromBlock = Latest
	}
	event, err := abi.ParseEvent(want.Event)
	if err != nil {
		return Subscription{}, badInput("event", "%v", err)
	}
	if event.Anonymous {
		return Subscription{}, badInput("event", "is anonymous: it has no topic by which its logs can be found")
	}
	if row.Name == "" {
		row.Name = event.Signature()
	}
	if row.Event, err = interfaceOf(want); err != nil {
		return Subscription{}, err
	}
	if want.Address != nil {
		row.Address = hexAddress(*want.Address)
	}
	place, err := s.begin(ctx, wallet, row.FromBlock)
	if err != nil {
		return Subscription{}, err
	}
	row.Checkpoint = place.text()
	row.Created = time.Now().UTC().Truncate(time.Microsecond)
	row.Updated = row.Created
	err = s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		n, err := w.CountSubscriptions(stream.ID)
		if err != nil {
			return err
		}
		if n >= MaxSubscriptions {
			return conflict("the event stream has %d subscriptions already: want at most %d", n, MaxSubscriptions)
		}
		if err := w.InsertSubscription(row); err != nil {
			return err
		}
		return w.AuditEvent(s.told("subscription-create", who, stream, row.ID, row.Name))
	})
	if errors.Is(err, store.ErrNotFound) {
		return Subscription{}, &NotFoundError{What: "event stream", ID: shown(want.Stream)}
	}
	if err != nil {
		return Subscription{}, err
	}
	s.wake()
	return shownSubscription(row)
}

// interfaceOf is the ABI of an event and of the functions beside it, event first.
func interfaceOf(want Wanted) (string, error) {
	entries := []json.RawMessage{want.Event}
	for i, m := range want.Methods {
		if _, err := abi.ParseMethod(m); err != nil {
			return "", badInput("methods["+strconv.Itoa(i)+"]", "%v", err)
		}
		entries = append(entries, m)
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return "", badInput("event", "is not JSON")
	}
	if len(text) > maxInterface {
		return "", badInput("event", "has %d bytes, with the methods: want at most %d", len(text), maxInterface)
	}
	if _, err := abi.Parse(text); err != nil {
		return "", badInput("methods", "%v", err)
	}
	return string(text), nil
}

// findSubscription reads a subscription of a wallet's stream.
func (s *Streams) findSubscription(ctx context.Context, at Place, wallet, id string) (store.Subscription, store.Stream, error) {
	row, err := s.cfg.Store.Subscription(ctx, id)
	if err == nil {
		var stream store.Stream
		if stream, err = s.find(ctx, at, wallet, row.Stream); err == nil {
			return row, stream, nil
		}
	}
	var none *NotFoundError
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &none) {
		err = &NotFoundError{What: "subscription", ID: shown(id)}
	}
	return store.Subscription{}, store.Stream{}, err
}

// Subscriptions lists the subscriptions of a wallet, or of one of its streams,
// oldest first, after the id of one.
func (s *Streams) Subscriptions(ctx context.Context, at Place, wallet, stream, after string, limit int) ([]Subscription, error) {
	rows, err := s.cfg.Store.Subscriptions(ctx, store.StreamFilter{
		Wallet: wallet, Environment: at.Environment, Membership: at.Membership, Stream: stream, After: after, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	all := make([]Subscription, 0, len(rows))
	for _, row := range rows {
		one, err := shownSubscription(row)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// Subscription reads one. A [*NotFoundError] if the wallet has no such one.
func (s *Streams) Subscription(ctx context.Context, at Place, wallet, id string) (Subscription, error) {
	row, _, err := s.findSubscription(ctx, at, wallet, id)
	if err != nil {
		return Subscription{}, err
	}
	return shownSubscription(row)
}

// Reset has a subscription begin anew at a block, so that what was delivered
// already comes again, or what was not is passed over.
func (s *Streams) Reset(ctx context.Context, who auth.Principal, at Place, wallet, id, block string) (Subscription, error) {
	row, stream, err := s.findSubscription(ctx, at, wallet, id)
	if err != nil {
		return Subscription{}, err
	}
	if block == "" {
		block = Latest
	}
	place, err := s.begin(ctx, wallet, block)
	if err != nil {
		return Subscription{}, err
	}
	was := row.Updated
	row.FromBlock, row.Checkpoint, row.Updated = block, place.text(), after(was)
	err = s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.ResetSubscription(row, was); err != nil {
			return err
		}
		return w.AuditEvent(s.told("subscription-reset", who, stream, row.ID, row.Name))
	})
	if errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrNotFound) {
		return Subscription{}, conflict("the subscription was changed by somebody else meanwhile: read it again")
	}
	if err != nil {
		return Subscription{}, err
	}
	s.wake()
	return shownSubscription(row)
}

// Unsubscribe forgets a subscription.
func (s *Streams) Unsubscribe(ctx context.Context, who auth.Principal, at Place, wallet, id string) error {
	row, stream, err := s.findSubscription(ctx, at, wallet, id)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.DeleteSubscription(stream.ID, row.ID, time.Now()); err != nil {
			return err
		}
		return w.AuditEvent(s.told("subscription-delete", who, stream, row.ID, row.Name))
	})
	if errors.Is(err, store.ErrNotFound) {
		return &NotFoundError{What: "subscription", ID: shown(id)}
	}
	s.wake()
	return err
}
