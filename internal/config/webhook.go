// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Webhooks is what holds for the webhooks of all wallets.
type Webhooks struct {
	Allow  []netip.Prefix // allow: networks, like 10.1.0.0/16, that receivers may be in beside the public ones
	Deny   []netip.Prefix // deny: networks that they may not be in; wins over allow
	GiveUp time.Duration  // give_up: an event that was not delivered after this is dropped; default 72h
}

// Webhook is a receiver of a wallet's events.
type Webhook struct {
	Name      string        // name: unique in the wallet
	URL       Secret        // url: https, or http if its address is in webhooks.allow. Secret, since some carry a token
	Secret    Secret        // secret: key of the HMAC-SHA256 that signs each event
	OldSecret Secret        // old_secret: signs too, while receivers change to a new secret; default none
	Events    []string      // events: which to send, of WebhookEvents; default all
	Timeout   time.Duration // timeout: of one try; default 10s
}

// WebhookEvents are the events that a webhook can ask for.
func WebhookEvents() []string {
	return []string{"accepted", "sent", "mined", "confirmed", "failed", "replaced", "displaced"}
}

func defaultWebhooks() Webhooks { return Webhooks{GiveUp: 72 * time.Hour} }

func readWebhooks(v value) (Webhooks, error) {
	c := defaultWebhooks()
	o := v.object()
	field(o, "allow", &c.Allow, list(network))
	field(o, "deny", &c.Deny, list(network))
	field(o, "give_up", &c.GiveUp, duration(time.Minute, 30*24*time.Hour))
	o.done()
	v.r.plainHooks = len(c.Allow) > 0
	return c, nil
}

// minSecret is the length below which a secret can be guessed.
const minSecret = 16

func readWebhook(v value) (Webhook, error) {
	h := Webhook{Timeout: 10 * time.Second}
	o := v.object()
	need(o, "name", &h.Name, matching(walletName, walletNameWant))
	need(o, "url", &h.URL, nodeURL("https", "http"))
	need(o, "secret", &h.Secret, secret)
	field(o, "old_secret", &h.OldSecret, secret)
	field(o, "events", &h.Events, list(oneOf(WebhookEvents()...)))
	field(o, "timeout", &h.Timeout, duration(100*time.Millisecond, time.Minute))
	o.done()
	if plain, err := h.URL.Reveal(); err == nil && strings.HasPrefix(plain, "http:") && !v.r.plainHooks {
		o.at("url").fail("is http, which only receivers in webhooks.allow may be sent: want https, or name the receiver's network there")
	}
	warnIfShort(o, "secret", h.Secret)
	warnIfShort(o, "old_secret", h.OldSecret)
	if events, given := o.given("events"); given && events.node.Kind == yamlList {
		if len(events.node.Content) == 0 {
			events.fail("is empty: name events, or leave it out for all")
		}
		for i, name := range h.Events {
			if slices.Contains(h.Events[:i], name) {
				events.fail("names %s twice", name)
			}
		}
	}
	return h, nil
}

func warnIfShort(o *object, key string, s Secret) {
	if plain, err := s.Reveal(); err == nil && s.Set() && len(plain) < minSecret {
		o.at(key).warn("is shorter than %d characters", minSecret)
	}
}

// network reads an address range. One address is a range, too.
func network(v value) (netip.Prefix, error) {
	const want = "want a network like 10.1.0.0/16 or fd00:1::/32"
	s, err := text(v)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: %s", err, want)
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network: %s", s, want)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits of an address within: want %s", s, p.Masked())
	}
	return p, nil
}

// checkWebhooks reports webhooks of a wallet that are called the same.
func checkWebhooks(o *object, hooks []Webhook) {
	all, given := o.given("webhooks")
	if !given || all.node.Kind != yamlList || len(all.node.Content) != len(hooks) {
		return // a mistake in one of them was reported
	}
	for i, h := range hooks {
		same := func(other Webhook) bool { return other.Name == h.Name }
		if h.Name != "" && slices.ContainsFunc(hooks[:i], same) {
			all.item(i).fail("another webhook of this wallet is called %q too", h.Name)
		}
	}
}
