// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/hsmsigner/hsmsigner/client"
)

// prune plans to delete what is in the memberships and environments of the file
// and not in the file, what needs others first.
func (p *planner) prune(ctx context.Context) error {
	type place struct{ consortium, environment, membership string }
	seen := map[place]*refs{}
	var order []place
	for _, s := range p.steps {
		r := p.refs[s]
		at := place{r.consortium.now(), r.environment.now(), r.membership.now()}
		if s.Kind.shape().inEnvironment && at.consortium != "" && at.environment != "" && at.membership != "" && seen[at] == nil {
			seen[at] = r
			order = append(order, at)
		}
	}
	kept := map[string]bool{}
	for _, s := range p.steps {
		kept[s.ID] = true
	}
	for _, kind := range []Kind{Service, AppCred, Configuration, Node} {
		for _, at := range order {
			r := seen[at]
			all, err := p.list(ctx, kind.collection(r))
			if err != nil {
				return err
			}
			for _, c := range all {
				if id := c.text("_id"); kind.owned(c, r) && !kept[id] && c["read_only"] != true {
					p.steps = append(p.steps, &Step{
						Action: Delete, Kind: kind, Name: c.text(kind.shape().title), In: r.in(), ID: id,
						path: append(slices.Clone(kind.collection(r)), id),
					})
				}
			}
		}
	}
	return nil
}

// Run does what the plan says, in its order, and stops at the first error: what
// was done until then stays, and applying the file again goes on from there.
// Steps get their final action and id. done is told after each.
func (p *Plan) Run(ctx context.Context, c *client.Client, done func(*Step)) error {
	for _, s := range p.Steps {
		if err := s.run(ctx, c); err != nil {
			return fmt.Errorf("%s %s %s: %w", s.Action, s.Kind, s.Name, err)
		}
		done(s)
	}
	return nil
}

func (s *Step) run(ctx context.Context, c *client.Client) error {
	switch s.Action {
	case Create:
		return s.create(ctx, c)
	case Update, Check:
		s.body["_revision"] = s.revision
		for field, value := range s.item.wanted(s.refs) { // ids that were not known yet
			if details, ok := s.body[field].(map[string]any); ok && s.Kind == Service {
				for name := range details {
					details[name] = value.(map[string]any)[name]
				}
			}
		}
		var got record
		path := append(s.Kind.collection(s.refs), s.ID)
		if _, err := c.Do(ctx, http.MethodPatch, path, nil, s.body, &got); err != nil {
			return err
		}
		if s.Action == Check {
			if got.text("_revision") == s.revision {
				s.Action = Unchanged
			} else {
				s.Action, s.Changes = Update, []string{"secrets"}
			}
		}
	case Delete:
		_, err := c.Do(ctx, http.MethodDelete, s.path, nil, nil, nil)
		if client.Is(err, client.NotFound) {
			return nil
		}
		return err
	}
	return nil
}

func (s *Step) create(ctx context.Context, c *client.Client) error {
	// The file first: a secret that cannot be written down would be lost.
	var file *os.File
	if s.item.SecretTo != "" {
		var err error
		if file, err = os.OpenFile(s.item.SecretTo, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("secret_to: %s is there already, and belongs to another one: move it away", s.item.SecretTo)
			}
			return fmt.Errorf("secret_to: %w", err)
		}
		defer file.Close()
	}
	var got record
	_, err := c.Do(ctx, http.MethodPost, s.Kind.collection(s.refs), nil, s.item.wanted(s.refs), &got)
	if err == nil && got.text("_id") == "" {
		err = errors.New("the answer has no _id")
	}
	if err != nil {
		if file != nil {
			_ = os.Remove(s.item.SecretTo)
		}
		return err
	}
	s.ID = got.text("_id")
	if file == nil {
		return nil
	}
	secret := got.text("password") + got.text("key") // one of them
	if _, err := file.WriteString(secret + "\n"); err != nil {
		return fmt.Errorf("it is made as %s, but its secret could not be written down: %w", s.ID, err)
	}
	return file.Sync()
}
