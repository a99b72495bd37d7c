// SPDX-License-Identifier: Apache-2.0

// Package document makes and checks signatures on documents.
//
// What is signed is never the document, nor a hash that somebody brought: it is
// a manifest of this package's own making, which names the document by its
// SHA-256 and says who signed it and when. The manifest is signed twice, as a
// JWS with ES256K (RFC 7515, RFC 8812) and as a personal message (EIP-191). Both
// digests are of texts that begin in one way only, so that neither can be the
// digest of a transaction, of typed data, or of anything else that a chain takes.
//
// A [Bundle] holds the manifest, both signatures, and the audit records of their
// making with what proves that they are in the log. [Verify] checks it with
// nothing but the signer's address and the log's key, and says of each part
// whether it holds. A bundle that this package wrote fails as a whole if a single
// bit of it is changed.
//
// The package holds no key, asks nobody and keeps nothing.
package document

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a document may be.
const (
	MaxSize      = 1<<53 - 1 // bytes: the largest number that every JSON reader reads alike
	MaxName      = 255       // bytes of UTF-8
	maxMediaType = 127       // bytes of a type, and of a subtype: RFC 6838 §4.2
	Unknown      = "application/octet-stream"
)

// Document is what somebody wants signed, or checked.
type Document struct {
	SHA256    [32]byte
	Size      int64  // bytes
	Name      string // for people; may be empty
	MediaType string // type/subtype in lower case, without parameters (RFC 6838)
}

// FieldError says which field of a document is not as it has to be.
type FieldError struct {
	Field string // sha256, size, name, media_type
	Want  string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Want }

var mediaType = regexp.MustCompile(`^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$`)

// Check refuses, with a [*FieldError], a document that no manifest can name.
func (d Document) Check() error {
	switch {
	case d.SHA256 == [32]byte{}:
		return &FieldError{"sha256", "is missing: want the SHA-256 of the document"}
	case d.Size < 0 || d.Size > MaxSize:
		return &FieldError{"size", fmt.Sprintf("want the number of the document's bytes, 0 to %d", int64(MaxSize))}
	case d.Size == 0 && d.SHA256 != sha256.Sum256(nil):
		return &FieldError{"size", "is 0, but the SHA-256 is not that of nothing"}
	case !mediaType.MatchString(d.MediaType):
		return &FieldError{"media_type", "want type/subtype in lower case without parameters, like application/pdf (RFC 6838)"}
	}
	return checkName(d.Name)
}

// checkName lets through what is seen as it is: no signs that steer how others
// are shown, which could make a name look like another one.
func checkName(name string) error {
	if len(name) > MaxName || !utf8.ValidString(name) {
		return &FieldError{"name", fmt.Sprintf("want at most %d bytes of UTF-8", MaxName)}
	}
	for _, r := range name {
		joins := r == '\u200c' || r == '\u200d' // some scripts are not written without them
		if r == utf8.RuneError || !joins && !unicode.IsGraphic(r) {
			return &FieldError{"name", fmt.Sprintf("has the sign %U, which cannot be seen: want letters, digits, signs and spaces", r)}
		}
	}
	return nil
}

// MediaType reads a header Content-Type: its type and subtype in lower case. What
// is missing is [Unknown]. Parameters are left out.
func MediaType(header string) (string, error) {
	if strings.TrimSpace(header) == "" {
		return Unknown, nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil || !mediaType.MatchString(media) {
		return "", &FieldError{"media_type", "want type/subtype, like application/pdf (RFC 6838)"}
	}
	return media, nil
}

// ErrTooLarge says that a document has more bytes than were to be read.
var ErrTooLarge = errors.New("the document is too large")

// Hash reads a document to its end, in constant memory. It stops with
// [ErrTooLarge] when there is more than most.
func Hash(r io.Reader, most int64) (sum [32]byte, size int64, err error) {
	h := sha256.New()
	size, err = io.CopyBuffer(writer{h}, io.LimitReader(r, most), make([]byte, 128<<10))
	if err != nil {
		return sum, size, err
	}
	if size == most {
		var more [1]byte
		if n, _ := io.ReadFull(r, more[:]); n > 0 {
			return sum, size, ErrTooLarge
		}
	}
	return [32]byte(h.Sum(nil)), size, nil
}

// writer hides everything of a hash but Write, so that io.Copy uses the buffer.
type writer struct{ io.Writer }
