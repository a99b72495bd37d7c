// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Hook is one receiver of the events of one wallet.
type Hook struct {
	Wallet string
	Name   string // unique in the wallet
	URL    string // http or https
	// Secrets returns the keys that sign, one or two of them. It is called for
	// each try, so that a changed file takes effect.
	Secrets func() ([]string, error)
	Events  []string      // which it wants; empty is all
	Timeout time.Duration // of one try; default 10 s
}

// key names the hook in rows, logs and metrics.
func (h Hook) key() string { return h.Wallet + "/" + h.Name }

func (h Hook) wants(kind string) bool {
	return len(h.Events) == 0 || slices.Contains(h.Events, kind)
}

// Config is what Hooks work with. Zero durations and numbers are their
// defaults.
type Config struct {
	Store *store.DB
	Owner string // unique per process start; default a new id
	Hooks []Hook
	Rules dialrule.Rules // which addresses receivers may have

	GiveUp      time.Duration  // an event that fails after this is dropped; default 72 h
	Concurrency int            // tries at the same time for one hook; default 8
	Poll        time.Duration  // between looks for events that other replicas stored, or that are due again; default 1 s
	LeaseTTL    time.Duration  // after which another replica takes over; default 15 s
	Backoff     time.Duration  // before the second try; default 1 s
	MaxBackoff  time.Duration  // between any two; default 1 h
	RootCAs     *x509.CertPool // of https receivers; nil: those of the system
	UserAgent   string         // default hsmsigner

	Logger   *slog.Logger // nil discards
	Observer Observer     // nil: nobody
}

// Observer is told what happens, for metrics. Hook is WALLET/NAME. Its methods
// must be quick and safe for concurrent use.
type Observer interface {
	// Delivered says that a receiver has taken an event, created so long ago.
	Delivered(hook string, age time.Duration)
	// Failed says that a try failed: timeout, refused (by the rules), connect,
	// status or secret.
	Failed(hook, kind string)
	// Dropped says that an event will not be tried any more.
	Dropped(hook string)
	// Pending says how many events wait, by hook: now and then, on the one
	// replica that delivers.
	Pending(hooks map[string]int)
}

type nobody struct{}

func (nobody) Delivered(string, time.Duration) {}
func (nobody) Failed(string, string)           {}
func (nobody) Dropped(string)                  {}
func (nobody) Pending(map[string]int)          {}

// Hooks make events and deliver them. All methods are safe for concurrent use.
type Hooks struct {
	cfg     Config
	log     *slog.Logger
	obs     Observer
	wallets map[string][]Hook
	pumps   []*pump
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Hooks, error) {
	byDefault(&cfg.Owner, store.NewID())
	byDefault(&cfg.GiveUp, 72*time.Hour)
	byDefault(&cfg.Concurrency, 8)
	byDefault(&cfg.Poll, time.Second)
	byDefault(&cfg.LeaseTTL, 15*time.Second)
	byDefault(&cfg.Backoff, time.Second)
	byDefault(&cfg.MaxBackoff, time.Hour)
	byDefault(&cfg.UserAgent, "hsmsigner")
	h := &Hooks{cfg: cfg, log: cfg.Logger, obs: cfg.Observer, wallets: make(map[string][]Hook)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.obs == nil {
		h.obs = nobody{}
	}
	for _, hook := range cfg.Hooks {
		byDefault(&hook.Timeout, 10*time.Second)
		target, err := url.Parse(hook.URL)
		if err != nil || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
			return nil, fmt.Errorf("webhook: %s: want a URL like https://host/path", hook.key())
		}
		named := func(other Hook) bool { return other.Name == hook.Name }
		if slices.ContainsFunc(h.wallets[hook.Wallet], named) {
			return nil, fmt.Errorf("webhook: two are called %s", hook.key())
		}
		h.wallets[hook.Wallet] = append(h.wallets[hook.Wallet], hook)
		h.pumps = append(h.pumps, newPump(h, hook, target.Scheme == "http"))
	}
	return h, nil
}

func byDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Kick says that events may have been stored, so that Run need not wait for its
// next poll. It never blocks.
func (h *Hooks) Kick() {
	for _, p := range h.pumps {
		p.wake()
	}
}
