// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// StreamsConfig is what [NewStreams] works with.
type StreamsConfig struct {
	Streams *eventstream.Streams
	Desk    *contract.Desk // for clients that listen to replies; nil: nobody can
	// CallTimeout bounds what asks the node or the store; 30 s.
	CallTimeout time.Duration
	Logger      *slog.Logger // nil discards
}

// Streams is the [Part] of event streams, subscriptions and the WebSocket over which
// clients get batches. Its methods are safe for concurrent use.
type Streams struct {
	cfg StreamsConfig
	h   *Handler // of its routes

	mu      sync.Mutex
	closing bool
	sockets map[*streamSocket]struct{}
	wg      sync.WaitGroup
}

var _ Part = (*Streams)(nil)

// NewStreams makes the part.
func NewStreams(cfg StreamsConfig) (*Streams, error) {
	if cfg.Streams == nil {
		return nil, errors.New("gateway: there have to be event streams")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	def(&cfg.CallTimeout, 30*time.Second)
	p := &Streams{cfg: cfg, sockets: make(map[*streamSocket]struct{})}
	p.h = &Handler{
		cfg: Config{Desk: cfg.Desk, Body: 256 << 10, ReadTime: 10 * time.Second, CallTimeout: cfg.CallTimeout, Logger: cfg.Logger},
		log: cfg.Logger, routes: ready(p.routes()), stop: make(chan struct{}),
	}
	return p, nil
}

// Close ends all WebSockets and waits for them. None can be opened any more.
func (p *Streams) Close() {
	p.mu.Lock()
	p.closing = true
	for k := range p.sockets {
		k.end(goingAway)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Revoke ends the WebSockets of the principals that match is true of, and returns
// how many. It is to be called when a credential is revoked.
func (p *Streams) Revoke(match func(auth.Principal) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for k := range p.sockets {
		if match(k.q.Principal) {
			k.end(revoked)
			n++
		}
	}
	return n
}

func (p *Streams) serve(w http.ResponseWriter, r *http.Request, c Caller, path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "eventstreams", "subscriptions", "ws":
		p.h.Serve(w, r, c, path)
		return true
	}
	return false
}

// routes is the table of the routes of event streams.
func (p *Streams) routes() []route {
	get, post, patch, del := http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	page := []string{"limit", "after"}
	return []route{
		{method: get, path: "/eventstreams", query: page, serve: p.listStreams},
		{method: post, path: "/eventstreams", changes: true, query: none(), serve: p.createStream},
		{method: get, path: "/eventstreams/{stream}", query: none(), serve: p.showStream},
		{method: patch, path: "/eventstreams/{stream}", changes: true, query: none(), serve: p.updateStream},
		{method: del, path: "/eventstreams/{stream}", changes: true, query: none(), serve: p.deleteStream},
		{method: post, path: "/eventstreams/{stream}/suspend", changes: true, query: none(), serve: p.suspendStream},
		{method: post, path: "/eventstreams/{stream}/resume", changes: true, query: none(), serve: p.resumeStream},

		{method: get, path: "/subscriptions", query: append(page, "stream"), serve: p.listSubscriptions},
		{method: post, path: "/subscriptions", changes: true, query: none(), serve: p.createSubscription},
		{method: get, path: "/subscriptions/{subscription}", query: none(), serve: p.showSubscription},
		{method: del, path: "/subscriptions/{subscription}", changes: true, query: none(), serve: p.deleteSubscription},
		{method: post, path: "/subscriptions/{subscription}/reset", changes: true, query: none(), serve: p.resetSubscription},

		{method: get, path: "/ws", changes: true, query: none(), serve: p.openSocket},
	}
}

// StreamInfo is an event stream in answers.
type StreamInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Path string `json:"path"`
	eventstream.Settings
	Suspended bool `json:"suspended"`
	// Delivering says that some process has the stream; one of type websocket is
	// nobody's while nobody listens.
	Delivering bool      `json:"delivering"`
	Trouble    string    `json:"trouble,omitempty"`
	Created    time.Time `json:"created"`
	Updated    time.Time `json:"updated"`
}

func (q *request) streamInfo(s eventstream.Stream) StreamInfo {
	return StreamInfo{
		ID: s.ID, Name: s.Name, Path: "/eventstreams/" + s.ID, Settings: s.Settings, Suspended: s.Suspended,
		Delivering: s.Held, Trouble: s.Trouble, Created: s.Created.UTC(), Updated: s.Updated.UTC(),
	}
}

// SubscriptionInfo is a subscription in answers.
type SubscriptionInfo struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Path      string          `json:"path"`
	Stream    string          `json:"stream"`
	Event     json.RawMessage `json:"event"`
	Signature string          `json:"signature"`
	Address   string          `json:"address,omitempty"` // missing: of all contracts
	FromBlock string          `json:"fromBlock"`
	Block     uint64          `json:"block"` // the first that is not wholly delivered
	Created   time.Time       `json:"created"`
	Updated   time.Time       `json:"updated"`
}

func (q *request) subscriptionInfo(s eventstream.Subscription) SubscriptionInfo {
	b := SubscriptionInfo{
		ID: s.ID, Name: s.Name, Path: "/subscriptions/" + s.ID, Stream: s.Stream, Event: s.Event, Signature: s.Signature,
		FromBlock: s.FromBlock, Block: s.Block, Created: s.Created.UTC(), Updated: s.Updated.UTC(),
	}
	if s.Address != nil {
		b.Address = lower(*s.Address)
	}
	return b
}

func (q *request) streamPlace() (eventstream.Place, string) {
	return eventstream.Place{Environment: q.Place.Environment, Membership: q.Place.Membership}, q.Wallet.Name()
}

// asStream turns an error of event streams into the answer for it.
func asStream(err error) error {
	var (
		input    *eventstream.InputError
		missing  *eventstream.NotFoundError
		conflict *eventstream.ConflictError
		node     *eventstream.NodeError
	)
	switch {
	case errors.As(err, &input):
		return bad("%s", input)
	case errors.As(err, &missing):
		return refuse(http.StatusNotFound, "%s", missing)
	case errors.As(err, &conflict):
		return refuse(http.StatusConflict, "%s", conflict)
	case errors.As(err, &node):
		return of(http.StatusBadGateway, codeNode, node.Error())
	}
	return err
}

// shown answers with what was made of a stream or subscription.
func shownAs[T, B any](word func(T) B, made T, err error) (answer, error) {
	if err != nil {
		return answer{}, asStream(err)
	}
	return ok(word(made)), nil
}

// pageOf answers with a list.
func pageOf[T, B any](word func(T) B, list []T, err error) (answer, error) {
	if err != nil {
		return answer{}, asStream(err)
	}
	all := make([]B, 0, len(list))
	for _, one := range list {
		all = append(all, word(one))
	}
	return ok(all), nil
}

// required reads a body that must be there.
func (q *request) required() (strictjson.Value, error) {
	body, err := q.object(q.h.cfg.Body)
	if err == nil && body.Kind == strictjson.Absent {
		err = bad("the body is missing: want an object")
	}
	return body, err
}

// listLimit is how many are listed if the caller does not say.
const listLimit = 50

func (p *Streams) listStreams(q *request) (answer, error) {
	after, limit, err := q.page()
	if err != nil {
		return answer{}, err
	}
	def(&limit, listLimit)
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	list, err := p.cfg.Streams.Streams(ctx, at, wallet, after, limit)
	return pageOf(q.streamInfo, list, err)
}

func (p *Streams) createStream(q *request) (answer, error) {
	body, err := q.required()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := p.cfg.Streams.Create(ctx, q.Principal, at, wallet, body)
	a, err := shownAs(q.streamInfo, s, err)
	a.location = q.Base + "/eventstreams/" + s.ID
	return a, err
}

func (p *Streams) showStream(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := p.cfg.Streams.Stream(ctx, at, wallet, q.path["stream"])
	return shownAs(q.streamInfo, s, err)
}

func (p *Streams) updateStream(q *request) (answer, error) {
	body, err := q.required()
	if err != nil {
		return answer{}, err
	}
	return p.changeStream(q, func(ctx context.Context, who auth.Principal, at eventstream.Place, wallet, id string) (eventstream.Stream, error) {
		return p.cfg.Streams.Update(ctx, who, at, wallet, id, body)
	})
}

func (p *Streams) suspendStream(q *request) (answer, error) {
	return p.changeStream(q, p.cfg.Streams.Suspend)
}

func (p *Streams) resumeStream(q *request) (answer, error) {
	return p.changeStream(q, p.cfg.Streams.Resume)
}

func (p *Streams) changeStream(q *request, change func(ctx context.Context, who auth.Principal, at eventstream.Place, wallet, id string) (eventstream.Stream, error)) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := change(ctx, q.Principal, at, wallet, q.path["stream"])
	return shownAs(q.streamInfo, s, err)
}

func (p *Streams) deleteStream(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	err := p.cfg.Streams.Delete(ctx, q.Principal, at, wallet, q.path["stream"])
	return answer{status: http.StatusNoContent}, asStream(err)
}

func (p *Streams) listSubscriptions(q *request) (answer, error) {
	after, limit, err := q.page()
	if err != nil {
		return answer{}, err
	}
	def(&limit, listLimit)
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	list, err := p.cfg.Streams.Subscriptions(ctx, at, wallet, q.query.Get("stream"), after, limit)
	return pageOf(q.subscriptionInfo, list, err)
}

func (p *Streams) createSubscription(q *request) (answer, error) {
	body, err := q.required()
	if err != nil {
		return answer{}, err
	}
	wanted, err := eventstream.ReadWanted(body)
	if err != nil {
		return answer{}, asStream(err)
	}
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := p.cfg.Streams.Subscribe(ctx, q.Principal, at, wallet, wanted)
	a, err := shownAs(q.subscriptionInfo, s, err)
	a.location = q.Base + "/subscriptions/" + s.ID
	return a, err
}

func (p *Streams) showSubscription(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := p.cfg.Streams.Subscription(ctx, at, wallet, q.path["subscription"])
	return shownAs(q.subscriptionInfo, s, err)
}

func (p *Streams) deleteSubscription(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	err := p.cfg.Streams.Unsubscribe(ctx, q.Principal, at, wallet, q.path["subscription"])
	return answer{status: http.StatusNoContent}, asStream(err)
}

func (p *Streams) resetSubscription(q *request) (answer, error) {
	body, err := q.object(q.h.cfg.Body)
	if err != nil {
		return answer{}, err
	}
	for _, m := range body.Members {
		if m.Name != "fromBlock" {
			return answer{}, bad("%s: is not a member: want fromBlock", quote(m.Name))
		}
	}
	block, err := eventstream.ReadBlock(body.Get("fromBlock"))
	if err != nil {
		return answer{}, asStream(err)
	}
	ctx, cancel := q.context()
	defer cancel()
	at, wallet := q.streamPlace()
	s, err := p.cfg.Streams.Reset(ctx, q.Principal, at, wallet, q.path["subscription"], block)
	return shownAs(q.subscriptionInfo, s, err)
}
