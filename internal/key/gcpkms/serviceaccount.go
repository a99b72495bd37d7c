// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const (
	// scope is the narrowest that Cloud KMS takes.
	scope = "https://www.googleapis.com/auth/cloudkms"
	// audience makes a token of no use to any other service.
	audience = "https://cloudkms.googleapis.com/"

	tokenLife      = time.Hour // the longest that Google takes
	clockAllowance = 10 * time.Second
	minKeyBits     = 2048
)

// tokenURIs are those that Google has written into keys. Nothing is ever sent
// there; another one says that the file is not what it seems.
var tokenURIs = []string{
	"https://oauth2.googleapis.com/token",
	"https://accounts.google.com/o/oauth2/token",
	"https://www.googleapis.com/oauth2/v4/token",
}

var emailRE = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}@[a-z0-9.-]{1,255}\.gserviceaccount\.com$`)

// serviceAccount makes tokens of a service account's key: a JWT that the
// account signs itself and that the service takes as it is (AIP-4111,
// https://google.aip.dev/auth/4111), so that no second service has to be reached
// and no address in the key means anything.
type serviceAccount struct {
	load func() (string, error)
}

// accountKey is what is used of the JSON that Google hands out.
type accountKey struct {
	email   string
	id      string
	private *rsa.PrivateKey
}

func (s serviceAccount) read() (accountKey, error) {
	text, err := s.load()
	if err != nil {
		return accountKey{}, &key.CallError{Op: "read credentials", Kind: key.ErrUnavailable, Why: "the secret cannot be read: " + err.Error()}
	}
	parsed, err := parseAccountKey(text)
	if err != nil {
		return accountKey{}, &key.CallError{Op: "read credentials", Kind: key.ErrDenied, Why: "user_secret: " + err.Error()}
	}
	return parsed, nil
}

// parseAccountKey reads the JSON of a service account key. Its errors hold
// nothing of the text but the name of the type.
func parseAccountKey(text string) (accountKey, error) {
	v, err := strictjson.Parse([]byte(text))
	if err != nil || v.Kind != strictjson.Object {
		return accountKey{}, errors.New("not the JSON of a service account key")
	}
	field := func(name string) string {
		if f := v.Get(name); f.Kind == strictjson.String {
			return f.Text
		}
		return ""
	}
	switch t := field("type"); t {
	case "service_account":
	case "external_account", "external_account_authorized_user", "impersonated_service_account", "authorized_user", "gdch_service_account":
		return accountKey{}, fmt.Errorf("the credential is of type %s, which makes the daemon call addresses that the file names; only service_account is accepted", t)
	default:
		return accountKey{}, errors.New("the credential's type is not service_account, which alone is accepted")
	}
	if uri := v.Get("token_uri"); uri.Present() && !slices.Contains(tokenURIs, field("token_uri")) {
		return accountKey{}, errors.New("token_uri is not Google's (https://oauth2.googleapis.com/token)")
	}
	if u := v.Get("universe_domain"); u.Present() && field("universe_domain") != "googleapis.com" {
		return accountKey{}, errors.New("universe_domain is not googleapis.com; other clouds are not supported")
	}
	k := accountKey{email: field("client_email"), id: field("private_key_id")}
	if !emailRE.MatchString(k.email) {
		return accountKey{}, errors.New("client_email is not the address of a service account")
	}
	if k.id == "" {
		return accountKey{}, errors.New("private_key_id is missing")
	}
	k.private, err = parseRSA(field("private_key"))
	return k, err
}

func parseRSA(text string) (*rsa.PrivateKey, error) {
	bad := errors.New("private_key is not an RSA key in PEM (PKCS#8)")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, bad
	}
	defer clear(block.Bytes)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, bad
	}
	if private.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("private_key has %d bits; Google's have %d or more", private.N.BitLen(), minKeyBits)
	}
	return private, nil
}

// token reads the secret anew and signs a token with it.
func (s serviceAccount) token(context.Context) (token, error) {
	k, err := s.read()
	if err != nil {
		return token{}, err
	}
	issued := time.Now().Add(-clockAllowance)
	expiry := issued.Add(tokenLife)
	signed, err := k.sign(issued, expiry)
	if err != nil {
		return token{}, &key.CallError{Op: "sign token", Kind: key.ErrDenied, Why: "the service account's private_key does not sign"}
	}
	return token{value: signed, expiry: expiry}, nil
}

// sign makes a JWT (RFC 7519) signed by RS256 (RFC 7518 §3.3).
func (k accountKey) sign(issued, expiry time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": k.id})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": k.email, "sub": k.email, "aud": audience, "iat": issued.Unix(), "exp": expiry.Unix(),
	})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return text + "." + encode(signature), nil
}

// quotaProject returns the project that a credential wants to be billed for
// quotas; empty if it names none.
func quotaProject(text []byte) string {
	v, err := strictjson.Parse(text)
	if err != nil || v.Kind != strictjson.Object {
		return ""
	}
	return v.Get("quota_project_id").Text
}
