// SPDX-License-Identifier: Apache-2.0

// Command vaultcore is the real core of HashiCorp Vault as a server for tests:
// one node, storage in memory, no built-in secrets engine, the auth methods
// approle and userpass, the audit device file. It is sealed and empty at first;
// whoever started it initialises it through the API.
//
// It stands in a module of its own, since Vault is under the Business Source
// License: tests start this program, and nothing of it is linked into or shipped
// with HSM Signer.
//
// It prints "ready URL" on standard output, and ends when its standard input
// does, so that it never outlives the test that holds the other end.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/plugin"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "loopback `address` to listen on")
	plugins := flag.String("plugins", "", "absolute `directory` of plugins, without symbolic links")
	cert := flag.String("tls-cert", "", "PEM `file`; with -tls-key, https")
	key := flag.String("tls-key", "", "PEM `file`")
	clients := flag.String("tls-clients", "", "PEM `file` of the authority that client certificates must have")
	flag.Parse()
	if err := run(*listen, *plugins, *cert, *key, *clients); err != nil {
		fmt.Fprintln(os.Stderr, "vaultcore:", err)
		os.Exit(1)
	}
}

func run(listen, plugins, cert, key, clients string) error {
	if host, _, err := net.SplitHostPort(listen); err != nil || host != "127.0.0.1" {
		return fmt.Errorf("-listen %s: tests listen on 127.0.0.1 only", listen)
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, StorageType: "inmem", Logger: logger, LogLevel: "warn",
		DisableMlock:    true, // the keys of these tests are nobody's
		LogicalBackends: map[string]logical.Factory{"plugin": plugin.Factory},
		CredentialBackends: map[string]logical.Factory{
			"plugin": plugin.Factory, "approle": approle.Factory, "userpass": userpass.Factory,
		},
		AuditBackends:   map[string]audit.Factory{"file": audit.NewFileBackend},
		BuiltinRegistry: noBuiltins{},
		PluginDirectory: plugins,
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(nil, "tcp4", listen) //nolint:staticcheck // there is no context to end it
	if err != nil {
		return err
	}
	scheme := "http"
	if cert != "" {
		scheme = "https"
		settings, err := tlsSettings(cert, key, clients)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, settings)
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Address: l.Addr().String()},
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: logger.StandardLogger(nil)}
	go func() {
		fmt.Printf("ready %s://%s\n", scheme, l.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return core.Shutdown() // ends the plugins too
}

func tlsSettings(cert, key, clients string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if clients == "" {
		return settings, nil
	}
	pem, err := os.ReadFile(clients)
	if err != nil {
		return nil, err
	}
	settings.ClientCAs = x509.NewCertPool()
	settings.ClientAuth = tls.RequireAndVerifyClientCert
	if !settings.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", clients)
	}
	return settings, nil
}

// noBuiltins says that nothing is built in: every secrets engine is a plugin.
type noBuiltins struct{}

func (noBuiltins) Contains(string, consts.PluginType) bool { return false }

func (noBuiltins) Get(string, consts.PluginType) (func() (interface{}, error), bool) {
	return nil, false
}

func (noBuiltins) Keys(consts.PluginType) []string { return nil }

func (noBuiltins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

func (noBuiltins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
