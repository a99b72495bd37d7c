// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"log/slog"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/oauth"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

// gcpFake starts a stand-in for Cloud KMS that wants the tokens of a service
// account, and gives the configuration for it and the account's JSON.
func (b *bench) gcpFake(o gcpkmsfake.Options) (*gcpkmsfake.Server, gcpkms.Config, string, error) {
	o.TLS = true
	fake, err := gcpkmsfake.Start(o)
	if err != nil {
		return nil, gcpkms.Config{}, "", err
	}
	b.h.Cleanup(fake.Close)
	_, account, err := fake.NewAccountKey("signer")
	return fake, gcpkms.Config{
		KeyRing: fake.Ring(), Endpoint: fake.Addr(), Credentials: func() (string, error) { return account, nil },
		TLS: &tls.Config{RootCAs: fake.Roots(), MinVersion: tls.VersionTLS12},
	}, account, err
}

func (b *bench) gcpKMS(ctx context.Context) (*provider, error) {
	fake, config, account, err := b.gcpFake(gcpkmsfake.Options{})
	if err != nil {
		return nil, err
	}
	ref, address := fake.Add(gcpkmsfake.Key{ID: "signer"})
	backend, err := gcpkms.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	b.closes(backend)
	tokens, err := google.JWTAccessTokenSourceFromJSON([]byte(account), "https://cloudkms.googleapis.com/")
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("dns:///"+fake.Addr(),
		grpc.WithTransportCredentials(grpccredentials.NewTLS(config.TLS.Clone())), grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: tokens}),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0))
	if err != nil {
		return nil, err
	}
	b.h.Cleanup(func() { _ = conn.Close() })
	client, err := kms.NewKeyManagementClient(ctx, option.WithGRPCConn(conn), option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	client.CallOptions = &kms.KeyManagementCallOptions{} // no retries and no timeouts of the library's
	return &provider{
		name: "gcp", call: "AsymmetricSign", backend: backend, ref: key.Ref(ref), address: address,
		bare: func(ctx context.Context, digest [32]byte) error {
			_, err := client.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{
				Name: ref, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}},
			})
			return err
		},
		calls: always(func() int { return gcpCalls(fake) }), links: always(fake.Connections),
		countedCall: "calls", countedLink: "new connections",
	}, nil
}

// gcpCalls is how many calls came of those that a signer may make.
func gcpCalls(fake *gcpkmsfake.Server) (n int) {
	for _, method := range []string{"ListCryptoKeys", "ListCryptoKeyVersions", "GetCryptoKey", "GetCryptoKeyVersion", "GetPublicKey", "AsymmetricSign"} {
		n += fake.Calls(method)
	}
	return n
}
