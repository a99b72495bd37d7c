// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Audit is the log over the audit trail, and who else is given it.
type Audit struct {
	Key       Secret         // key: {file: …}, as hsmsigner audit key --new makes it; default one in the database
	Name      string         // name: the log's, first line of every checkpoint; default from its key
	Interval  time.Duration  // interval: at most between two checkpoints while records come; default 200ms
	Witnesses []AuditWitness // witnesses: who is given checkpoints
	Syslog    []AuditSyslog  // syslog: where the records are sent as they are logged
}

// AuditWitness is a place where checkpoints are kept that this deployment cannot
// take back. One of File and URL is set.
type AuditWitness struct {
	Name    string        // name: unique among them
	File    string        // file: gets a line of each checkpoint added; FILE.latest is the newest
	URL     string        // url: of a witness (c2sp.org/tlog-witness); add-checkpoint is put behind it
	Key     string        // key: public key of the witness in URL, as c2sp.org/signed-note writes it
	CACert  Secret        // ca_cert: PEM of authorities to trust beside the system's; default none
	Every   time.Duration // every: between two checkpoints, if there are new records; default 1m
	Timeout time.Duration // timeout: of one try; default 10s
}

// AuditSyslog is a syslog server (RFC 5424) that is sent every record.
type AuditSyslog struct {
	Name       string        // name: unique among them; under it the position is remembered
	Network    string        // of address: udp, tcp, tls or unix
	Address    string        // of address: host:port, or the socket's path
	Facility   int           // facility: its name, default authpriv; the number of RFC 5424 §6.2.1
	Hostname   string        // hostname: as messages have it; default the machine's
	App        string        // app: as messages have it; default hsmsigner
	CACert     Secret        // ca_cert: PEM of authorities to trust beside the system's; tls only
	ClientCert Secret        // client_cert: PEM to prove ourselves with; tls only
	ClientKey  Secret        // client_key: PEM; tls only
	Timeout    time.Duration // timeout: of a connection, and of one write; default 10s
}

const (
	defaultAuditInterval = 200 * time.Millisecond
	witnessKeyWant       = "want the public key of the witness, like witness.example.org+1a2b3c4d+BASE64"
)

var (
	auditName         = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,127}$`)
	syslogApp         = regexp.MustCompile(`^[!-~]{1,48}$`)  // RFC 5424 §6.2.5
	syslogHost        = regexp.MustCompile(`^[!-~]{1,255}$`) // §6.2.4
	witnessKeyPattern = regexp.MustCompile(`^([!-*,-~]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})$`)
	witnessNames      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// DefaultAudit is what holds where the file says nothing.
func DefaultAudit() Audit { return Audit{Interval: defaultAuditInterval} }

func readAudit(v value) (Audit, error) {
	c := DefaultAudit()
	o := v.object()
	field(o, "key", &c.Key, secretFile)
	field(o, "name", &c.Name, matching(auditName, "a name like signer.example.org/treasury"))
	field(o, "interval", &c.Interval, duration(10*time.Millisecond, 10*time.Second))
	field(o, "witnesses", &c.Witnesses, list(readAuditWitness))
	field(o, "syslog", &c.Syslog, list(readAuditSyslog))
	o.done()
	if o == nil {
		return c, nil
	}
	uniqueNames(o, "witnesses", "witness", len(c.Witnesses), func(i int) string { return c.Witnesses[i].Name })
	uniqueNames(o, "syslog", "syslog server", len(c.Syslog), func(i int) string { return c.Syslog[i].Name })
	return c, nil
}

// secretFile is a secret that may not stand in the config file itself.
func secretFile(v value) (Secret, error) {
	if v.node.Kind != yamlMapping {
		return Secret{}, errors.New("want {file: path}: this key is in a file of its own")
	}
	return secret(v)
}

// uniqueNames reports items of a list that are called the same.
func uniqueNames(o *object, key, what string, n int, name func(int) string) {
	all, given := o.given(key)
	if !given || all.node.Kind != yamlList || len(all.node.Content) != n {
		return // a mistake in one of them was reported
	}
	for i := range n {
		for j := range i {
			if name(i) != "" && name(i) == name(j) {
				all.item(i).fail("another %s is called %q too", what, name(i))
				break
			}
		}
	}
}

func readAuditWitness(v value) (AuditWitness, error) {
	w := AuditWitness{Every: time.Minute, Timeout: 10 * time.Second}
	o := v.object()
	if o == nil {
		return w, nil
	}
	need(o, "name", &w.Name, matching(witnessNames, walletNameWant))
	switch given := o.present("file", "url"); len(given) {
	case 0:
		o.fail("has no place for checkpoints: want file or url")
	case 2:
		o.at("url").fail("is given beside file: want one of them")
	}
	field(o, "file", &w.File, filePath)
	field(o, "url", &w.URL, witnessURL)
	field(o, "key", &w.Key, witnessKey)
	field(o, "ca_cert", &w.CACert, certificates)
	field(o, "every", &w.Every, duration(time.Second, day))
	field(o, "timeout", &w.Timeout, duration(100*time.Millisecond, time.Minute))
	if _, given := o.given("url"); given {
		if _, keyed := o.given("key"); !keyed {
			o.at("key").fail("is missing: %s", witnessKeyWant)
		}
	}
	o.only("url", "key", "ca_cert")
	o.done()
	return w, nil
}

// witnessURL wants https: over http anybody in between could answer.
func witnessURL(v value) (string, error) {
	const want = "want https://host/path"
	s, err := text(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, want)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("is no URL: " + want)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has a user, a query or a fragment: " + want)
	case u.Scheme == "http" && !isLoopback(net.JoinHostPort(u.Hostname(), "80")):
		return "", errors.New("is http, where anybody in between could answer: " + want)
	}
	return strings.TrimSuffix(s, "/"), nil
}

// witnessKey takes a public key as c2sp.org/signed-note writes it: of Ed25519, for
// plain signatures (1) or for those that carry a time (4, c2sp.org/tlog-cosignature).
func witnessKey(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, witnessKeyWant)
	}
	m := witnessKeyPattern.FindStringSubmatch(s)
	if m == nil {
		return "", errors.New("is no key: " + witnessKeyWant)
	}
	key, err := base64.StdEncoding.DecodeString(m[3])
	if err != nil || len(key) != 33 || key[0] != 1 && key[0] != 4 {
		return "", errors.New("is no key of Ed25519: " + witnessKeyWant)
	}
	if sum := sha256.Sum256(append([]byte(m[1]+"\n"), key...)); hex.EncodeToString(sum[:4]) != m[2] {
		return "", errors.New("was altered: its parts do not go together")
	}
	return s, nil
}

// facilities by their numbers, RFC 5424 §6.2.1.
func facilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
}

func readAuditSyslog(v value) (AuditSyslog, error) {
	s := AuditSyslog{Facility: 10, App: "hsmsigner", Timeout: 10 * time.Second}
	o := v.object()
	if o == nil {
		return s, nil
	}
	need(o, "name", &s.Name, matching(witnessNames, walletNameWant))
	var address string
	need(o, "address", &address, syslogAddress)
	s.Network, s.Address, _ = strings.Cut(address, "://")
	facility := "authpriv"
	field(o, "facility", &facility, oneOf(facilities()...))
	s.Facility = slices.Index(facilities(), facility)
	field(o, "hostname", &s.Hostname, matching(syslogHost, "up to 255 visible characters"))
	field(o, "app", &s.App, matching(syslogApp, "up to 48 visible characters"))
	field(o, "ca_cert", &s.CACert, certificates)
	field(o, "client_cert", &s.ClientCert, certificates)
	field(o, "client_key", &s.ClientKey, secret)
	field(o, "timeout", &s.Timeout, duration(100*time.Millisecond, time.Minute))
	if s.Network != "tls" && s.Network != "" {
		for _, key := range o.present("ca_cert", "client_cert", "client_key") {
			o.at(key).fail("belongs to an address that begins with tls://")
		}
	}
	o.only("client_cert", "client_key")
	o.only("client_key", "client_cert")
	checkPair(o, s.ClientCert, s.ClientKey)
	o.done()
	return s, nil
}

// syslogAddress reads udp://host:port, tcp://host:port, tls://host:port or
// unix:///path, and puts the usual port where none is given.
func syslogAddress(v value) (string, error) {
	const want = "want udp://host:514, tcp://host:601, tls://host:6514 or unix:///dev/log"
	s, err := text(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, want)
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("is no address: " + want)
	}
	port, known := map[string]string{"udp": "514", "tcp": "601", "tls": "6514"}[u.Scheme]
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return "unix://" + u.Path, nil
	case !known || u.Hostname() == "" || u.Path != "":
		return "", errors.New("is no address: " + want)
	case u.Port() != "":
		port = u.Port()
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), nil
}
