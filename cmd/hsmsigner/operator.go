// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/api"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/control"
)

// operatorGate lets everybody in as the operator: for who may open the control
// socket, or the database itself.
type operatorGate struct{}

func (operatorGate) Manager(*http.Request) (auth.Access, error) { return auth.Operating(), nil }

// operatorAPI is the management API for the operator.
func operatorAPI(p api.Platform, log *slog.Logger) (http.Handler, error) {
	return api.NewManagement(api.ManagementConfig{Platform: p, Gate: operatorGate{}, Release: version, Logger: log})
}

// named reports whether a management API is named: by flags, or in the
// environment.
func (f *remoteFlags) named() bool {
	return f.server != "" || f.keyFile != "" || os.Getenv(envServer) != "" || os.Getenv(envKey) != ""
}

// desk opens the management API that a command of an operator is for: the one that
// is named; else that of the daemon on the data directory of the config, over its
// control socket; else, if none runs, on the database itself. close ends it.
func (a *app) desk(cmd *cobra.Command, f *remoteFlags) (c *client.Client, closing func() error, err error) {
	nothing := func() error { return nil }
	if f.named() {
		c, err = f.open(cmd)
		return c, nothing, err
	}
	cfg, err := a.load(cmd)
	if err != nil {
		return nil, nothing, err
	}
	socket := control.NewClient(cfg.Data)
	running, err := socket.Running(cmd.Context())
	if err != nil {
		return nil, nothing, fmt.Errorf("control socket: %w", err)
	}
	if running {
		if c, err = onMachine(socket.Transport()); err != nil {
			return nil, nothing, err
		}
		_, err = c.WhoAmI(cmd.Context())
		switch {
		case !missingRoute(err):
			return c, nothing, err
		case !cfg.Database.Set():
			// It alone may look at its database, so it would not see what is done there.
			return nil, nothing, errors.New("the daemon that runs has no management API, so nothing can be told to it: set management.enabled, or stop it first")
		}
	}
	o, err := openOffline(cmd.Context(), cfg, cmd.ErrOrStderr())
	if err != nil {
		return nil, nothing, err
	}
	if c, err = onMachine(o); err != nil {
		return nil, nothing, errors.Join(err, o.Close())
	}
	return c, o.Close, nil
}

// missingRoute reports whether a server knows nothing of the management API.
func missingRoute(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.Status == http.StatusNotFound
}

// with runs a command against the management API that it is for.
func (a *app) with(cmd *cobra.Command, f *remoteFlags, run func(ctx context.Context, c *client.Client) error) error {
	c, closing, err := a.desk(cmd, f)
	if err != nil {
		return err
	}
	return told(errors.Join(run(cmd.Context(), c), closing()))
}

// onMachine is a client whose requests do not leave this machine, and that has no
// key.
func onMachine(over http.RoundTripper) (*client.Client, error) {
	return client.New(client.Config{
		URL: "http://127.0.0.1", Key: func() (string, error) { return "operator", nil },
		HTTP: &http.Client{Transport: over}, UserAgent: "hsmsigner/" + version,
	})
}

// inProcess carries requests to a handler.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := r.Clone(r.Context())
	asked.RequestURI, asked.Host = r.URL.RequestURI(), r.URL.Host
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	defer asked.Body.Close()
	w := &answerOf{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(w, asked)
	return &http.Response{
		StatusCode: w.code, Status: fmt.Sprint(w.code, " ", http.StatusText(w.code)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answerOf keeps what a handler answers.
type answerOf struct {
	header http.Header
	code   int
	body   bytes.Buffer
	begun  bool
}

func (w *answerOf) Header() http.Header { return w.header }

func (w *answerOf) WriteHeader(code int) {
	if !w.begun {
		w.code, w.begun = code, true
	}
}

func (w *answerOf) Write(b []byte) (int, error) {
	w.begun = true
	return w.body.Write(b)
}
