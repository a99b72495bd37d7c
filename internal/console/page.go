// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

//go:embed templates
var templateFiles embed.FS

// fragmentSuffix marks the part of a page that is kept up to date: what its
// template calls "live".
const fragmentSuffix = "#live"

// pages are the templates, by name: each a file of templates/pages in the layout
// that it wants, with the parts of templates/parts at hand.
type pages map[string]*template.Template

func parsePages() (pages, error) {
	shared, err := template.New("").Funcs(functions()).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/pages/*.html")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, file := range files {
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if t, err = t.ParseFS(templateFiles, file); err != nil {
			return nil, err
		}
		all[strings.TrimSuffix(path.Base(file), ".html")] = t
	}
	return all, nil
}

// execute writes a page, or the part of one.
func (p pages) execute(w io.Writer, name string, data any) error {
	name, live := strings.CutSuffix(name, fragmentSuffix)
	t := p[name]
	if t == nil {
		return fmt.Errorf("console: there is no page %q", name)
	}
	if live {
		return t.ExecuteTemplate(w, "live", data)
	}
	return t.ExecuteTemplate(w, "page", data)
}

// page is what every template of somebody signed in gets.
type page struct {
	v *visit

	Title   string
	Section string
	Data    any
	Done    string // what was just done; empty if nothing

	Nav     []group
	Places  []place
	Stopped *platform.Freeze // that stops everything; nil: nothing does
}

// place is an environment that one can change to.
type place struct {
	Consortium, Environment string // names
	To                      string
	Here                    bool
}

// frame reads what stands around the page.
func (p *page) frame(ctx context.Context) error {
	p.Nav = navigation(p.v)
	p.Stopped = p.v.stopped(ctx)
	consortia, err := listAt[platform.Consortium](ctx, p.v, platform.Consortia, platform.Path{})
	if err != nil {
		return err
	}
	for _, c := range consortia {
		all, err := listAt[platform.Environment](ctx, p.v, platform.Environments, platform.Path{Consortium: c.ID})
		if err != nil {
			return err
		}
		for _, e := range all {
			p.Places = append(p.Places, place{c.Name, e.Name, placed(c.ID, e.ID) + "/overview", e.ID == p.v.at.Environment})
		}
	}
	return nil
}

// What templates ask.

// CSRF is the token that every form carries.
func (p *page) CSRF() string { return p.v.csrf }

// Person is who has signed in.
func (p *page) Person() string { return p.v.name }

// Release is of this program.
func (p *page) Release() string { return p.v.c.cfg.Release }

// Here is the name of the environment; empty outside of one.
func (p *page) Here() string {
	if p.v.environment == nil {
		return ""
	}
	return p.v.environment.Name
}

// Path is a path in this environment.
func (p *page) Path(parts ...string) string { return p.v.path(parts...) }

// URL is that of the page itself.
func (p *page) URL() string { return p.v.r.URL.RequestURI() }

// Query is a parameter of the page's own URL.
func (p *page) Query(name string) string { return p.v.r.URL.Query().Get(name) }

// MayAdmin, MayOperate and MayAudit report whether the person has the role in a
// membership.
func (p *page) MayAdmin(membership string) bool { return p.v.can(auth.Admin, membership) }

// MayOperate is MayAdmin for the role operator.
func (p *page) MayOperate(membership string) bool { return p.v.can(auth.Operates, membership) }

// MayAdminSomewhere reports whether the person is an admin of any membership here.
func (p *page) MayAdminSomewhere() bool { return p.v.canSomewhere(auth.Admin) }

// Strongest is the strongest role that the person has anywhere, for people.
func (p *page) Strongest() string {
	strongest := ""
	for _, role := range auth.Roles() {
		for _, g := range p.v.who.Grants {
			if g.Role == role {
				strongest = string(role)
			}
		}
	}
	if strongest == "" {
		return "no role"
	}
	return strongest
}
