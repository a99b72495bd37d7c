// SPDX-License-Identifier: Apache-2.0

package awskmsfake

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// sessionSecret is the secret of every session of a role.
const sessionSecret = "sessionSecretsessionSecretsessionSecret1"

// authenticate checks the signature of a request (Signature Version 4) by
// making it again.
func (s *Server) authenticate(r *http.Request, body []byte) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets == nil {
		return nil
	}
	// AWS4-HMAC-SHA256 Credential=ID/20260101/region/service/aws4_request, SignedHeaders=a;b, Signature=…
	authorization := strings.NewReplacer(",", " ", "=", " ").Replace(r.Header.Get("Authorization"))
	fields := strings.Fields(authorization)
	if len(fields) != 7 {
		return refuse("MissingAuthenticationTokenException", "Request is missing Authentication Token")
	}
	scope := strings.Split(fields[2], "/")
	if len(scope) != 5 {
		return refuse("IncompleteSignatureException", "credential")
	}
	secret, ok := s.secrets[scope[0]]
	if !ok || s.tokens[scope[0]] != r.Header.Get("X-Amz-Security-Token") {
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if s.ended[scope[0]] {
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	if scope[2] != Region {
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region.")
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return refuse("IncompleteSignatureException", "date")
	}
	if d := time.Since(at); d > 5*time.Minute || d < -5*time.Minute {
		return refuse("InvalidSignatureException", "Signature expired: "+r.Header.Get("X-Amz-Date")+" is now earlier than another time")
	}
	again := r.Clone(r.Context())
	again.URL = &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	signed := strings.Split(fields[4], ";")
	for name := range again.Header {
		if !slices.Contains(signed, strings.ToLower(name)) {
			again.Header.Del(name)
		}
	}
	hash := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: scope[0], SecretAccessKey: secret, SessionToken: s.tokens[scope[0]]}
	if err := v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(hash[:]), scope[3], scope[2], at); err != nil {
		return refuse("IncompleteSignatureException", err.Error())
	}
	if again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// serveSTS answers AssumeRole, which has a form in and XML out.
func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	operation := form.Get("Action")
	s.admit(operation)
	s.wait(r.Context())
	fail := func(status int, code, message string) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
			code, message, w.Header().Get("X-Amzn-Requestid"))
	}
	if f, _ := s.fault(operation, "", func() float64 { return 0 }); f != nil {
		fail(max(f.Status, http.StatusBadRequest), f.Code, f.Message)
		return
	}
	if err != nil || operation != "AssumeRole" {
		fail(http.StatusBadRequest, "InvalidAction", "no such action")
		return
	}
	if fault := s.authenticate(r, body); fault != nil {
		code := strings.TrimSuffix(fault.code, "Exception")
		if code == "UnrecognizedClient" {
			code = "InvalidClientTokenId"
		} else if code == "InvalidSignature" {
			code = "SignatureDoesNotMatch"
		}
		fail(http.StatusForbidden, code, fault.message)
		return
	}
	if form.Get("ExternalId") != s.config.RoleExternalID {
		fail(http.StatusForbidden, "AccessDenied", "not authorized to perform: sts:AssumeRole")
		return
	}
	id := fmt.Sprintf("ASIA%016d", s.serial.Add(1))
	s.mu.Lock()
	s.tokens[id] = "token-of-" + id
	if s.secrets != nil {
		s.secrets[id] = sessionSecret
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><Arn>%s</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>token-of-%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></AssumeRoleResponse>`,
		form.Get("RoleArn"), id, sessionSecret, id, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), w.Header().Get("X-Amzn-Requestid"))
}
