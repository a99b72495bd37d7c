// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// errUnsealed is what a tenant learns of secrets that the deployment cannot
// open; the operator's log has the cause.
var errUnsealed = errors.New("its credentials cannot be opened just now: the operator has to see to the deployment's keys")

// version names what a row is connected to with. For a configuration, imposed
// says that it may use keys in hardware only.
func version(r row, imposed bool) Version {
	v := Version{r.ID, strconv.FormatInt(r.data.Epoch, 10)}
	if imposed {
		v.Version += "h"
	}
	return v
}

// detailsOf opens and checks what a configuration is.
func (p *Platform) detailsOf(ctx context.Context, configuration row, imposed bool) (config.Details, error) {
	secret, err := p.unaltered(ctx, configuration)
	if err != nil {
		return config.Details{}, err
	}
	return p.parseDetails(configuration.Membership, join(configuration.data.Details, secret), imposed)
}

// nodeOf opens what a node is.
func (p *Platform) nodeOf(ctx context.Context, n row) (config.Node, error) {
	secret, err := p.unaltered(ctx, n)
	if err != nil {
		return config.Node{}, err
	}
	return p.parseNode(secret, n.data.ChainID)
}

func unsealedWith(err error) error {
	switch {
	case errors.Is(err, errAltered):
		return errAltered
	case errors.Is(err, seal.ErrUnavailable):
		return fmt.Errorf("%w: the key service does not answer", errUnsealed)
	}
	return errUnsealed
}
