// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// KeepToken is the interface of a token that this program can deploy. It stands
// among the others of the place once one was made of it, so that what is known of
// those is known of tokens, too. Two callers at once may put it there twice. Errors
// are those of Upload.
func (b *Book) KeepToken(ctx context.Context, who auth.Principal, at Place, t *token.Artifact) (ABI, error) {
	for after := ""; ; {
		page, err := b.ABIs(ctx, at, after, maxPage)
		if err != nil {
			return ABI{}, err
		}
		for _, a := range page {
			after = a.ID
			if a.Name != t.Name || a.Compiler != t.Compiler || a.Description != t.Library {
				continue
			}
			if whole, err := b.ABI(ctx, at, a.ID); err == nil && bytes.Equal(whole.Bytecode, t.Bytecode) {
				return whole, nil
			}
		}
		if len(page) < maxPage {
			break
		}
	}
	made, err := b.Upload(ctx, who, at, Upload{
		Name: t.Name, Description: t.Library, ABI: t.ABI, Bytecode: t.Bytecode, Docs: t.Docs, Compiler: t.Compiler,
	})
	if err != nil {
		return ABI{}, err
	}
	return b.ABI(ctx, at, made.ID)
}
