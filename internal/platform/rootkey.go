// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// HaveRootKeyError says that there are API keys for the whole deployment with
// the role admin.
type HaveRootKeyError struct {
	Keys []string // name and id of each, the oldest first
}

func (e *HaveRootKeyError) Error() string {
	return "there is an API key for the whole deployment already: " + strings.Join(e.Keys, ", ")
}

// RootKey makes an API key with the role admin for the whole deployment, for
// whoever may open the store: nobody has to let him. Its secret is in what is
// returned, and only there. Unless another is wanted, it is for a deployment
// that has none: else a *HaveRootKeyError, and nothing is changed.
func RootKey(ctx context.Context, db *store.DB, v Verifier, region, name string, another bool) (APIKey, error) {
	now, secret := instant(), auth.NewSecret()
	r := row{Resource: store.Resource{ID: newID(region), Kind: string(APIKeys), Name: name, State: Started, Revision: 1, Created: now, Updated: now}}
	r.data = data{Shown: 1, Grants: []auth.Grant{{Role: auth.Admin}}}
	r.Verifier = auth.StoredKey(v, r.ID, r.data.Grants, secret)
	stored, err := r.stored()
	if err != nil {
		return APIKey{}, err
	}
	event := eventOf(auth.Operator, "create", r, nil)
	err = db.Write(ctx, func(w *store.Writer) error {
		have, err := rootKeys(w)
		if err == nil && len(have) > 0 && !another {
			err = &HaveRootKeyError{have}
		}
		if err != nil {
			return err
		}
		if err := w.InsertResource(stored); err != nil {
			return err
		}
		return w.AuditEvent(event)
	})
	if err != nil {
		return APIKey{}, err
	}
	return APIKey{
		Meta: Meta{ID: r.ID, Revision: strconv.FormatInt(r.data.Shown, 10), Created: now, Updated: now, State: r.State},
		Name: name, Grants: r.data.Grants, Key: r.ID + "-" + secret,
	}, nil
}

func rootKeys(w *store.Writer) ([]string, error) {
	all, err := w.Resources(store.ResourceFilter{Kind: string(APIKeys)})
	if err != nil {
		return nil, err
	}
	var have []string
	for _, stored := range all {
		key, err := readRow(stored)
		if err != nil {
			return nil, err
		}
		if isRoot(key.data.Grants) {
			have = append(have, fmt.Sprintf("%q (%s)", key.Name, key.ID))
		}
	}
	return have, nil
}
