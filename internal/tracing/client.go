// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// client posts spans to a collector. It stands in for otlptracehttp, which takes
// its settings from the environment wherever it is given none, and links gRPC.
type client struct {
	url      string
	headers  func() (map[string]string, error)
	resource *resourcepb.Resource // says who we are
	http     *http.Client
	wait     time.Duration // before the second try; later ones wait longer
}

const (
	tracesPath = "/v1/traces"
	maxTries   = 3
	maxPause   = 5 * time.Second // that a collector may ask for
	maxAnswer  = 64 << 10        // bytes that are read of an answer
)

func newClient(cfg Config) (*client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, errors.New("tracing: the endpoint is no base URL: want http:// or https:// with host and port, like http://127.0.0.1:4318")
	}
	if u.Path = strings.TrimSuffix(u.Path, "/"); !strings.HasSuffix(u.Path, tracesPath) {
		u.Path += tracesPath
	}
	c := &client{
		url: u.String(), headers: cfg.Headers, wait: 250 * time.Millisecond,
		// https://opentelemetry.io/docs/specs/semconv/resource/service/
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			text("service.name", "hsmsigner"), text("service.version", cfg.Version), text("service.instance.id", cfg.Instance),
			text("telemetry.sdk.language", "go"), text("telemetry.sdk.name", "opentelemetry"),
		}},
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: nil, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
				MaxConnsPerHost: 2, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
			},
			// A redirect would take the credential elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if _, err := c.request(context.Background(), nil); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return c, nil
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// Start does nothing: the first spans open the connection.
func (c *client) Start(context.Context) error { return nil }

// Stop ends idle connections.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces posts spans, and again a little later if the collector was busy
// or away.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	for _, s := range spans {
		s.Resource, s.SchemaUrl = c.resource, ""
	}
	// TracesData is the ExportTraceServiceRequest of a file: the same on the
	// wire, by their definition, and without the service's gRPC code.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	for try := 1; ; try++ {
		pause, err := c.post(ctx, body)
		if err == nil || pause < 0 || try == maxTries {
			return err
		}
		timer := time.NewTimer(max(pause, c.wait<<(2*(try-1))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func (c *client) request(ctx context.Context, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if c.headers != nil {
		headers, err := c.headers()
		if err != nil {
			return nil, err
		}
		for name, value := range headers {
			r.Header.Set(name, value)
		}
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "hsmsigner")
	return r, nil
}

// never is the pause of an error that another try would not mend.
const never time.Duration = -1

// post sends body once. pause says how long the collector wants to be left in
// peace.
func (c *client) post(ctx context.Context, body []byte) (pause time.Duration, err error) {
	r, err := c.request(ctx, body)
	if err != nil {
		return never, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the collector's answer: %w", err)
	case answer.StatusCode/100 == 2:
		return never, refused(data)
	}
	err = fmt.Errorf("the collector answered %s", answer.Status)
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return min(time.Duration(max(seconds, 0))*time.Second, maxPause), err
	}
	return never, err
}

// refused reads from an ExportTraceServiceResponse how many spans the collector
// did not want: partial_success.rejected_spans, field 1 of field 1.
func refused(answer []byte) error {
	var n uint64
	for field, value := range fields(answer) {
		if field != 1 {
			continue
		}
		for field, value := range fields(value) {
			if field == 1 {
				n, _ = protowire.ConsumeVarint(value)
			}
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("the collector refused %d spans", n)
}

// fields goes over the fields of a message as far as it can be read. A value
// of variable length comes without its length.
func fields(message []byte) func(yield func(protowire.Number, []byte) bool) {
	return func(yield func(protowire.Number, []byte) bool) {
		for len(message) > 0 {
			number, kind, n := protowire.ConsumeTag(message)
			if n < 0 {
				return
			}
			message = message[n:]
			size := protowire.ConsumeFieldValue(number, kind, message)
			if size < 0 {
				return
			}
			value := message[:size]
			message = message[size:]
			if kind == protowire.BytesType {
				value, _ = protowire.ConsumeBytes(value)
			}
			if !yield(number, value) {
				return
			}
		}
	}
}
