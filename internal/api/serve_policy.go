// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"regexp"
	"strconv"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func getPolicy(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	v, err := p.Policy(ctx, c.who, rt.kind, c.at)
	return ok(v), err
}

func setPolicy(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	n := platform.NewPolicy{Document: documentText(c.body.Get("document")), Comment: c.body.Get("comment").Text}
	if v := c.body.Get("replaces"); v.Present() {
		version, err := strconv.ParseInt(v.Text, 10, 64)
		if err != nil {
			return reply{}, invalid("replaces", "want the number of a version")
		}
		n.Replaces = &version
	}
	v, err := p.SetPolicy(ctx, c.who, rt.kind, c.at, n)
	code := http.StatusOK
	if v.State == platform.PolicyProposed {
		code = http.StatusAccepted
	}
	return reply{code, v}, err
}

// documentText is a document as text: as it was given, or the object written out.
func documentText(v strictjson.Value) string {
	if v.Kind == strictjson.Object {
		return string(v.AppendTo(nil))
	}
	return v.Text
}

func listPolicyVersions(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	q, err := query.Parse(c.query, rt.filtered)
	if err != nil {
		return reply{}, err
	}
	all, err := p.PolicyVersions(ctx, c.who, rt.kind, c.at)
	if err != nil {
		return reply{}, err
	}
	items := make([]any, len(all))
	for i := range all {
		items[i] = all[i]
	}
	return list(q, items)
}

// version reads the number in a path. What is none is that of nothing.
func (c *call) version() (int64, error) {
	if !regexp.MustCompile(versionPattern).MatchString(c.leaf) {
		return 0, notFound()
	}
	return strconv.ParseInt(c.leaf, 10, 64)
}

func getPolicyVersion(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	version, err := c.version()
	if err != nil {
		return reply{}, err
	}
	v, err := p.PolicyVersion(ctx, c.who, rt.kind, c.at, version)
	return ok(v), err
}

func approvePolicy(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	version, err := c.version()
	if err != nil {
		return reply{}, err
	}
	v, err := p.ApprovePolicy(ctx, c.who, rt.kind, c.at, version)
	return ok(v), err
}

func rejectPolicy(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	version, err := c.version()
	if err != nil {
		return reply{}, err
	}
	v, err := p.RejectPolicy(ctx, c.who, rt.kind, c.at, version)
	return ok(v), err
}

func policyUsage(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	v, err := p.PolicyUsage(ctx, c.who, rt.kind, c.at)
	return ok(v), err
}

func testPolicy(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	v, err := p.TestPolicy(ctx, c.who, c.at, platform.PolicyTest{
		Principal: c.body.Get("principal").Text, Method: c.body.Get("method").Text,
		Params: c.body.Get("params").AppendTo(nil), Document: documentText(c.body.Get("document")),
	})
	return ok(v), err
}

func policySchema(_ context.Context, p Platform, _ *route, _ *call) (reply, error) {
	return ok(written(p.PolicySchema())), nil
}
