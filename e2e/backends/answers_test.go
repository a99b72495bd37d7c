// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
)

// odd wraps cases of a kind and breaks some wrappings.
func odd(make func(*forge) *specimen, wrappings map[string]verdict) func(*forge) *specimen {
	names := slices.Sorted(maps.Keys(wrappings))
	return func(f *forge) *specimen { return make(f).around(f, wrappings, names) }
}

// text is what JSON has in the place of a signature, where that is odd.
func (c *specimen) text(usual string) any {
	switch c.odd {
	case "null":
		return nil
	case "a number":
		return 7
	case "an object":
		return map[string]any{}
	case "no base64", "no hexadecimal":
		return "*" + usual
	}
	return usual
}

func answersOfAWS(t *testing.T) *answers {
	a := newAnswers()
	a.make = odd((*forge).der, map[string]verdict{
		"null": broken, "a number": broken, "an object": broken, "no base64": broken, "another key's name": broken, "no name": broken, "no JSON": broken,
	})
	for i := range malformedCalls {
		a.refs = append(a.refs, key.Ref(fmt.Sprintf("arn:aws:kms:%s:%s:key/%d", awskmsfake.Region, awskmsfake.Account, i)))
	}
	service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			KeyID string `json:"KeyId"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		c := a.next[slices.Index(a.refs, key.Ref(in.KeyID))].Load()
		out := map[string]any{"KeyId": in.KeyID, "Signature": c.text(base64.StdEncoding.EncodeToString(c.answer)), "SigningAlgorithm": "ECDSA_SHA_256"}
		switch c.odd {
		case "another key's name":
			out["KeyId"] = in.KeyID + "1"
		case "no name":
			delete(out, "KeyId")
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if c.odd == "no JSON" {
			_, _ = w.Write([]byte("<html>"))
			return
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	b, err := awskms.Open(t.Context(), awsConfig(serveInside(t, service, nil)))
	a.backend = opened(t, b, err)
	return a
}

func answersOfAzure(t *testing.T) *answers {
	a := newAnswers()
	a.make = odd((*forge).raw, map[string]verdict{
		"null": broken, "a number": broken, "an object": broken, "no base64": broken, "another key's name": broken, "no JSON": broken,
		"the other base64": soundOrBroken, "padding": soundOrBroken,
	})
	fake, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() })
	for i := range malformedCalls {
		a.refs = append(a.refs, key.Ref(fmt.Sprintf("%s/keys/k%d/%032d", fake.Vault.URL(), i, 0)))
	}
	fake.Vault.SetWire(azurefake.Wire{Respond: func(w http.ResponseWriter, r *http.Request) bool {
		kid := fake.Vault.URL() + strings.TrimSuffix(r.URL.Path, "/sign")
		c := a.next[slices.Index(a.refs, key.Ref(kid))].Load()
		text := base64.RawURLEncoding.EncodeToString(c.answer)
		switch c.odd {
		case "the other base64":
			text = base64.StdEncoding.EncodeToString(c.answer)
		case "padding":
			text = base64.URLEncoding.EncodeToString(c.answer)
		case "another key's name":
			kid = kid[:len(kid)-1] + "1"
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if c.odd == "no JSON" {
			_, _ = w.Write([]byte("<html>"))
			return true
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"kid": kid, "value": c.text(text)})
		return true
	}})
	b, err := azure.Open(t.Context(), azureConfig(t, fake))
	a.backend = opened(t, b, err)
	return a
}

func answersOfVault(t *testing.T) *answers {
	a := newAnswers()
	a.make = odd((*forge).raw, map[string]verdict{
		"null": broken, "a number": broken, "an object": broken, "no hexadecimal": broken, "another key's name": broken, "no name": broken, "no JSON": broken,
		"no 0x": soundOrBroken, "capitals": soundOrBroken, "recovery id of 2 or more": soundOrBroken, "no recovery id": soundOrBroken, "an odd number of digits": broken,
	})
	for i := range malformedCalls {
		a.refs = append(a.refs, key.Ref(fmt.Sprintf("hsmsigner/0x%040d", i)))
	}
	service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, isSign := strings.CutPrefix(r.URL.Path, "/v1/hsmsigner/sign/")
		if !isSign { // lookup-self
			vaultData(w, map[string]any{"policies": []string{"digest-signer"}, "ttl": 3600})
			return
		}
		i, _ := strconv.Atoi(strings.TrimPrefix(address, "0x"))
		c := a.next[i].Load()
		// The recovery id may be wrong, since it is only a hint.
		text := "0x" + hex.EncodeToString(append(slices.Clone(c.answer), c.digest[31]&1))
		data := map[string]any{"address": address}
		switch c.odd {
		case "no 0x":
			text = text[2:]
		case "capitals":
			text = strings.ToUpper(text)
		case "recovery id of 2 or more":
			text = text[:len(text)-2] + hex.EncodeToString([]byte{max(2, c.digest[30])})
		case "no recovery id":
			text = text[:len(text)-2]
		case "an odd number of digits":
			text = text[:len(text)-1]
		case "another key's name":
			data["address"] = address[:41] + "f"
		case "no name":
			delete(data, "address")
		case "no JSON":
			_, _ = w.Write([]byte("<html>"))
			return
		}
		data["signature"] = c.text(text)
		vaultData(w, data)
	})
	b, err := hashicorp.Open(t.Context(), vaultConfig(serveInside(t, service, nil)))
	a.backend = opened(t, b, err)
	return a
}

// answersOfGoogle needs a socket: the adapter takes no dialer. One connection
// carries all calls.
func answersOfGoogle(t *testing.T) *answers {
	a := newAnswers()
	a.make = odd((*forge).der, map[string]verdict{
		"corrupt checksum": broken, "corrupt data": broken, "no checksum": broken, "digest not verified": broken, "another key's name": broken,
	})
	fake, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	for i := range malformedCalls {
		ref, _ := fake.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
		a.refs = append(a.refs, key.Ref(ref))
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	lies := map[string]func(request, reply proto.Message){
		"corrupt checksum": gcpkmsfake.CorruptCRC, "no checksum": gcpkmsfake.NoCRC, "digest not verified": gcpkmsfake.Unverified, "another key's name": gcpkmsfake.WrongName,
		"corrupt data": func(_, reply proto.Message) {
			r := reply.(*kmspb.AsymmetricSignResponse)
			r.Signature = append(r.Signature, 0)
		},
	}
	fault := &gcpkmsfake.Fault{Answer: func(request, reply proto.Message) {
		r := reply.(*kmspb.AsymmetricSignResponse)
		c := a.next[slices.Index(a.refs, key.Ref(request.(*kmspb.AsymmetricSignRequest).GetName()))].Load()
		r.Signature, r.SignatureCrc32C = slices.Clone(c.answer), wrapperspb.Int64(int64(crc32.Checksum(c.answer, castagnoli)))
		if lie := lies[c.odd]; lie != nil {
			lie(request, reply)
		}
	}}
	fake.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault { return fault })
	b, err := gcpkms.Open(t.Context(), gcpkms.Config{KeyRing: fake.Ring(), Endpoint: fake.Addr(), Insecure: true})
	a.backend = opened(t, b, err)
	return a
}
