// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
)

// The example of AWS's documentation; the stand-in takes any.
const (
	awsID     = "AKIAI44QH8DHBEXAMPLE"
	awsSecret = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
)

// awsFake starts a stand-in for AWS KMS, and gives the configuration for it.
func (b *bench) awsFake(c awskmsfake.Config) (*awskmsfake.Server, awskms.Config) {
	c.TLS = true
	fake := awskmsfake.Start(c)
	b.h.Cleanup(fake.Close)
	roots := x509.NewCertPool()
	roots.AddCert(fake.HTTP().Certificate())
	return fake, awskms.Config{
		Region: awskmsfake.Region, AccessKeyID: awsID, Secret: func() (string, error) { return awsSecret, nil },
		Endpoint: fake.URL, STSEndpoint: fake.URL, TaggingEndpoint: fake.URL, RootCAs: roots,
	}
}

func (b *bench) awsKMS(ctx context.Context) (*provider, error) {
	fake, config := b.awsFake(awskmsfake.Config{})
	k := fake.AddKey("signer", nil)
	backend, err := awskms.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	b.closes(backend)
	client := kms.New(kms.Options{
		Region: awskmsfake.Region, BaseEndpoint: &fake.URL, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(awsID, awsSecret, ""),
		HTTPClient:  b.bareClient(&tls.Config{RootCAs: config.RootCAs}),
	})
	return &provider{
		name: "aws", call: "kms.Client.Sign", backend: backend, ref: key.Ref(k.ARN), address: k.Address,
		bare: func(ctx context.Context, digest [32]byte) error {
			_, err := client.Sign(ctx, &kms.SignInput{
				KeyId: &k.ARN, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
			})
			return err
		},
		calls: always(fake.Total), links: always(fake.Connections), countedCall: "calls", countedLink: "new connections",
	}, nil
}
