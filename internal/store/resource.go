// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tables resource, resource_use and resource_version: what the management API
// has made. Which resources there are and what may be done with them is package
// platform's business.

// Resource is one resource of the management API.
type Resource struct {
	ID          string
	Kind        string
	Consortium  string // id of what it stands in; empty if it stands in none
	Environment string
	Membership  string // whose it is; empty if it is everybody's in there
	Name        string
	State       string
	Reason      string // why the state is that, for people
	Revision    int64  // counts its changes, from 1
	Created     time.Time
	Updated     time.Time
	Uses        []string // ids of what it cannot do without, which can then not be deleted
	Data        []byte   // JSON
	Sealed      []byte   // by package seal; nil: nothing
	Verifier    []byte   // keyed hash of a credential's secret; nil: it has none
}

// ResourceFilter narrows a list of resources. Zero fields do not filter.
type ResourceFilter struct {
	Kind        string
	Consortium  string
	Environment string
	Membership  string
}

// InUseError says that a resource cannot be deleted: others use it.
type InUseError struct {
	ID string
	By []string // ids, in order
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("store: resource %s is used by %s", e.ID, strings.Join(e.By, ", "))
}

// ErrRevision says that a resource was changed by somebody else meanwhile.
var ErrRevision = errors.New("store: resource has another revision")

const resourceColumns = `id, kind, consortium, environment, membership, name, state, reason, revision, created, updated, data, sealed, verifier`

// InsertResource stores a new resource with revision 1. ErrExists if there is
// one with its id, ErrNotFound if one that it uses is not there.
func (w *Writer) InsertResource(r Resource) error {
	op := "insert resource " + r.ID
	have, err := one(w, scanCount, op, `SELECT count(*) FROM resource WHERE id = $1`, r.ID)
	if err != nil {
		return w.read(err)
	}
	if have != 0 {
		return w.fail("", fmt.Errorf("%w: resource %s", ErrExists, r.ID))
	}
	_, err = w.exec(op, `INSERT INTO resource (`+resourceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		r.ID, r.Kind, r.Consortium, r.Environment, r.Membership, r.Name, r.State, r.Reason, int64(1),
		timeArg(r.Created), timeArg(r.Updated), string(r.Data), r.Sealed, r.Verifier)
	if err != nil {
		return err
	}
	if err := w.putUses(op, r); err != nil {
		return err
	}
	return w.resourcesChanged()
}

// UpdateResource writes all of a resource but its id, its kind, where it stands
// and when it was made, if its stored revision is still r.Revision, which rises
// by one. ErrRevision if it is not, ErrNotFound if there is no such resource or
// one that it uses.
func (w *Writer) UpdateResource(r Resource) error {
	op := "update resource " + r.ID
	n, err := w.exec(op, `UPDATE resource SET membership = $1, name = $2, state = $3, reason = $4, revision = revision + 1,
		updated = $5, data = $6, sealed = $7, verifier = $8 WHERE id = $9 AND revision = $10`,
		r.Membership, r.Name, r.State, r.Reason, timeArg(r.Updated), string(r.Data), r.Sealed, r.Verifier, r.ID, r.Revision)
	if err != nil {
		return err
	}
	if n == 0 {
		if _, err := w.Resource(r.ID); err != nil {
			return w.fail("", err)
		}
		return w.fail("", fmt.Errorf("%w: %s", ErrRevision, r.ID))
	}
	if _, err := w.exec(op, `DELETE FROM resource_use WHERE resource = $1`, r.ID); err != nil {
		return err
	}
	if err := w.putUses(op, r); err != nil {
		return err
	}
	return w.resourcesChanged()
}

func (w *Writer) putUses(op string, r Resource) error {
	for _, used := range r.Uses {
		// Taking the row keeps another from deleting it before this commit.
		n, err := w.exec(op, `UPDATE resource SET kind = kind WHERE id = $1`, used)
		if err != nil {
			return err
		}
		if n == 0 {
			return w.fail("", fmt.Errorf("%w: resource %s, which %s uses", ErrNotFound, used, r.ID))
		}
		if _, err := w.exec(op, `INSERT INTO resource_use (resource, uses) VALUES ($1, $2)`, r.ID, used); err != nil {
			return err
		}
	}
	return nil
}

// DeleteResource forgets a resource. An *InUseError if another one uses it,
// ErrNotFound if it is not there.
func (w *Writer) DeleteResource(id string) error {
	op := "delete resource " + id
	n, err := w.exec(op, `UPDATE resource SET kind = kind WHERE id = $1`, id)
	if err != nil {
		return err
	}
	if n == 0 {
		return w.fail("", fmt.Errorf("%w: resource %s", ErrNotFound, id))
	}
	by, err := collect(w, scanText, op, `SELECT resource FROM resource_use WHERE uses = $1 ORDER BY resource`, id)
	if err != nil {
		return w.read(err)
	}
	if len(by) > 0 {
		return w.fail("", &InUseError{ID: id, By: by})
	}
	if _, err := w.exec(op, `DELETE FROM resource_use WHERE resource = $1`, id); err != nil {
		return err
	}
	if _, err := w.exec(op, `DELETE FROM resource WHERE id = $1`, id); err != nil {
		return err
	}
	return w.resourcesChanged()
}

func (w *Writer) resourcesChanged() error {
	_, err := w.exec("count a change of resources", `INSERT INTO resource_version (id, version) VALUES (1, 1)
		ON CONFLICT (id) DO UPDATE SET version = resource_version.version + 1`)
	return err
}

// Resource reads one resource. ErrNotFound if it is not there.
func (w *Writer) Resource(id string) (Resource, error) { return resourceIn(w, id) }

// Resource reads one resource. ErrNotFound if it is not there.
func (db *DB) Resource(ctx context.Context, id string) (Resource, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Resource{}, err
	}
	return resourceIn(r, id)
}

func resourceIn(q querier, id string) (Resource, error) {
	op := "read resource " + id
	r, err := one(q, scanResource, op, `SELECT `+resourceColumns+` FROM resource WHERE id = $1`, id)
	if err != nil {
		return Resource{}, err
	}
	r.Uses, err = collect(q, scanText, op, `SELECT uses FROM resource_use WHERE resource = $1 ORDER BY uses`, id)
	return r, err
}

// Resources lists resources in the order in which they were made.
func (w *Writer) Resources(f ResourceFilter) ([]Resource, error) { return resourcesIn(w, f) }

// Resources lists resources in the order in which they were made.
func (db *DB) Resources(ctx context.Context, f ResourceFilter) ([]Resource, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return resourcesIn(r, f)
}

func resourcesIn(q querier, f ResourceFilter) ([]Resource, error) {
	cond, args := f.condition()
	all, err := collect(q, scanResource, "list resources", `SELECT `+resourceColumns+` FROM resource`+cond+` ORDER BY created, id`, args...)
	if err != nil || len(all) == 0 {
		return all, err
	}
	place := make(map[string]int, len(all))
	for i, r := range all {
		place[r.ID] = i
	}
	scan := func(rows *sql.Rows) (struct{}, error) {
		var id, used string
		err := rows.Scan(&id, &used)
		if i, ok := place[id]; ok {
			all[i].Uses = append(all[i].Uses, used)
		}
		return struct{}{}, err
	}
	sub := ` WHERE resource IN (SELECT id FROM resource` + cond + `)`
	_, err = collect(q, scan, "list what resources use", `SELECT resource, uses FROM resource_use`+sub+` ORDER BY resource, uses`, args...)
	return all, err
}

// ResourceVersion is a number that rises whenever any resource changes.
func (db *DB) ResourceVersion(ctx context.Context) (int64, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return 0, err
	}
	return one(r, scanCount, "read the version of the resources", `SELECT coalesce(max(version), 0) FROM resource_version`)
}

// condition is the WHERE of a query, with its arguments.
func (f ResourceFilter) condition() (cond string, args []any) {
	var where []string
	for _, c := range []struct{ column, value string }{
		{"kind", f.Kind}, {"consortium", f.Consortium}, {"environment", f.Environment}, {"membership", f.Membership},
	} {
		if c.value != "" {
			args = append(args, c.value)
			where = append(where, c.column+" = $"+strconv.Itoa(len(args)))
		}
	}
	if len(where) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(where, " AND "), args
}

func scanResource(rows *sql.Rows) (Resource, error) {
	var r Resource
	var created, updated sql.NullInt64
	var data string
	var sealed, verifier sql.RawBytes
	err := rows.Scan(&r.ID, &r.Kind, &r.Consortium, &r.Environment, &r.Membership, &r.Name, &r.State, &r.Reason,
		&r.Revision, &created, &updated, &data, &sealed, &verifier)
	r.Created, r.Updated, r.Data = timeOf(created), timeOf(updated), []byte(data)
	r.Sealed, r.Verifier = bytes.Clone(sealed), bytes.Clone(verifier)
	return r, err
}

func scanText(rows *sql.Rows) (s string, err error) {
	err = rows.Scan(&s)
	return s, err
}

func scanCount(rows *sql.Rows) (n int64, err error) {
	err = rows.Scan(&n)
	return n, err
}
