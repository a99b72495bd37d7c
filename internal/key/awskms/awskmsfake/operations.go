// SPDX-License-Identifier: Apache-2.0

package awskmsfake

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

// request holds the members of all requests that the fake knows.
type request struct {
	KeyID                string `json:"KeyId"`
	Message              []byte
	MessageType          string
	SigningAlgorithm     string
	Limit                int
	Marker               string
	KeySpec, KeyUsage    string
	Origin               string
	Tags                 []struct{ TagKey, TagValue string }
	AliasName            string
	TargetKeyID          string `json:"TargetKeyId"`
	PendingWindowInDays  int
	WrappingAlgorithm    string
	WrappingKeySpec      string
	ImportToken          []byte
	EncryptedKeyMaterial []byte
	ExpirationModel      string
	PaginationToken      string
	ResourcesPerPage     int
	ResourceTypeFilters  []string
	TagFilters           []struct {
		Key    string
		Values []string
	}
}

func (s *Server) answer(operation string, in *request) (map[string]any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch operation {
	case "ListKeys":
		return s.listKeys(in)
	case "ListAliases":
		return s.listAliases(in)
	case "CreateKey":
		return s.createKey(in)
	case "CreateAlias":
		return s.createAlias(in)
	}
	k := s.find(in.KeyID)
	if k == nil {
		return nil, refuse("NotFoundException", "Key '"+in.KeyID+"' does not exist")
	}
	switch operation {
	case "DescribeKey":
		return map[string]any{"KeyMetadata": k.metadata()}, nil
	case "GetPublicKey":
		return k.getPublicKey()
	case "Sign":
		return k.sign(in)
	case "ListResourceTags":
		tags := []map[string]string{}
		for name, value := range k.tags {
			tags = append(tags, map[string]string{"TagKey": name, "TagValue": value})
		}
		return map[string]any{"Tags": tags, "Truncated": false}, nil
	case "EnableKey", "DisableKey":
		if k.state != "Enabled" && k.state != "Disabled" {
			return nil, k.invalidState()
		}
		k.state = operation[:len(operation)-len("Key")] + "d"
		return map[string]any{}, nil
	case "ScheduleKeyDeletion":
		if k.state == "PendingDeletion" {
			return nil, k.invalidState()
		}
		if in.PendingWindowInDays < 7 || in.PendingWindowInDays > 30 {
			return nil, refuse("ValidationException", "window")
		}
		k.state, k.deleted = "PendingDeletion", time.Now().AddDate(0, 0, in.PendingWindowInDays)
		return map[string]any{"KeyId": k.ARN, "KeyState": k.state, "PendingWindowInDays": in.PendingWindowInDays, "DeletionDate": seconds(k.deleted)}, nil
	case "GetParametersForImport":
		return s.getParametersForImport(k, in)
	case "ImportKeyMaterial":
		return s.importKeyMaterial(k, in)
	}
	return nil, refuse("UnknownOperationException", "no such operation")
}

// listKeys and listAliases page by a number; KMS's markers are opaque.
func (s *Server) listKeys(in *request) (map[string]any, *apiError) {
	from, to, next, fault := window(in.Marker, in.Limit, 100, 1000, len(s.order))
	if fault != nil {
		return nil, fault
	}
	keys := []map[string]string{}
	for _, k := range s.order[from:to] {
		keys = append(keys, map[string]string{"KeyId": k.ID, "KeyArn": k.ARN})
	}
	return paged(map[string]any{"Keys": keys}, next), nil
}

func (s *Server) listAliases(in *request) (map[string]any, *apiError) {
	from, to, next, fault := window(in.Marker, in.Limit, 50, 100, len(s.aliases))
	if fault != nil {
		return nil, fault
	}
	prefix := "arn:aws:kms:" + Region + ":" + Account + ":"
	aliases := []map[string]string{}
	if from == 0 { // AWS's own, one of which is not in use
		aliases = append(aliases,
			map[string]string{"AliasName": "alias/aws/ebs", "AliasArn": prefix + "alias/aws/ebs"},
			map[string]string{"AliasName": "alias/aws/s3", "AliasArn": prefix + "alias/aws/s3", "TargetKeyId": "00000000-0000-4000-8000-000000000000"})
	}
	for _, a := range s.aliases[from:to] {
		aliases = append(aliases, map[string]string{"AliasName": a.name, "AliasArn": prefix + a.name, "TargetKeyId": a.id})
	}
	return paged(map[string]any{"Aliases": aliases}, next), nil
}

func window(marker string, limit, usual, most, n int) (from, to int, next string, fault *apiError) {
	if marker != "" {
		var err error
		if from, err = strconv.Atoi(marker); err != nil || from < 0 || from > n {
			return 0, 0, "", refuse("InvalidMarkerException", "marker")
		}
	}
	if limit == 0 {
		limit = usual
	}
	if limit < 0 || limit > most {
		return 0, 0, "", refuse("ValidationException", "limit")
	}
	if to = min(from+limit, n); to < n {
		next = strconv.Itoa(to)
	}
	return from, to, next, nil
}

func paged(answer map[string]any, next string) map[string]any {
	if answer["Truncated"] = next != ""; next != "" {
		answer["NextMarker"] = next
	}
	return answer
}

func (s *Server) createKey(in *request) (map[string]any, *apiError) {
	k := &Key{Spec: in.KeySpec, Usage: in.KeyUsage, Origin: in.Origin}
	if in.KeySpec != "ECC_SECG_P256K1" || in.KeyUsage != "SIGN_VERIFY" {
		return nil, refuse("ValidationException", "the fake makes no such keys")
	}
	if k.Origin == "EXTERNAL" {
		k.state = "PendingImport"
	} else if private, err := gethcrypto.GenerateKey(); err == nil {
		k.private = private
	}
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[t.TagKey] = t.TagValue
	}
	s.addLocked(k, "", tags)
	return map[string]any{"KeyMetadata": k.metadata()}, nil
}

func (s *Server) createAlias(in *request) (map[string]any, *apiError) {
	k := s.find(in.TargetKeyID)
	switch {
	case k == nil:
		return nil, refuse("NotFoundException", "no such key")
	case len(in.AliasName) < 7 || in.AliasName[:6] != "alias/":
		return nil, refuse("InvalidAliasNameException", "alias name")
	case slices.ContainsFunc(s.aliases, func(a alias) bool { return a.name == in.AliasName }):
		return nil, refuse("AlreadyExistsException", "An alias with the name "+in.AliasName+" already exists")
	}
	s.alias(in.AliasName[6:], k.ID)
	return map[string]any{}, nil
}

func (k *Key) metadata() map[string]any {
	m := map[string]any{
		"AWSAccountId": Account, "KeyId": k.ID, "Arn": k.ARN, "CreationDate": 1.7e9, "Enabled": k.state == "Enabled",
		"Description": "", "KeyUsage": k.Usage, "KeyState": k.state, "Origin": k.Origin, "KeyManager": "CUSTOMER",
		"KeySpec": k.Spec, "CustomerMasterKeySpec": k.Spec, "MultiRegion": false,
	}
	if k.state == "PendingDeletion" {
		m["DeletionDate"] = seconds(k.deleted)
	}
	return m
}

func (k *Key) invalidState() *apiError {
	words := map[string]string{
		"PendingDeletion": "is pending deletion.", "PendingReplicaDeletion": "is pending replica deletion.",
		"PendingImport": "is pending import.", "Unavailable": "is unavailable.", "Creating": "is creating.",
	}
	return refuse("KMSInvalidStateException", k.ARN+" "+words[k.state])
}

// usable judges the state as the table of key-state.html does for Sign and
// GetPublicKey.
func (k *Key) usable() *apiError {
	switch k.state {
	case "Enabled", "Updating":
		return nil
	case "Disabled":
		return refuse("DisabledException", k.ARN+" is disabled.")
	}
	return k.invalidState()
}

func (k *Key) getPublicKey() (map[string]any, *apiError) {
	if k.Spec == "SYMMETRIC_DEFAULT" || k.Spec == "HMAC_256" {
		return nil, refuse("UnsupportedOperationException", "")
	}
	if fault := k.usable(); fault != nil {
		return nil, fault
	}
	return map[string]any{
		"KeyId": k.ARN, "PublicKey": k.spki, "KeySpec": k.Spec, "CustomerMasterKeySpec": k.Spec, "KeyUsage": k.Usage,
		"SigningAlgorithms": []string{"ECDSA_SHA_256"},
	}, nil
}

// sign returns high and low s alike, as KMS does.
func (k *Key) sign(in *request) (map[string]any, *apiError) {
	switch {
	case k.Usage != "SIGN_VERIFY":
		return nil, refuse("InvalidKeyUsageException", "")
	case in.SigningAlgorithm != "ECDSA_SHA_256" || in.MessageType != "DIGEST" || len(in.Message) != 32:
		return nil, refuse("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")
	}
	if fault := k.usable(); fault != nil {
		return nil, fault
	}
	if k.Spec != "ECC_SECG_P256K1" {
		der, err := ecdsa.SignASN1(rand.Reader, k.private, in.Message)
		if err != nil {
			return nil, &apiError{http.StatusInternalServerError, "KMSInternalException", ""}
		}
		return map[string]any{"KeyId": k.ARN, "Signature": der, "SigningAlgorithm": "ECDSA_SHA_256"}, nil
	}
	sig, err := gethcrypto.Sign(in.Message, k.private)
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "KMSInternalException", ""}
	}
	return map[string]any{"KeyId": k.ARN, "Signature": DER(sig[:32], sig[32:64], mathrand.IntN(2) == 0), "SigningAlgorithm": "ECDSA_SHA_256"}, nil
}

// DER encodes r and s, with n−s in place of s if flip is set.
func DER(r, s []byte, flip bool) []byte {
	pair := struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)}
	if flip {
		pair.S.Sub(gethcrypto.S256().Params().N, pair.S)
	}
	der, err := asn1.Marshal(pair)
	if err != nil {
		panic(err) // two integers always marshal
	}
	return der
}

func (s *Server) getParametersForImport(k *Key, in *request) (map[string]any, *apiError) {
	if k.Origin != "EXTERNAL" || in.WrappingAlgorithm != "RSA_AES_KEY_WRAP_SHA_256" || in.WrappingKeySpec != "RSA_4096" {
		return nil, refuse("UnsupportedOperationException", "")
	}
	if s.wrap == nil { // one for all: making it takes seconds
		var err error
		if s.wrap, err = rsa.GenerateKey(rand.Reader, 4096); err != nil {
			return nil, &apiError{http.StatusInternalServerError, "KMSInternalException", ""}
		}
	}
	k.token = newRequestID()
	public, _ := x509.MarshalPKIXPublicKey(&s.wrap.PublicKey) // an RSA key always marshals
	return map[string]any{"KeyId": k.ARN, "ImportToken": []byte(k.token), "PublicKey": public, "ParametersValidTo": seconds(time.Now().Add(24 * time.Hour))}, nil
}

func (s *Server) importKeyMaterial(k *Key, in *request) (map[string]any, *apiError) {
	if s.wrap == nil || k.token == "" || string(in.ImportToken) != k.token {
		return nil, refuse("InvalidImportTokenException", "")
	}
	if in.ExpirationModel != "KEY_MATERIAL_DOES_NOT_EXPIRE" {
		return nil, refuse("ValidationException", "the fake knows no expiry")
	}
	der, err := byok.Unwrap(s.wrap, crypto.SHA256, in.EncryptedKeyMaterial)
	if err != nil {
		return nil, refuse("InvalidCiphertextException", "")
	}
	private, err := byok.ParsePKCS8(der)
	if err != nil {
		return nil, refuse("IncorrectKeyMaterialException", fmt.Sprint(err))
	}
	if k.private, err = gethcrypto.ToECDSA(private); err != nil {
		return nil, refuse("IncorrectKeyMaterialException", "")
	}
	k.state = "Enabled"
	k.learn()
	return map[string]any{"KeyId": k.ARN}, nil
}

// getResources is the tagging API.
func (s *Server) getResources(in *request) (map[string]any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(in.TagFilters) != 1 || !slices.Equal(in.ResourceTypeFilters, []string{"kms:key"}) {
		return nil, refuse("InvalidParameterException", "filters")
	}
	filter := in.TagFilters[0]
	var hits []*Key
	for _, k := range s.order {
		if v, ok := k.tags[filter.Key]; ok && (len(filter.Values) == 0 || slices.Contains(filter.Values, v)) {
			hits = append(hits, k)
		}
	}
	from, to, next, fault := window(in.PaginationToken, in.ResourcesPerPage, 50, 100, len(hits))
	if fault != nil {
		return nil, fault
	}
	list := []any{}
	for _, k := range hits[from:to] {
		tags := []map[string]string{}
		for name, value := range k.tags {
			tags = append(tags, map[string]string{"Key": name, "Value": value})
		}
		list = append(list, map[string]any{"ResourceARN": k.ARN, "Tags": tags})
	}
	return map[string]any{"ResourceTagMappingList": list, "PaginationToken": next}, nil
}
