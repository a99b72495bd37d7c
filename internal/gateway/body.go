// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/strictyaml"
)

// The kinds of body that are read.
const (
	mediaJSON      = "application/json"
	mediaMultipart = "multipart/form-data"
)

const (
	// maxYAML bounds a body of YAML, in bytes: read, a byte of it takes some hundred
	// bytes of memory.
	maxYAML = 64 << 10
	// maxParts bounds the values of a body: two bytes of JSON may make one, which
	// takes some two hundred bytes of memory while it is read.
	maxParts = 1 << 18
)

func isYAML(media string) bool {
	return media == "application/x-yaml" || media == "application/yaml" || media == "text/yaml"
}

// readBody reads a body to its end, at most limit bytes.
func (q *request) readBody(limit int64) ([]byte, error) {
	if enc := q.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding %s is not accepted: send the body as it is", quote(enc))
	}
	if q.r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	// It fails where a server has no deadlines, as in some tests.
	_ = http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(q.h.cfg.ReadTime))
	data, err := io.ReadAll(io.LimitReader(q.r.Body, limit+1))
	switch {
	case err != nil:
		var own *refusal
		if later(err) != nil || errors.As(err, &own) {
			return nil, err
		}
		return nil, bad("the body ended early, or came too slowly: want all of it within %s", q.h.cfg.ReadTime)
	case int64(len(data)) > limit:
		return nil, tooLarge(limit)
	}
	return data, nil
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is too large: want at most %d bytes", limit)
}

// media is that of a body which is JSON or YAML.
func (q *request) media() (string, error) {
	media, parameters, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	charset := strings.ToLower(parameters["charset"])
	if err == nil && (charset == "" || charset == "utf-8") && len(q.r.Header["Content-Type"]) == 1 && (media == mediaJSON || isYAML(media)) {
		return media, nil
	}
	return "", refuse(http.StatusUnsupportedMediaType, "want the header Content-Type: application/json, or application/x-yaml, got %s", quote(strings.Join(q.r.Header["Content-Type"], ", ")))
}

// text reads a body that is JSON or YAML, without looking into it; empty if there
// is none.
func (q *request) text(limit int64) (data []byte, media string, err error) {
	media, wrong := q.media()
	if wrong != nil { // which is no matter where nothing comes
		if q.r.ContentLength == 0 {
			return nil, "", nil
		}
		if data, err = q.readBody(limit); err == nil && len(data) > 0 {
			err = wrong
		}
		return nil, "", err
	}
	yamlBounds := isYAML(media) && limit > maxYAML
	if yamlBounds {
		limit = maxYAML
	}
	data, err = q.readBody(limit)
	var e *refusal
	if yamlBounds && errors.As(err, &e) && e.status == http.StatusRequestEntityTooLarge {
		err = refuse(e.status, "the body is too large for YAML: want at most %d bytes of it, or the same as JSON", maxYAML)
	}
	return data, media, err
}

// value reads a body that is JSON or YAML; absent if there is none.
func (q *request) value(limit int64) (strictjson.Value, error) {
	data, media, err := q.text(limit)
	if err != nil {
		return strictjson.Value{}, err
	}
	return parse(data, media)
}

// parse makes a tree of a body.
func parse(data []byte, media string) (strictjson.Value, error) {
	switch {
	case len(data) == 0:
		return strictjson.Value{}, nil
	case isYAML(media):
		return parseYAML(data)
	}
	if err := checkParts(data); err != nil {
		return strictjson.Value{}, err
	}
	v, err := strictjson.Parse(data)
	if err != nil {
		return v, bad("the body is %s", cut(err.Error()))
	}
	return v, nil
}

// object reads a body that is an object, or is not there.
func (q *request) object(limit int64) (strictjson.Value, error) {
	v, err := q.value(limit)
	if err == nil {
		err = wantObject(v)
	}
	return v, err
}

func wantObject(v strictjson.Value) error {
	if v.Kind != strictjson.Object && v.Kind != strictjson.Absent {
		return bad("want an object as the body, got %s", v.Kind)
	}
	return nil
}

// parseYAML reads one YAML document as if it were JSON.
func parseYAML(data []byte) (strictjson.Value, error) {
	root, problem := strictyaml.Root(data, "an object")
	if problem == nil {
		var v strictjson.Value
		if v, problem = fromYAML(root, 0); problem == nil {
			return v, nil
		}
	}
	if problem.Line > 0 {
		return strictjson.Value{}, bad("the body, line %d: %s", problem.Line, cut(problem.Message))
	}
	return strictjson.Value{}, bad("the body %s", cut(problem.Message))
}

// fromYAML turns what has one meaning in YAML into the same in JSON.
func fromYAML(n *yaml.Node, depth int) (strictjson.Value, *strictyaml.Problem) {
	wrong := func(format string, args ...any) (strictjson.Value, *strictyaml.Problem) {
		return strictjson.Value{}, &strictyaml.Problem{Line: n.Line, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case depth > strictjson.MaxDepth:
		return wrong("is nested deeper than %d", strictjson.MaxDepth)
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return wrong("anchors and aliases are not read: write the value where it belongs")
	case n.Style&yaml.TaggedStyle != 0:
		return wrong("tags like %s are not read", quote(n.Tag))
	case n.Kind == yaml.MappingNode:
		return fromMapping(n, depth)
	case n.Kind == yaml.SequenceNode:
		v := strictjson.Value{Kind: strictjson.Array}
		for _, e := range n.Content {
			one, problem := fromYAML(e, depth+1)
			if problem != nil {
				return v, problem
			}
			v.Elems = append(v.Elems, one)
		}
		return v, nil
	case n.Kind != yaml.ScalarNode:
		return wrong("is nothing that JSON has")
	}
	return scalar(n), nil
}

func fromMapping(n *yaml.Node, depth int) (strictjson.Value, *strictyaml.Problem) {
	v := strictjson.Value{Kind: strictjson.Object}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		problem := &strictyaml.Problem{Line: name.Line}
		switch {
		case name.Kind != yaml.ScalarNode || name.Anchor != "" || name.Style&yaml.TaggedStyle != 0 || name.Tag == "!!merge":
			problem.Message = "a name has to be plain text"
			return v, problem
		case seen[name.Value]:
			problem.Message = fmt.Sprintf("the name %s is there twice", quote(name.Value))
			return v, problem
		}
		seen[name.Value] = true
		one, wrong := fromYAML(n.Content[i+1], depth+1)
		if wrong != nil {
			return v, wrong
		}
		v.Members = append(v.Members, strictjson.Member{Name: name.Value, Value: one})
	}
	return v, nil
}

// scalar gives a number only for what is one in JSON as well. Everything else,
// such as 0x and hex digits, is text, which the codec of contracts judges.
func scalar(n *yaml.Node) strictjson.Value {
	switch n.Tag {
	case "!!null":
		return strictjson.Value{Kind: strictjson.Null}
	case "!!bool":
		return strictjson.Value{Kind: strictjson.Bool, Text: strings.ToLower(n.Value)}
	case "!!int", "!!float":
		if v, err := strictjson.Parse([]byte(n.Value)); err == nil && v.Kind == strictjson.Number {
			return v
		}
	}
	return strictjson.StringValue(n.Value)
}

// later is err if it says when to come again; nil if not.
func later(err error) interface {
	error
	HTTPStatus() int
	RetryAfter() time.Duration
} {
	var e interface {
		error
		HTTPStatus() int
		RetryAfter() time.Duration
	}
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// maxQuoted bounds what of a caller's text is repeated in an error.
const maxQuoted = 64

// quote makes a caller's text fit for an error: short, and with nothing
// unprintable in it.
func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%.*q…", maxQuoted, s)
	}
	return strconv.Quote(s)
}

// cut bounds a message that may repeat what the caller has sent.
func cut(s string) string {
	const most = 2 << 10
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
