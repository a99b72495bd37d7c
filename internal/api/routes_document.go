// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// documents are what signatures on documents need of a Platform.
type documents interface {
	MaySignDocument(ctx context.Context, who auth.Access, at platform.Path) error
	MayVerifyDocument(ctx context.Context, who auth.Access, at platform.Path) error
	SignDocument(ctx context.Context, who auth.Access, at platform.Path, account common.Address, d document.Document) (*document.Bundle, *platform.Pending, error)
	VerifyDocument(ctx context.Context, who auth.Access, at platform.Path, bundle []byte, against document.Against) (document.Report, error)
}

const (
	sha256Pattern = `^[0-9a-f]{64}$`
	maxDocument   = 64 << 30 // bytes that are read of one
)

func documentRoutes() []route {
	signDoc := "The body is the document itself, of any media type, with account and name in the query; " +
		"it is hashed as it comes, and not kept. Or it is JSON with the document's SHA-256 and size: a document that is JSON itself " +
		"is sent as application/octet-stream with media_type=application/json. What is signed is a manifest that names the document, twice: as a " +
		"JWS with ES256K, and as a personal message (EIP-191). A Content-Digest (RFC 9530) with sha-256 is checked. " +
		"For app credentials, and for admins, who can make one."
	return of("Documents", platform.Services, []route{
		{
			method: http.MethodPost, path: aService + "/signatures", name: "signDocument", title: "Sign a document", doc: signDoc,
			parameters: []parameter{
				{name: "account", doc: "Who signs. Needed if the body is the document.", is: &schema.Schema{Type: schema.String, Pattern: addressPattern}},
				{name: "name", doc: "What the document is called.", is: &schema.Schema{Type: schema.String, MaxLength: document.MaxName}},
				{name: "media_type", doc: "What the document is; the Content-Type if it is left out.", is: &schema.Schema{Type: schema.String, MaxLength: 255}},
				{name: "sha256", doc: "What the SHA-256 has to be.", is: &schema.Schema{Type: schema.String, Pattern: sha256Pattern}},
				{name: "size", doc: "How many bytes there have to be. Needed for a document without any.", is: wholeOf("", 0, document.MaxSize)},
			},
			body: newSignature(), stream: "*/*", apps: true,
			answers: []answers{
				{http.StatusCreated, bundleShape(), "The bundle that proves it, to be kept with the document."},
				{http.StatusAccepted, shape[platform.Pending](), "People are asked first. Make the same request again once they have approved."},
			},
			errors: []int{http.StatusConflict, http.StatusUnprocessableEntity}, serve: signDocument,
		},
		{
			method: http.MethodPost, path: aService + "/verify", name: "verifyDocument", title: "Check a signature on a document",
			doc: "Against the audit log of this deployment. The body is JSON with the bundle and, of the document, SHA-256 and size; " +
				"or a form (multipart/form-data) with the files bundle and, behind it, document. It says of each part whether it holds. " +
				"hsmsigner document verify does the same anywhere, asking nobody.",
			parameters: []parameter{
				{name: "account", doc: "Who has to have signed, if the body is a form.", is: &schema.Schema{Type: schema.String, Pattern: addressPattern}},
			},
			body: newVerification(), stream: "multipart/form-data", apps: true,
			answers: []answers{{http.StatusOK, shape[Verification](), "What holds and what does not."}},
			errors:  []int{http.StatusUnprocessableEntity}, serve: verifyDocument,
		},
	})
}

func newSignature() *schema.Schema {
	s := object("NewSignature", map[string]*schema.Schema{
		"account":    {Type: schema.String, Pattern: addressPattern, Description: "Who signs."},
		"sha256":     {Type: schema.String, Pattern: sha256Pattern, Description: "Of the document, 64 hex digits."},
		"size":       wholeOf("Of the document, in bytes.", 0, document.MaxSize),
		"name":       {Type: schema.String, MaxLength: document.MaxName, Description: "What the document is called."},
		"media_type": {Type: schema.String, MaxLength: 255, Description: "What the document is, type/subtype; application/octet-stream if it is left out."},
	}, "account", "sha256", "size")
	s.Closed = true // else a document that is JSON could be taken for this
	return s
}

func newVerification() *schema.Schema {
	s := object("NewVerification", map[string]*schema.Schema{
		"bundle":  {Type: schema.Object, Description: "As it was given when the document was signed."},
		"account": {Type: schema.String, Pattern: addressPattern, Description: "Who has to have signed. If it is left out, that is not checked."},
		"sha256":  {Type: schema.String, Pattern: sha256Pattern, Description: "Of the document, 64 hex digits. If it is left out, that is not checked."},
		"size":    wholeOf("Of the document, in bytes.", 0, document.MaxSize),
	}, "bundle")
	s.Closed = true
	return s
}

// bundleShape describes what document.Bundle writes.
func bundleShape() *schema.Schema {
	words := func(doc string) *schema.Schema { return &schema.Schema{Type: schema.String, Description: doc} }
	closed := func(name, doc string, properties map[string]*schema.Schema) *schema.Schema {
		s := object(name, properties)
		s.Required, s.Closed, s.Description = s.Names(), true, doc
		return s
	}
	record := closed("AuditProof", "A record of the audit log.", map[string]*schema.Schema{
		"index":  wholeOf("Its place in the log, from 0.", 0, document.MaxSize),
		"record": words("The very text that was hashed."),
		"hashes": {Type: schema.Array, Items: words(""), Description: "The way to the checkpoint's root (RFC 9162, section 2.1.3), base64."},
	})
	key := closed("SignerKey", "A JWK (RFC 7517, RFC 8812).", map[string]*schema.Schema{
		"crv": words("secp256k1."), "kid": words("The signer's address, EIP-55."), "kty": words("EC."), "x": words("base64url."), "y": words("base64url."),
	})
	proof := closed("SignatureProof", "That the signatures are on record.", map[string]*schema.Schema{
		"checkpoint": words("The log's state, signed by the log (c2sp.org/tlog-checkpoint)."),
		"records":    {Type: schema.Array, Items: record, Description: "Of the intent, of the JWS, of the personal message."},
	})
	return closed("SignatureBundle", "", map[string]*schema.Schema{
		"version":    words(document.BundleVersion + "."),
		"manifest":   words("The very text that was signed."),
		"jws":        words("JWS in its compact form, ES256K (RFC 8812)."),
		"eip191":     words("The signature of personal_sign: 0x, r, s, v."),
		"public_key": key,
		"audit":      proof,
	})
}

// Verification is the answer about a bundle.
type Verification struct {
	Valid    bool               `json:"valid"`
	Complete bool               `json:"complete"`
	Findings []document.Finding `json:"findings"`
	Manifest any                `json:"manifest,omitempty"`
}
