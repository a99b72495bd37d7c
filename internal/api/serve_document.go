// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/document"
)

func signDocument(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if err := p.MaySignDocument(ctx, c.who, c.at); err != nil {
		return reply{}, err
	}
	account, d, err := askedDocument(c)
	if err != nil {
		return reply{}, err
	}
	if c.stream != nil {
		if c.who, err = c.again(); err != nil {
			return reply{}, err
		}
	}
	if err := d.Check(); err != nil {
		return reply{}, fieldRefusal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	bundle, pending, err := p.SignDocument(ctx, c.who, c.at, account, d)
	switch {
	case err != nil:
		return reply{}, err
	case pending != nil:
		return reply{http.StatusAccepted, pending}, nil
	}
	return reply{http.StatusCreated, written(bundle.Bytes())}, nil
}

// askedDocument is what a request wants signed, and by whom.
func askedDocument(c *call) (account common.Address, d document.Document, err error) {
	if c.stream == nil {
		if len(c.query) > 0 {
			return account, d, invalid("", "there are both JSON and a query: a document that is JSON itself is sent as application/octet-stream, with media_type=application/json")
		}
		return namedDocument(c)
	}
	// All that can be wrong is found before a large body is read.
	if account, err = accountOf(c.query.Get("account")); err != nil {
		return account, d, err
	}
	d.Name = c.query.Get("name")
	if d.MediaType, err = document.MediaType(c.stream.header.Get("Content-Type")); err != nil && !c.query.Has("media_type") {
		return account, d, fieldRefusal(err)
	}
	if c.query.Has("media_type") {
		d.MediaType = c.query.Get("media_type")
	}
	trial := d
	trial.SHA256, trial.Size = sha256.Sum256(nil), 0
	if err := trial.Check(); err != nil {
		return account, d, fieldRefusal(err)
	}
	want, err := wantedDocument(c)
	if err != nil {
		return account, d, err
	}
	if d.SHA256, d.Size, err = hashed(c.stream); err != nil {
		return account, d, err
	}
	return account, d, want.check(d)
}

// hashed reads a document.
func hashed(r io.Reader) (sum [32]byte, size int64, err error) {
	sum, size, err = document.Hash(r, maxDocument)
	if errors.Is(err, document.ErrTooLarge) {
		err = &http.MaxBytesError{Limit: maxDocument}
	}
	return sum, size, err
}

// wanted is what a caller says that a document has to be.
type wanted struct {
	digest, sum []byte // nil: not said
	size        int64  // below 0: not said
}

func wantedDocument(c *call) (w wanted, err error) {
	w.size = -1
	if w.digest, err = contentDigest(c.stream.header); err != nil {
		return w, err
	}
	if c.query.Has("sha256") {
		if w.sum, err = sha256Of(c.query.Get("sha256")); err != nil {
			return w, err
		}
	}
	if c.query.Has("size") {
		if w.size, err = strconv.ParseInt(c.query.Get("size"), 10, 64); err != nil || w.size < 0 {
			return w, invalid("size", "want a number of bytes")
		}
	}
	return w, nil
}

func (w wanted) check(d document.Document) error {
	switch {
	case w.digest != nil && [32]byte(w.digest) != d.SHA256:
		return invalid("Content-Digest", "what came has another SHA-256")
	case w.sum != nil && [32]byte(w.sum) != d.SHA256:
		return invalid("sha256", "what came has another SHA-256")
	case w.size >= 0 && w.size != d.Size:
		return invalid("size", fmt.Sprintf("what came has %d bytes", d.Size))
	case w.size < 0 && d.Size == 0:
		return invalid("", "there is no document: want it as the body, or size=0 if it has no bytes")
	}
	return nil
}

// contentDigest reads the header of RFC 9530; nil if there is none. Of several
// algorithms it wants SHA-256, and does not look at others.
func contentDigest(h http.Header) ([]byte, error) {
	sent := h.Values("Content-Digest")
	if len(sent) == 0 {
		return nil, nil
	}
	var found []byte
	for item := range strings.SplitSeq(strings.Join(sent, ","), ",") {
		coded, ours := strings.CutPrefix(strings.TrimSpace(item), "sha-256=:")
		if !ours {
			continue
		}
		sum, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(coded, ":"))
		if found != nil || err != nil || len(sum) != sha256.Size || !strings.HasSuffix(coded, ":") {
			return nil, invalid("Content-Digest", "want sha-256=:<base64 of 32 bytes>: (RFC 9530)")
		}
		found = sum
	}
	if found == nil {
		return nil, invalid("Content-Digest", "has no sha-256, the only one that is checked here: want sha-256=:<base64 of 32 bytes>: (RFC 9530)")
	}
	return found, nil
}

// namedDocument is a document of which the caller has sent the hash.
func namedDocument(c *call) (account common.Address, d document.Document, err error) {
	if account, err = accountOf(c.body.Get("account").Text); err != nil {
		return account, d, err
	}
	sum, err := sha256Of(c.body.Get("sha256").Text)
	if err != nil {
		return account, d, err
	}
	d.SHA256 = [32]byte(sum)
	if d.Size, err = strconv.ParseInt(c.body.Get("size").Text, 10, 64); err != nil {
		return account, d, invalid("size", "want a number of bytes, written without a point or an exponent")
	}
	d.Name, d.MediaType = c.body.Get("name").Text, document.Unknown
	if media := c.body.Get("media_type"); media.Present() {
		d.MediaType = media.Text
	}
	return account, d, nil
}

func accountOf(text string) (common.Address, error) {
	if !regexp.MustCompile(addressPattern).MatchString(text) {
		return common.Address{}, invalid("account", "want the address that signs: 0x and 40 hex digits")
	}
	return common.HexToAddress(text), nil
}

func sha256Of(text string) ([]byte, error) {
	if !regexp.MustCompile(sha256Pattern).MatchString(text) {
		return nil, invalid("sha256", "want 64 hex digits in lower case")
	}
	return hex.DecodeString(text)
}

func fieldRefusal(err error) error {
	var field *document.FieldError
	if errors.As(err, &field) {
		return invalid(field.Field, field.Want)
	}
	return err
}

func verifyDocument(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if err := p.MayVerifyDocument(ctx, c.who, c.at); err != nil {
		return reply{}, err
	}
	bundle, against, err := askedVerification(c)
	if err != nil {
		return reply{}, err
	}
	r, err := p.VerifyDocument(ctx, c.who, c.at, bundle, against)
	if err != nil {
		return reply{}, err
	}
	v := Verification{Valid: r.Valid, Complete: r.Complete, Findings: r.Findings}
	if r.Manifest != nil {
		v.Manifest = json.RawMessage(r.Manifest.Bytes())
	}
	return ok(v), nil
}

func askedVerification(c *call) (bundle []byte, against document.Against, err error) {
	if c.stream != nil {
		return uploaded(c)
	}
	if len(c.query) > 0 {
		return nil, against, invalid("", "there are both JSON and a query: want account in the JSON")
	}
	if account := c.body.Get("account"); account.Present() {
		signer, err := accountOf(account.Text)
		if err != nil {
			return nil, against, err
		}
		against.Signer = &signer
	}
	if sum, size := c.body.Get("sha256"), c.body.Get("size"); sum.Present() {
		raw, err := sha256Of(sum.Text)
		if err != nil {
			return nil, against, err
		}
		against.Document = &document.Document{SHA256: [32]byte(raw), Size: -1}
		if size.Present() {
			if against.Document.Size, err = strconv.ParseInt(size.Text, 10, 64); err != nil {
				return nil, against, invalid("size", "want a number of bytes, written without a point or an exponent")
			}
		}
	} else if size.Present() {
		return nil, against, invalid("sha256", "is missing, and size says little without it")
	}
	return c.body.Get("bundle").AppendTo(nil), against, nil
}

// uploaded reads a form with a bundle and, behind it, perhaps a document, which
// is hashed as it comes.
func uploaded(c *call) (bundle []byte, against document.Against, err error) {
	media, parameters, _ := mime.ParseMediaType(c.stream.header.Get("Content-Type"))
	if media != "multipart/form-data" || parameters["boundary"] == "" {
		return nil, against, &refusal{code: http.StatusUnsupportedMediaType, body: Failure{Message: "want application/json, or multipart/form-data with the files bundle and document", Error: mediaWrong}}
	}
	if c.query.Has("account") {
		signer, err := accountOf(c.query.Get("account"))
		if err != nil {
			return nil, against, err
		}
		against.Signer = &signer
	}
	for form := multipart.NewReader(c.stream, parameters["boundary"]); ; {
		part, err := form.NextRawPart()
		if err == io.EOF && bundle != nil { //nolint:errorlint // readers return it as it is
			return bundle, against, nil
		}
		if err != nil {
			return nil, against, formRefusal(err)
		}
		switch name := part.FormName(); {
		case name == "bundle" && bundle == nil:
			if bundle, err = io.ReadAll(io.LimitReader(part, maxBody+1)); err == nil && len(bundle) > maxBody {
				err = &http.MaxBytesError{Limit: maxBody}
			}
		case name == "document" && bundle != nil && against.Document == nil:
			d := document.Document{}
			d.SHA256, d.Size, err = hashed(part)
			against.Document = &d
		default:
			err = errForm()
		}
		if err != nil {
			return nil, against, formRefusal(err)
		}
	}
}

func errForm() *refusal {
	return invalid("", "want a form with the files bundle and, behind it, document, each once and nothing else")
}

// formRefusal leaves alone what is an answer already.
func formRefusal(err error) error {
	var answer *refusal
	var large *http.MaxBytesError
	if errors.As(err, &answer) || errors.As(err, &large) {
		return err
	}
	return errForm()
}
