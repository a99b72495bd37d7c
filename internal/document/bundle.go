// SPDX-License-Identifier: Apache-2.0

package document

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// BundleVersion is what bundles say they are.
const BundleVersion = "hsmsigner-bundle-v1"

// Signed is what a signer gives: a manifest, its two signatures, and the ids of
// the audit records of their making.
type Signed struct {
	Manifest  Manifest
	JWS       string
	EIP191    string
	PublicKey PublicKey
	Intent    string    // id of the audit intent
	Outcomes  [2]string // ids of the audit outcomes: of the JWS, of EIP-191
}

// Proof shows that a record is in the log, which had the size of the checkpoint.
type Proof struct {
	Index  int64
	Record string      // the very text that was hashed
	Hashes []tlog.Hash // the way to the checkpoint's root (RFC 9162 §2.1.3)
}

// Bundle is all that somebody needs to check a signature on a document.
type Bundle struct {
	Manifest   string // the very text that was signed
	JWS        string
	EIP191     string
	PublicKey  PublicKey
	Checkpoint string  // of the log, as a signed note
	Records    []Proof // the intent, the outcome of the JWS, the outcome of EIP-191
}

// NewBundle puts together what was signed and what proves that it is on record:
// records are the intent and the two outcomes.
func NewBundle(s Signed, checkpoint string, records [3]Proof) Bundle {
	return Bundle{
		Manifest: string(s.Manifest.Bytes()), JWS: s.JWS, EIP191: s.EIP191, PublicKey: s.PublicKey,
		Checkpoint: checkpoint, Records: records[:],
	}
}

// MarshalJSON writes the bundle. No bit of what it writes is without meaning: see
// [Parse].
func (b Bundle) MarshalJSON() ([]byte, error) { return b.Bytes(), nil }

// Bytes writes the bundle as compact JSON with the members in their order.
func (b Bundle) Bytes() []byte {
	out := text([]byte(`{"version":`), BundleVersion)
	out = text(append(out, `,"manifest":`...), b.Manifest)
	out = text(append(out, `,"jws":`...), b.JWS)
	out = text(append(out, `,"eip191":`...), b.EIP191)
	out = text(append(out, `,"public_key":{"crv":`...), b.PublicKey.Curve)
	out = text(append(out, `,"kid":`...), b.PublicKey.ID)
	out = text(append(out, `,"kty":`...), b.PublicKey.Type)
	out = text(append(out, `,"x":`...), b.PublicKey.X)
	out = text(append(out, `,"y":`...), b.PublicKey.Y)
	out = text(append(out, `},"audit":{"checkpoint":`...), b.Checkpoint)
	out = append(out, `,"records":[`...)
	for i, p := range b.Records {
		if i > 0 {
			out = append(out, ',')
		}
		out = p.append(out)
	}
	return append(out, "]}}"...)
}

func (p Proof) append(out []byte) []byte {
	out = strconv.AppendInt(append(out, `{"index":`...), p.Index, 10)
	out = text(append(out, `,"record":`...), p.Record)
	out = append(out, `,"hashes":[`...)
	for i, h := range p.Hashes {
		if i > 0 {
			out = append(out, ',')
		}
		out = text(out, base64.StdEncoding.EncodeToString(h[:]))
	}
	return append(out, "]}"...)
}

// text appends a JSON string. Where there is a choice it takes an escape without
// letters of hex, of which a capital means the same: no bit may be without
// meaning.
func text(b []byte, s string) []byte {
	start := len(b)
	b = strictjson.AppendString(b, s)
	for i := start; i < len(b)-5; i++ {
		if b[i] != '\\' {
			continue
		}
		if short := map[string]byte{"u000a": 'n', "u000d": 'r', "u0009": 't', "u0008": 'b', "u000c": 'f'}[string(b[i+1:i+6])]; short != 0 {
			b[i+1] = short
			b = append(b[:i+2], b[i+6:]...)
		}
		i++ // what is escaped is no escape itself
	}
	return b
}

// Parse reads a bundle. Spaces, the order of members and the way in which strings
// are escaped may have been changed by some JSON writer on the way; but there is
// no member twice, none that a bundle does not have, and none is missing.
func Parse(data []byte) (Bundle, error) {
	var b Bundle
	v, err := strictjson.Parse(data)
	if err != nil {
		return b, fmt.Errorf("bundle: %w", err)
	}
	if v.Get("version").Text != BundleVersion {
		return b, errors.New("bundle: is not one, or of another version: want " + BundleVersion)
	}
	r := reader{}
	top := r.object(v, "bundle", "version", "manifest", "jws", "eip191", "public_key", "audit")
	b.Manifest, b.JWS, b.EIP191 = r.text(top["manifest"], "manifest"), r.text(top["jws"], "jws"), r.text(top["eip191"], "eip191")
	key := r.object(top["public_key"], "public_key", "crv", "kid", "kty", "x", "y")
	b.PublicKey = PublicKey{
		Curve: r.text(key["crv"], "crv"), ID: r.text(key["kid"], "kid"), Type: r.text(key["kty"], "kty"),
		X: r.text(key["x"], "x"), Y: r.text(key["y"], "y"),
	}
	log := r.object(top["audit"], "audit", "checkpoint", "records")
	b.Checkpoint = r.text(log["checkpoint"], "audit.checkpoint")
	for _, e := range r.array(log["records"], "audit.records") {
		b.Records = append(b.Records, r.proof(e))
	}
	return b, r.err
}

// reader remembers the first thing that is not as it has to be.
type reader struct{ err error }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("bundle: "+format, args...)
	}
}

func (r *reader) object(v strictjson.Value, where string, members ...string) map[string]strictjson.Value {
	if v.Kind != strictjson.Object || len(v.Members) != len(members) {
		r.fail("%s: want an object with exactly these members: %q", where, members)
	}
	out := map[string]strictjson.Value{}
	for _, name := range members {
		if out[name] = v.Get(name); out[name].Kind == strictjson.Absent {
			r.fail("%s: %s is missing", where, name)
		}
	}
	return out
}

func (r *reader) text(v strictjson.Value, where string) string {
	if v.Kind != strictjson.String {
		r.fail("%s: want a string", where)
	}
	return v.Text
}

func (r *reader) array(v strictjson.Value, where string) []strictjson.Value {
	if v.Kind != strictjson.Array {
		r.fail("%s: want an array", where)
	}
	return v.Elems
}

func (r *reader) proof(v strictjson.Value) Proof {
	var p Proof
	o := r.object(v, "audit.records", "index", "record", "hashes")
	index, err := strconv.ParseInt(o["index"].Text, 10, 64)
	if o["index"].Kind != strictjson.Number || err != nil || index < 0 || strconv.FormatInt(index, 10) != o["index"].Text {
		r.fail("audit.records: index: want a whole number")
	}
	p.Index, p.Record = index, r.text(o["record"], "audit.records: record")
	for _, e := range r.array(o["hashes"], "audit.records: hashes") {
		coded := r.text(e, "audit.records: hashes")
		raw, err := base64.StdEncoding.DecodeString(coded)
		if err != nil || len(raw) != tlog.HashSize || base64.StdEncoding.EncodeToString(raw) != coded {
			r.fail("audit.records: hashes: want the base64 of 32 bytes")
			return p
		}
		p.Hashes = append(p.Hashes, tlog.Hash(raw))
	}
	return p
}
