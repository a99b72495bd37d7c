// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// listen opens a listener of the config, with TLS where that says so. A changed
// certificate file takes effect with the next connection.
func listen(ctx context.Context, address string, t config.TLS, log *slog.Logger) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: is another program using this address?", err)
	}
	if !t.Enabled() {
		return listener, nil
	}
	files := &tlsFiles{paths: t, log: log}
	if _, err := files.current(); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return files.current()
		},
	}), nil
}

// tlsFiles reads the files of a listener's TLS again when one has changed.
type tlsFiles struct {
	paths config.TLS
	log   *slog.Logger

	mu    sync.Mutex
	stamp string // of the files that made config
	using *tls.Config
}

// current returns the config of the files as they are. While they do not load,
// as in the middle of a renewal, the last good one stays.
func (f *tlsFiles) current() (*tls.Config, error) {
	stamp := fileStamp(f.paths.Cert, f.paths.Key, f.paths.ClientCA)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.using != nil && stamp == f.stamp {
		return f.using, nil
	}
	c, err := loadTLS(f.paths)
	if err != nil && f.using == nil {
		return nil, err
	}
	if err != nil {
		f.log.Warn("certificate files do not load, the old ones stay in use", "error", err)
	} else {
		f.using = c
	}
	f.stamp = stamp // a broken state is reported once
	return f.using, nil
}

func loadTLS(t config.TLS) (*tls.Config, error) {
	certificate, err := t.Certificate()
	if err != nil {
		return nil, fmt.Errorf("tls: certificate: %w", err)
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		NextProtos:   []string{"http/1.1"}, // WebSocket upgrades are of HTTP/1.1
	}
	if t.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls: client_ca: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls: client_ca: no certificate in %s", t.ClientCA)
	}
	return c, nil
}

// fileStamp changes when one of the files does.
func fileStamp(paths ...string) string {
	var b strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%d.%d ", info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}
