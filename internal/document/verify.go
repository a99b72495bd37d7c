// SPDX-License-Identifier: Apache-2.0

package document

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// The parts that [Verify] judges, in their order.
const (
	PartBundle     = "bundle"     // is JSON of the form that bundles have
	PartManifest   = "manifest"   // is written in the one form that manifests have
	PartDocument   = "document"   // is what the manifest names: SHA-256 and size
	PartSigner     = "signer"     // is who was expected
	PartPublicKey  = "public_key" // is the signer's
	PartJWS        = "jws"        // is by the signer, over the manifest
	PartEIP191     = "eip191"     // is by the signer, over the manifest
	PartCheckpoint = "checkpoint" // is signed by the log
	PartIntent     = "intent"     // the audit record of it is in the log, and about this manifest
	PartOutcomes   = "outcomes"   // the audit records of both signatures are in the log, and about these signatures
)

// Parts are all of them, in their order.
func Parts() []string {
	return []string{
		PartBundle, PartManifest, PartDocument, PartSigner, PartPublicKey, PartJWS, PartEIP191, PartCheckpoint, PartIntent, PartOutcomes,
	}
}

// Result is what came of the check of one part.
type Result string

// The results.
const (
	Holds      Result = "holds"
	Fails      Result = "fails"
	NotChecked Result = "not checked" // nothing was given to check it against, or what it stands on fails
)

// Finding is the result of one part, with the reason if it does not hold.
type Finding struct {
	Part   string `json:"part"`
	Result Result `json:"result"`
	Why    string `json:"why,omitempty"`
}

// Report is what came of a check.
type Report struct {
	// Valid says that no part fails. What was given nothing to be checked against,
	// the document or the signer, is not judged by it: see Complete.
	Valid bool
	// Complete says that every part was checked, and holds.
	Complete bool
	Findings []Finding // of all Parts, in their order
	// Manifest is what was signed; nil unless that part holds.
	Manifest *Manifest
}

// Against is what a bundle is checked against.
type Against struct {
	// LogKey is the log's verifier key, as golang.org/x/mod/sumdb/note writes it.
	LogKey string
	// Signer is who has to have signed; nil: whoever the manifest names.
	Signer *common.Address
	// Document is the one that has to have been signed, by its SHA256 and Size; nil:
	// whichever the manifest names. A Size below 0 is not known.
	Document *Document
}

// notChecked is why nothing was found out.
type notChecked string

func (n notChecked) Error() string { return string(n) }

// Verify checks a bundle, strictly and asking nobody, and says of each part
// whether it holds.
func Verify(bundle []byte, against Against) Report {
	c := check{against: against, failed: map[string]bool{}}
	c.part(PartBundle, func() (err error) { c.bundle, err = Parse(bundle); return err })
	c.part(PartManifest, func() (err error) { c.manifest, err = ParseManifest([]byte(c.bundle.Manifest)); return err }, PartBundle)
	c.part(PartDocument, c.document, PartManifest)
	c.part(PartSigner, c.signer, PartManifest)
	c.part(PartPublicKey, c.publicKey, PartManifest)
	c.part(PartJWS, func() error { return c.manifest.checkJWS(c.bundle.JWS) }, PartManifest)
	c.part(PartEIP191, func() error { return c.manifest.checkEIP191(c.bundle.EIP191) }, PartManifest)
	c.part(PartCheckpoint, c.checkpoint, PartBundle)
	c.part(PartIntent, c.intent, PartManifest, PartCheckpoint)
	c.part(PartOutcomes, c.outcomes, PartIntent)
	r := Report{Valid: true, Complete: true, Findings: c.findings}
	for _, f := range c.findings {
		r.Valid = r.Valid && !c.failed[f.Part]
		r.Complete = r.Complete && f.Result == Holds
	}
	if !c.failed[PartManifest] {
		r.Manifest = &c.manifest
	}
	return r
}

// check is one run of Verify.
type check struct {
	against  Against
	findings []Finding
	failed   map[string]bool // parts that fail, or stand on one that does

	bundle   Bundle
	manifest Manifest
	tree     tree   // of the checkpoint
	id       string // of the intent
}

// part judges one part, unless one that it stands on has failed.
func (c *check) part(name string, judge func() error, on ...string) {
	for _, other := range on {
		if c.failed[other] {
			c.failed[name] = true
			c.findings = append(c.findings, Finding{name, NotChecked, "since this fails: " + other})
			return
		}
	}
	err := judge()
	var none notChecked
	switch {
	case err == nil:
		c.findings = append(c.findings, Finding{Part: name, Result: Holds})
	case errors.As(err, &none):
		c.findings = append(c.findings, Finding{name, NotChecked, err.Error()})
	default:
		c.failed[name] = true
		c.findings = append(c.findings, Finding{name, Fails, err.Error()})
	}
}

func (c *check) document() error {
	d := c.against.Document
	switch {
	case d == nil:
		return notChecked("the document was not given")
	case d.SHA256 != c.manifest.SHA256:
		return fmt.Errorf("is another one: its SHA-256 is %x, and %x was signed", d.SHA256, c.manifest.SHA256)
	case d.Size >= 0 && d.Size != c.manifest.Size:
		return fmt.Errorf("has %d bytes, and %d are named in what was signed", d.Size, c.manifest.Size)
	}
	return nil
}

func (c *check) signer() error {
	switch {
	case c.against.Signer == nil:
		return notChecked("the address that has to have signed was not given")
	case *c.against.Signer != c.manifest.Signer:
		return fmt.Errorf("is %s, and not %s", c.manifest.Signer, c.against.Signer)
	}
	return nil
}

// publicKey checks that the key is the signer's, in the one way in which it is
// written.
func (c *check) publicKey() error {
	k := c.bundle.PublicKey
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return errors.New("x and y are not the base64url of 32 bytes, without padding")
	}
	point := secp.PublicKey(append(x, y...))
	if point.Address() != c.manifest.Signer {
		return fmt.Errorf("is that of %s, and not of the signer %s", point.Address(), c.manifest.Signer)
	}
	if k != publicKey(point) {
		return errors.New("is not written in the one form that it has: crv secp256k1, kty EC, kid the signer's address")
	}
	return nil
}
