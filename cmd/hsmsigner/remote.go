// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
)

// Where a management API and the key for it are named outside of the command
// line, on which others could read the key.
const (
	envServer = "HSMSIGNER_URL"
	envKey    = "HSMSIGNER_API_KEY"
)

// remoteFlags say which management API is asked, and how.
type remoteFlags struct {
	server, keyFile, caFile string
}

func (f *remoteFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.server, "server", "", "`URL` of the daemon's admin listener; default $"+envServer+", or http://127.0.0.1:8080")
	flags.StringVar(&f.keyFile, "key-file", "", "`file` with the API key; default $"+envKey)
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `file` of authorities to trust beside the system's")
	_ = cmd.MarkPersistentFlagFilename("key-file")
	_ = cmd.MarkPersistentFlagFilename("ca-file")
}

// open makes the client. It asks nobody.
func (f *remoteFlags) open(cmd *cobra.Command) (*client.Client, error) {
	c := client.Config{URL: f.server, UserAgent: "hsmsigner/" + version}
	if c.URL == "" {
		c.URL = os.Getenv(envServer)
	}
	if c.URL == "" {
		c.URL = "http://127.0.0.1:8080"
	}
	switch {
	case f.keyFile != "":
		c.Key = client.KeyFile(f.keyFile)
	case os.Getenv(envKey) != "":
		c.Key = client.KeyEnv(envKey)
	default:
		return nil, &usageError{errors.New("no API key: want --key-file, or " + envKey + " in the environment; hsmsigner admin bootstrap makes the first one"), cmd.CommandPath()}
	}
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate in PEM", f.caFile)
		}
		c.HTTP = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		}}
	}
	return client.New(c)
}

// record is a resource as the API shows it.
type record = map[string]any

var resourceID = regexp.MustCompile(`^[0-9a-z]{10}$`)

// remote finds resources by name or id.
type remote struct {
	client                  *client.Client
	consortium, environment string // ids, as far as the kind needs them
}

// path is where the resources of a kind are.
func (r *remote) path(k *remoteKind, more ...string) []string {
	var path []string
	if k.place > 0 {
		path = append(path, "consortia", r.consortium)
	}
	if k.place > 1 {
		path = append(path, "environments", r.environment)
	}
	return append(append(path, k.plural), more...)
}

// enter finds where the resources of a kind are.
func (r *remote) enter(ctx context.Context, k *remoteKind, consortium, environment string) (err error) {
	if k.place > 0 {
		if r.consortium, err = r.find(ctx, kindCalled("consortium"), consortium); err != nil {
			return err
		}
	}
	if k.place > 1 {
		r.environment, err = r.find(ctx, kindCalled("environment"), environment)
	}
	return err
}

// find is the id that a name or an id means. An empty one means the only
// resource that there is.
func (r *remote) find(ctx context.Context, k *remoteKind, name string) (string, error) {
	if resourceID.MatchString(name) {
		var got record
		_, err := r.client.Do(ctx, http.MethodGet, r.path(k, name), nil, nil, &got)
		if err == nil || !client.Is(err, client.NotFound) {
			return name, err
		}
	}
	var all []record
	if _, err := r.client.Do(ctx, http.MethodGet, r.path(k), nil, nil, &all); err != nil {
		return "", err
	}
	var ids []string
	for _, one := range all {
		id, _ := one["_id"].(string)
		if (name == "" || one[k.title] == name) && one["state"] != client.Deleting {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case name == "" && len(ids) == 0:
		return "", notFound("there is no %s, or none that this key may see", k.noun)
	case name == "":
		return "", fmt.Errorf("there are %s: name one", count(len(ids), k.noun))
	case len(ids) == 0:
		return "", notFound("there is no %s %q, or none that this key may see", k.noun, name)
	}
	return "", fmt.Errorf("%d of the %s are called %q: give the id of one", len(ids), k.plural, name)
}

// told gives what the API says is not there the exit code of that.
func told(err error) error {
	if client.Is(err, client.NotFound) {
		return notFound("%s", err)
	}
	return err
}
