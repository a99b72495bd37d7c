// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// itsGateway is the gateway for contracts of a service. What is under it is no
// route of the table: the gateway describes it itself, in a document that depends
// on the contracts of the service.
const itsGateway = aService + "/gateway"

// gateways find the gateway of a service.
type gateways interface {
	Gateway(ctx context.Context, who auth.Access, at platform.Path) (platform.Gateway, error)
}

// Gateway answers a request under a service's gateway. base is the path of that
// gateway's URL; path is what follows, as it was escaped.
type Gateway func(w http.ResponseWriter, r *http.Request, who auth.Principal, to platform.Gateway, base, path string)

func gatewayRoutes() []route {
	return of("Contracts", platform.Services, []route{
		{
			method: http.MethodGet, path: itsGateway, name: "getGateway", title: "Show the gateway for contracts of a service",
			doc: "Where its interfaces, contracts, tokens and replies are. Their routes are described by the document at openapi. " +
				"Whoever may see the service may look; admins may do there what app credentials may at the service's rest URL.",
			answers: []answers{{http.StatusOK, shape[GatewayInfo](), "Where things are."}}, serve: showGateway,
		},
	})
}

// GatewayInfo says where the parts of a gateway are.
type GatewayInfo struct {
	ABIs      string `json:"abis"`
	Contracts string `json:"contracts"`
	Tokens    string `json:"tokens"`
	Replies   string `json:"replies"`
	Streams   string `json:"eventstreams"`
	OpenAPI   string `json:"openapi"`
	MayChange bool   `json:"may_change"`
}

func showGateway(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	g, err := p.Gateway(ctx, c.who, c.at)
	if err != nil {
		return reply{}, err
	}
	base := gatewayBase(c.at)
	return ok(GatewayInfo{
		ABIs: base + "/abis", Contracts: base + "/contracts", Tokens: base + "/tokens", Replies: base + "/replies",
		Streams: base + "/eventstreams", OpenAPI: base + "/openapi.json", MayChange: g.MayChange,
	}), nil
}

// gatewayBase is the path of the gateway's URL, in its long form.
func gatewayBase(at platform.Path) string {
	return Base + strings.NewReplacer("{consortium_id}", at.Consortium, "{environment_id}", at.Environment, "{service_id}", at.ID).Replace(itsGateway)
}

// serveGateway hands over what is under the gateway of a service.
func (m *Management) serveGateway(w http.ResponseWriter, r *http.Request) {
	rt := &route{path: itsGateway, kind: platform.Services}
	who, err := m.caller(r, rt)
	if err != nil {
		refuse(err).write(w, m.log)
		return
	}
	at, _, err := rt.place(r)
	if err != nil {
		refuse(err).write(w, m.log)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	to, err := m.cfg.Platform.Gateway(ctx, who, at)
	if err != nil {
		refuse(err).write(w, m.log)
		return
	}
	if len(r.Header.Values("Upgrade")) > 0 { // it may be a list, in several headers
		// A page of another site could open one with the cookie: no token goes with it.
		invalid("", "WebSockets are at the service's rest URL, for app credentials").write(w, m.log)
		return
	}
	m.cfg.Gateway(w, r, who.Principal, to, gatewayBase(at), pathUnder(r.URL))
}

// pathUnder is what follows the gateway in a path under Base, as it was escaped.
func pathUnder(u *url.URL) string {
	segments := strings.SplitN(u.EscapedPath(), "/", strings.Count(itsGateway, "/")+2)
	return "/" + segments[len(segments)-1]
}
