// SPDX-License-Identifier: Apache-2.0

package dialrule

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxConnectAnswer = 16 << 10 // bytes of a proxy's answer to CONNECT
	maxTries         = 3        // addresses of one name that a proxy is asked for
)

// Proxy is the operator's way out: an HTTP proxy that takes CONNECT (RFC 9110
// §9.3.6). Its own address is not judged, since the operator has named it.
type Proxy struct {
	URL string // http://host:port or https://host:port
	// Credentials are sent by HTTP Basic. They are asked for at each connection,
	// so that a changed file takes effect. Nil: none.
	Credentials func() (username, password string, err error)
	RootCAs     *x509.CertPool // of an https proxy; nil: the system's
	// Names hands names to the proxy as they are, for networks where only the
	// proxy can resolve them or where its rules go by name. The proxy must then
	// judge what they resolve to; here only literal addresses are judged, and
	// names that resolvers take for addresses or that mean this machine or its
	// network are refused.
	Names bool

	host   string // host:port
	secure bool
}

// ErrProxy is every failure of the operator's proxy, by errors.Is.
var ErrProxy = errors.New("dialrule: the egress proxy")

func (p *Proxy) check() error {
	const want = "want http://host:port or https://host:port"
	u, err := url.Parse(p.URL)
	switch {
	case err != nil: // whose text may hold a password
		return fmt.Errorf("%w: its URL cannot be read: %s", ErrProxy, want)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("%w: %s, and nothing else in it", ErrProxy, want)
	}
	p.secure = u.Scheme == "https"
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[p.secure]
	}
	p.host = net.JoinHostPort(u.Hostname(), port)
	return nil
}

// byProxy reaches an address through the proxy.
func (d *Dialer) byProxy(ctx context.Context, network, address string) (net.Conn, error) {
	targets, err := d.targets(ctx, network, address)
	if err != nil {
		return nil, err
	}
	var last error
	for _, target := range targets[:min(len(targets), maxTries)] {
		conn, err := d.tunnel(ctx, target)
		if err == nil {
			return conn, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// targets are what the proxy may be asked to connect to, in this order.
func (d *Dialer) targets(ctx context.Context, network, address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no host and port", ErrRefused, address)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return nil, fmt.Errorf("%w: the port is no number from 1 to 65535", ErrRefused)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := d.Check(ip); err != nil {
			return nil, err
		}
		return []string{net.JoinHostPort(ip.WithZone("").Unmap().String(), port)}, nil
	}
	if d.cfg.Proxy.Names {
		if why := noPublicName(host); why != "" {
			return nil, fmt.Errorf("%w: %s", ErrRefused, why)
		}
		return []string{net.JoinHostPort(host, port)}, nil
	}
	allowed, err := d.lookup(ctx, network, host)
	if err != nil {
		return nil, err
	}
	targets := make([]string, len(allowed))
	for i, ip := range allowed {
		targets[i] = net.JoinHostPort(ip.String(), port)
	}
	return targets, nil
}

// tunnel connects to the proxy and has it connect to target.
func (d *Dialer) tunnel(ctx context.Context, target string) (net.Conn, error) {
	p := d.cfg.Proxy
	conn, err := d.toward.DialContext(ctx, "tcp", p.host)
	if err != nil {
		return nil, proxyFault(ctx, "cannot be reached", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	inner, err := p.connect(ctx, conn, target)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return inner, nil
}

func (p *Proxy) connect(ctx context.Context, conn net.Conn, target string) (net.Conn, error) {
	if p.secure {
		host, _, _ := net.SplitHostPort(p.host)
		secured := tls.Client(conn, &tls.Config{ServerName: host, RootCAs: p.RootCAs, MinVersion: tls.VersionTLS12})
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, proxyFault(ctx, "does not speak TLS as it should, or its certificate is not trusted", err)
		}
		conn = secured
	}
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: hsmsigner\r\n"
	if p.Credentials != nil {
		username, password, err := p.Credentials()
		if err != nil {
			return nil, fmt.Errorf("%w: its credential cannot be read", ErrProxy)
		}
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, proxyFault(ctx, "broke the connection", err)
	}
	answer := bufio.NewReader(io.LimitReader(conn, maxConnectAnswer))
	response, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, proxyFault(ctx, "gave no answer that is one", err)
	}
	_ = response.Body.Close() // an answer 200 to CONNECT has none
	switch status := response.StatusCode; {
	case status == http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("%w: wants another username and password (status 407)", ErrProxy)
	case status/100 != 2:
		return nil, fmt.Errorf("%w: does not connect (status %d)", ErrProxy, status)
	case answer.Buffered() > 0:
		return nil, fmt.Errorf("%w: sent more than its answer", ErrProxy)
	}
	return conn, nil
}

// proxyError keeps what timed out a timeout, and shows no text of the network.
type proxyError struct {
	why   string
	cause error
}

func (e *proxyError) Error() string        { return ErrProxy.Error() + " " + e.why }
func (e *proxyError) Is(target error) bool { return target == ErrProxy }
func (e *proxyError) Timeout() bool {
	var n net.Error
	return errors.Is(e.cause, context.DeadlineExceeded) || errors.As(e.cause, &n) && n.Timeout()
}

func proxyFault(ctx context.Context, why string, err error) error {
	if cause := ctx.Err(); cause != nil {
		err = cause
	}
	return &proxyError{why, err}
}

// noPublicName says why a name must not be left to somebody else to resolve.
func noPublicName(host string) string {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return "the name holds what no name of a host does"
		}
	}
	switch {
	case len(name) > 253 || len(labels) < 2 || last == "" || strings.Contains(name, ".."):
		return "the name is not one of the public internet, like vault.example.org"
	case last[0] >= '0' && last[0] <= '9': // WHATWG URL §3.5: it ends in a number, so it is an address
		return "the name ends in a number, which resolvers take for an address"
	case last == "localhost", last == "local", last == "internal", strings.HasSuffix(name, ".home.arpa"):
		return "the name means this machine or its network"
	}
	return ""
}
