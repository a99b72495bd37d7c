// SPDX-License-Identifier: Apache-2.0

package kms_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmstest"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/seal/kms"
)

func TestAWSKMS(t *testing.T) {
	server, err := awskmstest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	made, err := awskms.New(awskms.Options{
		Region: awskmstest.Region, BaseEndpoint: &server.URL,
		Credentials: credentials.NewStaticCredentialsProvider(awskmstest.AccessKeyID, awskmstest.SecretAccessKey, ""),
	}).CreateKey(t.Context(), &awskms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := *made.KeyMetadata.KeyId
	exercise(t, service{
		open: func() (seal.KEK, error) {
			return kms.OpenAWS(t.Context(), kms.AWS{
				KeyID: *made.KeyMetadata.Arn, Region: awskmstest.Region, Endpoint: server.URL,
				AccessKeyID: awskmstest.AccessKeyID, Secret: text(awskmstest.SecretAccessKey),
			})
		},
		id: "aws_kms:" + id,
	})
}

// TestAWSErrorsAreTold: moto always answers, so what goes wrong is played here.
func TestAWSErrorsAreTold(t *testing.T) {
	var code atomic.Value
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-ErrorType", code.Load().(string))
		w.WriteHeader(int(status.Load()))
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "canary of the provider"})
	}))
	defer server.Close()
	key, err := kms.OpenAWS(t.Context(), kms.AWS{
		KeyID: "1234abcd-12ab-34cd-56ef-1234567890ab", Region: "eu-central-1", Endpoint: server.URL,
		AccessKeyID: awskmstest.AccessKeyID, Secret: text("hunter2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code   string
		status int64
		want   error
	}{
		{"AccessDeniedException", 400, nil},
		{"DisabledException", 409, nil},
		{"InvalidCiphertextException", 400, seal.ErrDamaged},
		{"KMSInternalException", 500, seal.ErrUnavailable},
	} {
		code.Store(c.code)
		status.Store(c.status)
		_, err := key.Unwrap(t.Context(), []byte("x"), "about")
		if err == nil || !strings.Contains(err.Error(), c.code) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.code, err)
		}
		if c.want != nil && !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("%s: %v; want %v", c.code, err, c.want)
		}
	}
}

func TestAWSAliasIsRefused(t *testing.T) {
	_, err := kms.OpenAWS(t.Context(), kms.AWS{KeyID: "alias/hsmsigner", Region: "eu-central-1"})
	if err == nil || !strings.Contains(err.Error(), "alias") {
		t.Error(err)
	}
}
