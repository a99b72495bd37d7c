// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Kinds of stream, of what is done with a batch that fails, and of how WebSockets
// share a stream.
const (
	TypeWebhook   = "webhook"
	TypeWebSocket = "websocket"

	HandlingBlock = "block"
	HandlingSkip  = "skip"

	ModeBroadcast = "broadcast"
	ModeShared    = "workloadDistribution"
)

// Bounds of settings.
const (
	maxName         = 128
	maxTopic        = 128
	maxURL          = 2048
	maxHeaders      = 32
	maxHeaderBytes  = 8 << 10
	maxCertificates = 64 << 10
	maxBatch        = 1000
)

// Settings are how a stream is delivered, in the form in which they are stored and
// shown.
type Settings struct {
	Type          string     `json:"type"`
	BatchSize     int        `json:"batchSize"`
	BatchTimeout  int        `json:"batchTimeoutMS"` // how long a batch waits to be filled
	ErrorHandling string     `json:"errorHandling"`
	RetryTimeout  int        `json:"retryTimeoutSec"`      // how long a batch is tried again before it is blocked or skipped
	BlockedDelay  int        `json:"blockedRetryDelaySec"` // how long a blocked batch rests
	Webhook       *Webhook   `json:"webhook,omitempty"`
	WebSocket     *WebSocket `json:"websocket,omitempty"`
	Timestamps    bool       `json:"timestamps"`    // events say when their block was made
	Inputs        bool       `json:"inputs"`        // events say which call made them
	Confirmations int        `json:"confirmations"` // blocks that must stand on an event's block
}

// Webhook is where a stream is posted to. The values of its headers are not here.
type Webhook struct {
	URL            string   `json:"url"`
	HeaderNames    []string `json:"headerNames,omitempty"`
	CACert         string   `json:"caCert,omitempty"` // PEM; trusted in place of the system's
	RequestTimeout int      `json:"requestTimeoutSec"`
}

// WebSocket is how clients that listen get a stream.
type WebSocket struct {
	Topic      string `json:"topic"`
	Mode       string `json:"distributionMode"`
	AckTimeout int    `json:"ackTimeoutSec"` // after which a client that does not answer loses its socket
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// draft is a stream as it was asked for.
type draft struct {
	name     string
	settings Settings
	headers  map[string]string // nil: not given
}

func newDraft() draft {
	return draft{settings: Settings{BatchSize: 1, BatchTimeout: 5000, ErrorHandling: HandlingBlock, RetryTimeout: 120, BlockedDelay: 30}}
}

// read takes a body over what the draft says already. fresh: the stream is new.
func (d *draft) read(v strictjson.Value, fresh bool) error {
	f := &fields{v: v}
	s := &d.settings
	kind := s.Type
	f.text("name", &d.name, maxName)
	f.choice("type", &kind, TypeWebhook, TypeWebSocket)
	f.number("batchSize", &s.BatchSize, 1, maxBatch)
	f.number("batchTimeoutMS", &s.BatchTimeout, 0, 300_000)
	f.choice("errorHandling", &s.ErrorHandling, HandlingBlock, HandlingSkip)
	f.number("retryTimeoutSec", &s.RetryTimeout, 0, 86_400)
	f.number("blockedRetryDelaySec", &s.BlockedDelay, 1, 3600)
	f.flag("timestamps", &s.Timestamps)
	f.flag("inputs", &s.Inputs)
	f.number("confirmations", &s.Confirmations, 0, 10_000)
	hook, socket := f.object("webhook"), f.object("websocket")
	if err := f.done(); err != nil {
		return err
	}
	switch {
	case kind == "":
		return badInput("type", `is missing: want "webhook" or "websocket"`)
	case !fresh && kind != s.Type:
		return badInput("type", "is %s and stays so: make another stream", s.Type)
	case kind == TypeWebhook && socket != nil:
		return badInput("websocket", "is not for a stream of type webhook")
	case kind == TypeWebSocket && hook != nil:
		return badInput("webhook", "is not for a stream of type websocket")
	}
	s.Type = kind
	if kind == TypeWebhook {
		return d.readWebhook(hook)
	}
	return d.readWebSocket(socket)
}

func (d *draft) readWebhook(f *fields) error {
	w := Webhook{RequestTimeout: 120}
	if d.settings.Webhook != nil {
		w = *d.settings.Webhook
	}
	if f != nil {
		var headers strictjson.Value
		skip := false
		f.text("url", &w.URL, maxURL)
		f.text("caCert", &w.CACert, maxCertificates)
		f.number("requestTimeoutSec", &w.RequestTimeout, 1, 300)
		f.flag("tlsSkipHostVerify", &skip)
		f.any("headers", &headers)
		if err := f.done(); err != nil {
			return err
		}
		if skip {
			return badInput("webhook.tlsSkipHostVerify", "is not offered, since anybody on the way could then read along: give the certificate of the receiver's authority in webhook.caCert")
		}
		if headers.Present() {
			var err error
			if d.headers, err = readHeaders(headers); err != nil {
				return err
			}
			w.HeaderNames = names(d.headers)
		}
	}
	if err := checkURL(w.URL); err != nil {
		return err
	}
	if w.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(w.CACert)) {
		return badInput("webhook.caCert", "holds no certificate: want PEM, beginning with -----BEGIN CERTIFICATE-----")
	}
	d.settings.Webhook = &w
	return nil
}

func checkURL(text string) error {
	if text == "" {
		return badInput("webhook.url", "is missing: want https://host/path")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return badInput("webhook.url", "is not the URL of a receiver: want https://host/path")
	case u.User != nil:
		return badInput("webhook.url", "carries a user or password: put them in webhook.headers, as Authorization")
	case u.Fragment != "":
		return badInput("webhook.url", "has a fragment, which is never sent")
	}
	return nil
}

// sameReceiver refuses a change after which sealed headers would go to another
// receiver than the one they were given for, or could be read on the way to it.
func sameReceiver(was, is *Webhook) error {
	if was == nil || is == nil {
		return nil
	}
	const again = "are wanted again beside it, since those that are kept were given for another receiver: name them all, or {} for none"
	switch {
	case origin(was.URL) != origin(is.URL):
		return badInput("webhook.headers", "webhook.url has another scheme, host or port: the headers "+again)
	case was.CACert != is.CACert:
		return badInput("webhook.headers", "webhook.caCert is another: the headers "+again)
	}
	return nil
}

// origin is the scheme, host and port of a URL that checkURL has taken.
func origin(text string) [3]string {
	u, err := url.Parse(text)
	if err != nil {
		return [3]string{text}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return [3]string{u.Scheme, strings.ToLower(u.Hostname()), port}
}

// allowed refuses a literal address that could never be dialled, so that one need
// not wait for the first batch to learn it. A name is judged when it is dialled.
func (s *Streams) allowed(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return badInput("webhook.url", "is not the URL of a receiver: want https://host/path")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil //nolint:nilerr // a name
	}
	dialer := s.dialer
	if u.Scheme == "http" {
		dialer = s.plain
	}
	if err := dialer.Check(ip); err != nil {
		return badInput("webhook.url", "cannot be used here: %v", err)
	}
	return nil
}

// reserved are headers that frame the message or are ours to say.
var reserved = map[string]bool{
	"Host": true, "Content-Length": true, "Content-Type": true, "Transfer-Encoding": true, "Connection": true, "Upgrade": true,
	"Te": true, "Trailer": true, "Keep-Alive": true, "Proxy-Connection": true, "Content-Encoding": true, "Expect": true,
}

func readHeaders(v strictjson.Value) (map[string]string, error) {
	const at = "webhook.headers"
	if v.Kind != strictjson.Object {
		return nil, badInput(at, "is %s: want an object of names and values", v.Kind)
	}
	if len(v.Members) > maxHeaders {
		return nil, badInput(at, "has %d members: want at most %d", len(v.Members), maxHeaders)
	}
	all, size := make(map[string]string, len(v.Members)), 0
	for i, m := range v.Members {
		if !httpguts.ValidHeaderFieldName(m.Name) || len(m.Name) > 128 {
			return nil, badInput(at, "member %d is not named as a header can be", i+1)
		}
		name := canonical(m.Name)
		_, twice := all[name]
		switch {
		case reserved[name] || strings.HasPrefix(name, "X-Hsmsigner-"):
			return nil, badInput(at+"."+name, "is set by the signer")
		case twice:
			return nil, badInput(at+"."+name, "stands there twice, since the case of a header's name does not count")
		case m.Value.Kind != strictjson.String:
			return nil, badInput(at+"."+name, "is %s: want a string", m.Value.Kind)
		case !httpguts.ValidHeaderFieldValue(m.Value.Text):
			return nil, badInput(at+"."+name, "has a character that no header may have, such as a line break")
		}
		all[name] = m.Value.Text
		size += len(name) + len(m.Value.Text)
	}
	if size > maxHeaderBytes {
		return nil, badInput(at, "has %d bytes: want at most %d", size, maxHeaderBytes)
	}
	return all, nil
}

func (d *draft) readWebSocket(f *fields) error {
	w := WebSocket{Mode: ModeShared, AckTimeout: 120}
	if d.settings.WebSocket != nil {
		w = *d.settings.WebSocket
	}
	if f != nil {
		f.text("topic", &w.Topic, maxTopic)
		f.choice("distributionMode", &w.Mode, ModeShared, ModeBroadcast)
		f.number("ackTimeoutSec", &w.AckTimeout, 1, 3600)
		if err := f.done(); err != nil {
			return err
		}
	}
	if w.Topic == "" {
		return badInput("websocket.topic", "is missing: want the name that clients listen to")
	}
	d.settings.WebSocket = &w
	return nil
}

// fields reads the members of an object and refuses those that nobody asked for.
type fields struct {
	at   string // path, with a full stop at its end; empty for the body
	v    strictjson.Value
	seen []string
	err  error
}

func (f *fields) any(name string, into *strictjson.Value) {
	f.seen = append(f.seen, name)
	*into = f.v.Get(name)
}

// want returns a member of a kind; false if it is not there or not such a one.
func (f *fields) want(name string, kind strictjson.Kind) (v strictjson.Value, ok bool) {
	f.any(name, &v)
	if !v.Present() {
		return v, false
	}
	if v.Kind != kind {
		f.fail(name, "is %s: want %s", v.Kind, kind)
		return v, false
	}
	return v, true
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = badInput(f.at+name, format, args...)
	}
}

func (f *fields) text(name string, into *string, most int) {
	v, ok := f.want(name, strictjson.String)
	switch {
	case !ok:
	case len(v.Text) > most:
		f.fail(name, "has %d bytes: want at most %d", len(v.Text), most)
	case name != "caCert" && !printable(v.Text):
		f.fail(name, "has characters that cannot be seen")
	default:
		*into = v.Text
	}
}

func (f *fields) choice(name string, into *string, of ...string) {
	v, ok := f.want(name, strictjson.String)
	if !ok {
		return
	}
	for _, s := range of {
		if strings.EqualFold(s, v.Text) {
			*into = s
			return
		}
	}
	f.fail(name, "is none of these: %s", strings.Join(of, ", "))
}

func (f *fields) number(name string, into *int, least, most int) {
	v, ok := f.want(name, strictjson.Number)
	if !ok {
		return
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < least || n > most {
		f.fail(name, "is not a whole number from %d to %d", least, most)
		return
	}
	*into = n
}

func (f *fields) flag(name string, into *bool) {
	if v, ok := f.want(name, strictjson.Bool); ok {
		*into = v.Text == "true"
	}
}

func (f *fields) object(name string) *fields {
	v, ok := f.want(name, strictjson.Object)
	if !ok {
		return nil
	}
	return &fields{at: f.at + name + ".", v: v}
}

func (f *fields) done() error {
	if f.v.Kind != strictjson.Object {
		return badInput("body", "is %s: want an object", f.v.Kind)
	}
	for _, m := range f.v.Members {
		if !slices.Contains(f.seen, m.Name) {
			f.fail(shown(m.Name), "is not a member: want %s", strings.Join(f.seen, ", "))
		}
	}
	return f.err
}

// shown is a text of the caller's as an error may repeat it.
func shown(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

func decodeSettings(text string) (s Settings, err error) {
	err = json.Unmarshal([]byte(text), &s)
	if s.Webhook == nil && s.WebSocket == nil && err == nil {
		err = errSettings
	}
	return s, err
}

var errSettings = errors.New("eventstream: settings of the stream cannot be read")

// canonical is how a header's name is written.
func canonical(name string) string { return http.CanonicalHeaderKey(name) }

// names lists the names of headers, in order.
func names(headers map[string]string) []string {
	return slices.Sorted(maps.Keys(headers))
}
