// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// row is a stored resource with what its data says.
type row struct {
	store.Resource
	data data

	declared *config.Wallet // of a service of the config file, which is in no store
}

// data is store.Resource.Data: what may be shown, of all kinds.
type data struct {
	// Shown is the revision that users see. That of the row rises also when
	// nobody has changed anything.
	Shown int64 `json:"revision"`
	// Epoch rises when what connections are made with has changed: credentials,
	// addresses, rules for the backend.
	Epoch  int64  `json:"epoch,omitempty"`
	Resets uint64 `json:"resets,omitempty"`
	// Reset is when that was last.
	Reset time.Time `json:"reset,omitzero"`

	Description string            `json:"description,omitempty"`
	Provider    string            `json:"provider,omitempty"`
	Consensus   string            `json:"consensus_type,omitempty"`
	ChainID     uint64            `json:"chain_id,omitempty"`
	RequireHSM  bool              `json:"require_hsm,omitempty"`
	URLs        map[string]string `json:"urls,omitempty"`
	Details     map[string]any    `json:"details,omitempty"`
	AuthType    string            `json:"auth_type,omitempty"`
	Username    string            `json:"username,omitempty"`
	Grants      []auth.Grant      `json:"grants,omitempty"`
	Makers      []string          `json:"makers,omitempty"` // of an API key: principals who made it, and who made theirs

	PolicyApprovals int `json:"policy_approvals,omitempty"`
}

func readRow(r store.Resource) (row, error) {
	out := row{Resource: r}
	decoder := json.NewDecoder(bytes.NewReader(r.Data))
	decoder.UseNumber() // what a client has sent comes back digit by digit
	if err := decoder.Decode(&out.data); err != nil {
		return row{}, fmt.Errorf("platform: data of %s %s: %w", Kind(r.Kind).one(), r.ID, err)
	}
	return out, nil
}

// maxStored bounds what is stored of a resource, in bytes, since all replicas read
// all of them whenever one has changed.
const maxStored = 64 << 10

func tooMuch() *Error {
	return invalid("details", "would have more than %d bytes with what was there before: want less", maxStored)
}

// stored is the row as the store takes it.
func (r row) stored() (store.Resource, error) {
	text, err := json.Marshal(r.data)
	if err != nil {
		return store.Resource{}, fmt.Errorf("platform: data of %s: %w", r.ID, err)
	}
	if len(text) > maxStored {
		return store.Resource{}, tooMuch()
	}
	out := r.Resource
	out.Data = text
	return out, nil
}

func (r row) kind() Kind { return Kind(r.Kind) }

// wallet is the name that the service has in store, txmgr and audit.
func (r row) wallet() string {
	if r.declared != nil {
		return r.declared.Name
	}
	return r.ID
}

// path is where the resource stands.
func (r row) path() Path { return Path{r.Consortium, r.Environment, r.ID} }

// owner is whose the resource is, for the question who may do what with it. A
// membership is its own.
func (r row) owner() (consortium, membership string) {
	switch r.kind() {
	case Consortia:
		return r.ID, ""
	case Memberships:
		return r.Consortium, r.ID
	}
	return r.Consortium, r.Membership
}

func (r row) meta() Meta {
	return Meta{
		ID: r.ID, Revision: strconv.FormatInt(r.data.Shown, 10), Created: r.Created.UTC(), Updated: r.Updated.UTC(),
		State: r.State, Reason: r.Reason, ReadOnly: r.declared != nil,
	}
}

// instant is now, as exactly as the store keeps it.
func instant() time.Time { return time.Now().Truncate(time.Microsecond) }
