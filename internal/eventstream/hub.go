// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// writeTime is how long a broadcast may take to be written to one client.
const writeTime = 10 * time.Second

// topicKey is a topic of one wallet: nobody hears another's.
type topicKey struct {
	at     Place
	wallet string
	topic  string
}

// hub is the WebSockets that listen in this process.
type hub struct {
	changed func() // told when a topic gets its first listener or loses the last

	mu     sync.Mutex
	topics map[topicKey][]*Listener
	all    map[topicKey]int // listeners by wallet, under an empty topic
	wake   chan struct{}    // closed and replaced whenever somebody may have become idle
}

func newHub() *hub {
	return &hub{topics: make(map[topicKey][]*Listener), all: make(map[topicKey]int), wake: make(chan struct{})}
}

// Delivery is a batch that is to be written to a WebSocket.
type Delivery struct {
	Topic   string
	Body    []byte // JSON array of events
	written chan error
}

// Written says whether it was.
func (d Delivery) Written(err error) {
	select {
	case d.written <- err:
	default:
	}
}

// Listener is one WebSocket of a client. Its methods are safe for concurrent use.
type Listener struct {
	hub    *hub
	at     Place
	wallet string
	out    chan Delivery
	gone   chan struct{}
	once   sync.Once

	// Guarded by hub.mu:
	topics  []string
	pending map[string]*pending // by topic: what the client has not answered yet
}

// pending is a batch that a client has and has not answered.
type pending struct{ answer chan error }

// Listen notes a WebSocket of a client of a wallet. Close it after use.
func (s *Streams) Listen(at Place, wallet string) (*Listener, error) {
	h := s.hub
	l := &Listener{
		hub: h, at: at, wallet: wallet, out: make(chan Delivery), gone: make(chan struct{}), pending: make(map[string]*pending),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := topicKey{at, wallet, ""}
	if h.all[key] >= MaxListeners {
		return nil, conflict("%d WebSockets listen already: want at most %d", h.all[key], MaxListeners)
	}
	h.all[key]++
	return l, nil
}

// Subscribe has the client get the streams of a topic. Nobody need have made one
// yet.
func (l *Listener) Subscribe(topic string) error {
	if topic == "" || len(topic) > maxTopic || !printable(topic) {
		return badInput("topic", "want 1 to %d bytes that can be seen", maxTopic)
	}
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.closed() || slices.Contains(l.topics, topic) {
		return nil
	}
	if len(l.topics) >= MaxTopics {
		return conflict("this WebSocket listens to %d topics already", MaxTopics)
	}
	l.topics = append(l.topics, topic)
	key := topicKey{l.at, l.wallet, topic}
	h.topics[key] = append(h.topics[key], l)
	h.changed()
	h.stir()
	return nil
}

// Deliveries are what is to be written, one after the other.
func (l *Listener) Deliveries() <-chan Delivery { return l.out }

// Gone is closed when the listener is: by Close, or because the client did not
// answer in time.
func (l *Listener) Gone() <-chan struct{} { return l.gone }

func (l *Listener) closed() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// Answer takes the client's word on the batch that it has of a topic: nil if it was
// processed, or why not. Without a topic it is the only batch that it has. False if
// there is none: what was broadcast wants no answer.
func (l *Listener) Answer(topic string, err error) bool {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if topic == "" && len(l.pending) == 1 {
		for only := range l.pending {
			topic = only
		}
	}
	p := l.pending[topic]
	if p == nil {
		return false
	}
	delete(l.pending, topic)
	p.answer <- err // it has room for one
	h.stir()
	return true
}

// Close forgets the listener. What it has not answered goes to another.
func (l *Listener) Close() {
	l.once.Do(func() {
		h := l.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		close(l.gone)
		for _, topic := range l.topics {
			key := topicKey{l.at, l.wallet, topic}
			h.topics[key] = slices.DeleteFunc(h.topics[key], func(o *Listener) bool { return o == l })
			if len(h.topics[key]) == 0 {
				delete(h.topics, key)
			}
		}
		key := topicKey{l.at, l.wallet, ""}
		if h.all[key]--; h.all[key] == 0 {
			delete(h.all, key)
		}
		h.changed()
		h.stir()
	})
}

// stir wakes those who wait for an idle listener. The caller holds mu.
func (h *hub) stir() {
	close(h.wake)
	h.wake = make(chan struct{})
}

// listened reports whether anybody listens to a topic here.
func (h *hub) listened(key topicKey) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics[key]) > 0
}

// claim gives a batch to a listener that has none of the topic, the one first that
// has waited longest; or returns what is closed when it is worth asking again.
func (h *hub) claim(key topicKey) (*Listener, *pending, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.topics[key]
	for i, l := range list {
		if l.pending[key.topic] == nil {
			p := &pending{answer: make(chan error, 1)}
			l.pending[key.topic] = p
			copy(list[i:], list[i+1:])
			list[len(list)-1] = l
			return l, p, nil
		}
	}
	return nil, nil, h.wake
}

// drop takes back a batch that never reached the client.
func (h *hub) drop(l *Listener, topic string, p *pending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.pending[topic] == p {
		delete(l.pending, topic)
		h.stir()
	}
}

// share gives a batch to one listener and waits for its answer. If that goes away,
// another gets it. A batch that was given out and is not waited for any more stays
// the client's until it answers: its answer must not count for the next batch.
func (h *hub) share(ctx context.Context, key topicKey, body []byte, answerTime time.Duration) error {
	for {
		l, p, wake := h.claim(key)
		if l == nil {
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		d := Delivery{Topic: key.topic, Body: body, written: make(chan error, 1)}
		select {
		case l.out <- d:
		case <-l.gone:
			continue
		case <-ctx.Done():
			h.drop(l, key.topic, p)
			return ctx.Err()
		}
		late := time.NewTimer(answerTime)
		select {
		case err := <-p.answer:
			late.Stop()
			return err
		case <-l.gone:
			late.Stop()
			select {
			case err := <-p.answer: // it came just before
				return err
			default:
			}
		case <-late.C:
			l.Close()
			return errors.New("the client did not answer within ackTimeoutSec")
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		}
	}
}

// broadcast writes a batch to all who listen, of whom there must be one.
func (h *hub) broadcast(ctx context.Context, key topicKey, body []byte) error {
	for {
		h.mu.Lock()
		list, wake := slices.Clone(h.topics[key]), h.wake
		h.mu.Unlock()
		if len(list) == 0 {
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		results := make(chan bool, len(list))
		for _, l := range list {
			go func() { results <- l.write(ctx, key.topic, body) }()
		}
		took := false
		for range list {
			took = <-results || took
		}
		if took {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// write hands a broadcast over, and reports whether it was written.
func (l *Listener) write(ctx context.Context, topic string, body []byte) bool {
	d := Delivery{Topic: topic, Body: body, written: make(chan error, 1)}
	late := time.NewTimer(writeTime)
	defer late.Stop()
	select {
	case l.out <- d:
	case <-l.gone:
		return false
	case <-ctx.Done():
		return false
	case <-late.C:
		l.Close()
		return false
	}
	select {
	case err := <-d.written:
		return err == nil
	case <-l.gone:
		return false
	case <-ctx.Done():
		return false
	case <-late.C:
		l.Close()
		return false
	}
}
