// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"errors"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Two who have to agree must be two. An API key is a principal of its own, but
// whoever has made it has seen its secret: an admin could make a second key and
// agree with himself. So a key remembers who made it, and who made that one. Admins
// of the deployment are not remembered: they stand above a consortium's rules, and
// hand everybody the first key.

// finder reads a resource by its id.
type finder func(id string) (store.Resource, error)

// makersOf is what a key remembers that who makes.
func makersOf(find finder, who auth.Access) ([]string, error) {
	if who.Can(auth.Admin, "", "") {
		return nil, nil
	}
	makers, err := behind(find, who.Principal.Name)
	return append(makers, who.Principal.Name), err
}

// behind is who made the key of a principal, if it is one. Nobody knows any more
// who made a key that is gone: somebody could make a second key, act by it, delete
// it, and agree with himself.
func behind(find finder, principal string) ([]string, error) {
	id, isKey := strings.CutPrefix(principal, "key:")
	if !isKey || !isID(id) {
		return nil, nil
	}
	stored, err := find(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &Error{Reason: Forbidden, Msg: "the API key " + id + " is deleted, so that nobody knows who made it: what it has proposed can only be rejected, and proposed anew"}
	}
	if err != nil {
		return nil, err
	}
	r, err := readRow(stored)
	return slices.Clone(r.data.Makers), err
}

// independent refuses an approver who may be the author himself.
func independent(find finder, author string, who auth.Access) error {
	approver := who.Principal.Name
	if author == approver {
		return &Error{Reason: Forbidden, Msg: "whoever has written a policy cannot approve it: another admin has to"}
	}
	writes, err := behind(find, author)
	if err != nil {
		return err
	}
	approves, err := behind(find, approver)
	if err != nil {
		return err
	}
	writes, approves = append(writes, author), append(approves, approver)
	for _, name := range writes {
		if slices.Contains(approves, name) {
			return &Error{Reason: Forbidden, Msg: "author and approver may be the same: one of the two keys was made by the other, or both by one admin"}
		}
	}
	return nil
}
