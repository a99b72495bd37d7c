// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Try opens a backend, lists at most so many of its keys, and closes it; the
// page's Next says that there are more. Wallets that run notice nothing of it.
func (f *Fleet) Try(ctx context.Context, o Opening, most int) (found key.Page, err error) {
	if o.Logger == nil {
		o.Logger = f.cfg.Logger
	}
	b, err := f.cfg.Open(ctx, o)
	if err != nil {
		return key.Page{}, err
	}
	defer func() {
		if closed := b.Close(); closed != nil {
			o.Logger.Warn("a key backend that was tried cannot be closed", "err", closed)
		}
	}()
	for {
		page, err := b.Keys(ctx, found.Next)
		if err != nil {
			return found, err
		}
		found.Keys = append(found.Keys, page.Keys...)
		found.Problems = append(found.Problems, page.Problems...)
		found.Next = page.Next
		if len(found.Keys) > most {
			found.Keys, found.Next = slices.Clip(found.Keys[:most]), "more"
		}
		if found.Next == "" || len(found.Keys) == most || len(found.Problems) >= most {
			return found, nil
		}
	}
}
