// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/textproto"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// streamRoutes are the pages about event streams: {id} is the wallet by which the
// chain is followed.
func streamRoutes(get, post func(path string, serve handler)) {
	get("/streams", toFirst("streams"))
	get("/streams/{id}", showStreams)
	get("/streams/{id}/new", newStream)
	post("/streams/{id}/new", makeStream)
	get("/streams/{id}/of/{stream}", showStream)
	post("/streams/{id}/of/{stream}/suspend", suspendStream)
	post("/streams/{id}/of/{stream}/resume", resumeStream)
	post("/streams/{id}/of/{stream}/delete", deleteStream)
	post("/streams/{id}/of/{stream}/subscribe", subscribe)
	post("/streams/{id}/of/{stream}/subscriptions/{subscription}/reset", resetSubscription)
	post("/streams/{id}/of/{stream}/subscriptions/{subscription}/delete", unsubscribe)
}

// delivery is a bench with the streams of its wallet.
type delivery struct {
	*bench
	streams *eventstream.Streams
	place   eventstream.Place
	wallet  string
}

func (v *visit) delivery(ctx context.Context, change bool) (*delivery, error) {
	b, err := v.bench(ctx, change)
	if err != nil {
		return nil, err
	}
	if v.c.cfg.Contracts.Streams == nil {
		return nil, &platform.Error{Reason: platform.Unsupported, Msg: "this daemon delivers no events"}
	}
	at := b.Target.Place
	return &delivery{b, v.c.cfg.Contracts.Streams, eventstream.Place{Environment: at.Environment, Membership: at.Membership}, b.Target.Wallet.Name()}, nil
}

// streamsPage is the list of streams.
type streamsPage struct {
	Streams []eventstream.Stream
}

func showStreams(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, false)
	if err != nil {
		return view{}, err
	}
	all, err := d.streams.Streams(ctx, d.place, d.wallet, "", eventstream.MaxStreams)
	if err != nil {
		return view{}, streamRefusal(err)
	}
	return v.benchView(d.bench, "streams", "streams", "Event streams", form{}, streamsPage{all}), nil
}

// newStreamPage is the form by which a stream is made.
type newStreamPage struct{ Type string }

func newStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	return v.newStreamPage(d, form{Values: v.form}), nil
}

func (v *visit) newStreamPage(d *delivery, f form) view {
	p := newStreamPage{eventstream.TypeWebhook}
	if v.form.Get("type") == eventstream.TypeWebSocket {
		p.Type = eventstream.TypeWebSocket
	}
	return v.benchView(d.bench, "stream-new", "streams", "New event stream", f, p)
}

func makeStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	var made eventstream.Stream
	body, err := v.streamTyped()
	if err == nil {
		made, err = d.streams.Create(ctx, v.who.Principal, d.place, d.wallet, body)
	}
	fields := []string{"name", "type", "batchSize", "batchTimeoutMS", "errorHandling", "confirmations", "webhook.url", "webhook.headers", "websocket.topic", "websocket.distributionMode"}
	if f, ok := v.refused(streamRefusal(err), fields...); ok {
		return v.newStreamPage(d, f), nil
	}
	if err != nil {
		return view{}, streamRefusal(err)
	}
	return v.done("stream-made", "streams", d.Service.ID, "of", made.ID), nil
}

// streamTyped is the body that the gateway would get for the form.
func (v *visit) streamTyped() (strictjson.Value, error) {
	object := func(pairs ...any) (o strictjson.Value) {
		o.Kind = strictjson.Object
		for i := 0; i < len(pairs); i += 2 {
			name, _ := pairs[i].(string)
			is, _ := pairs[i+1].(strictjson.Value)
			if is.Present() {
				o.Members = append(o.Members, strictjson.Member{Name: name, Value: is})
			}
		}
		return o
	}
	text := func(field string) (is strictjson.Value) {
		if typed := v.text(field); typed != "" {
			is = strictjson.StringValue(typed)
		}
		return is
	}
	number := func(field string) strictjson.Value {
		is := text(field)
		if n, err := strictjson.Parse([]byte(is.Text)); err == nil && n.Kind == strictjson.Number {
			return n
		}
		return is // which is refused, with its name
	}
	flag := func(field string) strictjson.Value {
		return strictjson.Value{Kind: strictjson.Bool, Text: map[bool]string{true: "true", false: "false"}[v.form.Get(field) != ""]}
	}
	var hook, socket strictjson.Value
	if v.form.Get("type") == eventstream.TypeWebSocket {
		socket = object("topic", text("websocket.topic"), "distributionMode", text("websocket.distributionMode"))
	} else {
		headers, err := v.headersTyped()
		if err != nil {
			return headers, err
		}
		hook = object("url", text("webhook.url"), "headers", headers)
	}
	return object("name", text("name"), "type", text("type"), "batchSize", number("batchSize"), "batchTimeoutMS", number("batchTimeoutMS"),
		"errorHandling", text("errorHandling"), "confirmations", number("confirmations"), "timestamps", flag("timestamps"),
		"webhook", hook, "websocket", socket), nil
}

// headersTyped reads headers, one a line.
func (v *visit) headersTyped() (is strictjson.Value, err error) {
	for line := range strings.Lines(v.form.Get("webhook.headers")) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			// What stands there may be a secret: it is not repeated.
			return is, &platform.Error{Reason: platform.Invalid, Field: "webhook.headers", Msg: "want one header a line, like Authorization: Bearer …"}
		}
		is.Kind = strictjson.Object
		is.Members = append(is.Members, strictjson.Member{Name: textproto.TrimString(name), Value: strictjson.StringValue(textproto.TrimString(value))})
	}
	return is, nil
}

// streamPage is one stream with its subscriptions.
type streamPage struct {
	eventstream.Stream
	Subscriptions []eventstream.Subscription
	Choices       []choice // events that can be subscribed to
}

func showStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, false)
	if err != nil {
		return view{}, err
	}
	return v.streamPage(ctx, d, form{})
}

func (v *visit) streamPage(ctx context.Context, d *delivery, f form) (view, error) {
	is, err := d.streams.Stream(ctx, d.place, d.wallet, v.r.PathValue("stream"))
	if err != nil {
		return view{}, streamRefusal(err)
	}
	p := streamPage{Stream: is}
	if p.Subscriptions, err = d.streams.Subscriptions(ctx, d.place, d.wallet, is.ID, "", eventstream.MaxSubscriptions); err != nil {
		return view{}, streamRefusal(err)
	}
	if d.MayChange {
		if p.Choices, err = d.choices(ctx); err != nil {
			return view{}, err
		}
	}
	return v.benchView(d.bench, "stream", "streams", is.Name, f, p), nil
}

// eventsToChoose bounds a list of events to choose from.
const eventsToChoose = 500

// choices are the events of the contracts here, and those of each interface, for
// every contract that has it. Values are what chosen reads.
func (d *delivery) choices(ctx context.Context) (out []choice, err error) {
	add := func(ref, title, id string) error {
		is, err := d.Book.ABI(ctx, d.Target.Place, id)
		if err != nil {
			return deskRefusal(err)
		}
		for _, e := range is.Contract.Events {
			if len(out) < eventsToChoose && !e.Anonymous {
				out = append(out, choice{ref + " " + e.Signature(), title + ": " + e.Signature()})
			}
		}
		return nil
	}
	contracts, err := d.Book.Contracts(ctx, d.Target.Place, d.Chain(), "", "", shownAtOnce)
	if err != nil {
		return nil, deskRefusal(err)
	}
	for _, c := range contracts {
		if c.ABI == "" || c.Address == nil {
			continue
		}
		title := c.Name
		if title == "" {
			title = short(c.Address.Hex())
		}
		if err := add(c.Address.Hex(), title, c.ABI); err != nil {
			return nil, err
		}
	}
	kept, err := d.Book.ABIs(ctx, d.Target.Place, "", shownAtOnce)
	if err != nil {
		return nil, deskRefusal(err)
	}
	for _, a := range kept {
		title := a.Name
		if title == "" {
			title = short(a.ID)
		}
		if err := add(a.ID, "every contract, by "+title, a.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chosen is the subscription that a choice stands for.
func (d *delivery) chosen(ctx context.Context, value string) (w eventstream.Wanted, err error) {
	ref, signature, _ := strings.Cut(value, " ")
	id := ref
	if strings.HasPrefix(ref, "0x") {
		c, err := d.Book.Contract(ctx, d.Target.Place, d.Chain(), ref)
		if err != nil {
			return w, deskRefusal(err)
		}
		id, w.Address = c.ABI, c.Address
	}
	is, err := d.Book.ABI(ctx, d.Target.Place, id)
	if err != nil {
		return w, deskRefusal(err)
	}
	w.Event, err = entryOf(is, signature)
	return w, err
}

// entryOf is an event as it stands in an interface's document.
func entryOf(a contract.ABI, signature string) (json.RawMessage, error) {
	v, err := strictjson.Parse(a.Document)
	if err != nil {
		return nil, err
	}
	for _, e := range v.Elems {
		if e.Get("type").Text != "event" {
			continue
		}
		text := e.AppendTo(nil)
		alone, err := abi.Parse(append(append([]byte{'['}, text...), ']'))
		if err == nil && len(alone.Events) == 1 && alone.Events[0].Signature() == signature {
			return text, nil
		}
	}
	return nil, &platform.Error{Reason: platform.Invalid, Field: "event", Msg: "choose one of the list"}
}

func subscribe(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	w, err := d.chosen(ctx, v.form.Get("event"))
	if err == nil {
		w.Stream, w.Name = v.r.PathValue("stream"), v.text("name")
		if w.FromBlock, err = eventstream.ReadBlock(strictjson.StringValue(v.text("fromBlock"))); err == nil {
			_, err = d.streams.Subscribe(ctx, v.who.Principal, d.place, d.wallet, w)
		}
	}
	return v.streamDone(ctx, d, err, "subscribed")
}

func suspendStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	_, err = d.streams.Suspend(ctx, v.who.Principal, d.place, d.wallet, v.r.PathValue("stream"))
	return v.streamDone(ctx, d, err, "stream-suspended")
}

func resumeStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	_, err = d.streams.Resume(ctx, v.who.Principal, d.place, d.wallet, v.r.PathValue("stream"))
	return v.streamDone(ctx, d, err, "stream-resumed")
}

func resetSubscription(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	block, err := eventstream.ReadBlock(strictjson.StringValue(v.text("fromBlock")))
	if err == nil {
		_, err = d.streams.Reset(ctx, v.who.Principal, d.place, d.wallet, v.r.PathValue("subscription"), block)
	}
	return v.streamDone(ctx, d, err, "subscription-reset")
}

func unsubscribe(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	err = d.streams.Unsubscribe(ctx, v.who.Principal, d.place, d.wallet, v.r.PathValue("subscription"))
	return v.streamDone(ctx, d, err, "unsubscribed")
}

func deleteStream(ctx context.Context, v *visit) (view, error) {
	d, err := v.delivery(ctx, true)
	if err != nil {
		return view{}, err
	}
	if err := d.streams.Delete(ctx, v.who.Principal, d.place, d.wallet, v.r.PathValue("stream")); err != nil {
		return v.streamDone(ctx, d, err, "")
	}
	return v.done("stream-deleted", "streams", d.Service.ID), nil
}

// streamDone leads back to the stream, or shows it with what was wrong.
func (v *visit) streamDone(ctx context.Context, d *delivery, err error, done string) (view, error) {
	if f, ok := v.refused(streamRefusal(err), "event", "name", "fromBlock"); ok {
		return v.streamPage(ctx, d, f)
	}
	if err != nil {
		return view{}, streamRefusal(err)
	}
	return v.done(done, "streams", d.Service.ID, "of", v.r.PathValue("stream")), nil
}

// streamRefusal words for a person what package eventstream refuses.
func streamRefusal(err error) error {
	var (
		input    *eventstream.InputError
		missing  *eventstream.NotFoundError
		conflict *eventstream.ConflictError
		away     *eventstream.NodeError
		ours     *platform.Error
	)
	switch {
	case err == nil, errors.As(err, &ours):
		return err
	case errors.As(err, &input):
		return &platform.Error{Reason: platform.Invalid, Field: input.Field, Msg: input.Msg}
	case errors.As(err, &missing):
		return &platform.Error{Reason: platform.NotFound, Msg: missing.Error()}
	case errors.As(err, &conflict):
		return &platform.Error{Reason: platform.Conflict, Msg: conflict.Error()}
	case errors.As(err, &away):
		return &platform.Error{Reason: platform.Unavailable, Msg: away.Error()}
	}
	return err
}
