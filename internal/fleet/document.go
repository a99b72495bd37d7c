// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
)

// SignDocument has an account of a wallet sign the manifest of a document; see
// wallet.SignDocument.
func (f *Fleet) SignDocument(ctx context.Context, who auth.Principal, name string, account common.Address, d document.Document) (document.Signed, error) {
	_, b, err := f.running(name)
	if err != nil {
		return document.Signed{}, err
	}
	return b.keys.SignDocument(ctx, who, account, d)
}
