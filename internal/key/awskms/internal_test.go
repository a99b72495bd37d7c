// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestThrottlingWithoutEndEndsAReadWithoutDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{creds: &credentials{}}
		asked := 0
		_, err := read(t.Context(), b, "list keys", "", func(context.Context) (struct{}, error) {
			asked++
			return struct{}{}, &smithy.GenericAPIError{Code: "ThrottlingException"}
		})
		var throttled *key.ThrottledError
		if !errors.As(err, &throttled) || asked != throttles {
			t.Errorf("after %d requests: %v", asked, err)
		}
	})
}

// hangingSTS answers once and then no more.
type hangingSTS struct{ answers int }

func (s *hangingSTS) AssumeRole(ctx context.Context, _ *sts.AssumeRoleInput, _ ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	if s.answers--; s.answers < 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &sts.AssumeRoleOutput{Credentials: &types.Credentials{
		AccessKeyId: aws.String("A"), SecretAccessKey: aws.String("s"), SessionToken: aws.String("t"),
		Expiration: aws.Time(time.Now().Add(time.Hour)),
	}}, nil
}

// The cache asks STS without its callers' deadlines, and for all of them.
func TestHangingSTSDoesNotEndASessionBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &hangingSTS{answers: 1}
		cache := aws.NewCredentialsCache(&patient{AssumeRoleProvider: stscreds.NewAssumeRoleProvider(service, "role")},
			func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
		begun := time.Now()
		for time.Since(begun) < 59*time.Minute {
			asked := time.Now()
			if _, err := cache.Retrieve(t.Context()); err != nil {
				t.Fatalf("after %v: %v", time.Since(begun), err)
			}
			if took := time.Since(asked); took > assumeTimeout {
				t.Fatalf("after %v: it took %v", time.Since(begun), took)
			}
			time.Sleep(30 * time.Second)
		}
		time.Sleep(time.Minute)
		if _, err := cache.Retrieve(t.Context()); err == nil {
			t.Fatal("a session that has ended is still used")
		}
		service.answers = 1
		if _, err := cache.Retrieve(t.Context()); err != nil {
			t.Errorf("after the hang: %v", err)
		}
	})
}

// forgetful is a connection that a firewall forgets: what is written to it
// disappears, and nothing comes.
type forgetful struct {
	net.Conn
	forgotten *atomic.Bool
}

func (c forgetful) Write(p []byte) (int, error) {
	if c.forgotten.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestForgottenConnectionIsReplaced(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Error("not HTTP/2")
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	first := new(atomic.Bool)
	dialled := 0
	transport := (&Config{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if dialled++; dialled > 1 {
			return c, err
		}
		return forgetful{c, first}, err
	}}).transport()
	if h := transport.HTTP2; h.SendPingTimeout <= 0 || h.PingTimeout <= 0 || h.SendPingTimeout+h.PingTimeout > 10*time.Second {
		t.Errorf("a dead connection is kept for more than ten seconds: %+v", h)
	}
	transport.HTTP2.SendPingTimeout, transport.HTTP2.PingTimeout = 200*time.Millisecond, 3*time.Second
	transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	defer transport.CloseIdleConnections()
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: transport}).Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	first.Store(true)
	if err := ask(); errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("a call on a dead connection hangs until its deadline")
	}
	if err := ask(); err != nil || dialled != 2 {
		t.Errorf("after that: %v, %d connections", err, dialled)
	}
}
