// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"math/big"
	"net/http"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// Gate says who is asking. *auth.Directory is one.
type Gate interface {
	Manager(r *http.Request) (auth.Access, error)
}

// Platform is what the management API is a face of. *platform.Platform is it.
type Platform interface {
	resources
	services
	trials
	accounts
	transactions
	trail
	documents
	gateways
	hand
	policies
	freezes
	approvals
}

type resources interface {
	Create(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, body []byte) (any, error)
	List(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) ([]any, error)
	Get(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) (any, error)
	Update(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, patch []byte) (any, error)
	Delete(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) (gone bool, err error)
}

type services interface {
	Status(ctx context.Context, who auth.Access, at platform.Path) (platform.ServiceStatus, error)
	Reset(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) (any, error)
	Regenerate(ctx context.Context, who auth.Access, at platform.Path) (*platform.AppCred, error)
}

type accounts interface {
	Accounts(ctx context.Context, who auth.Access, at platform.Path, q platform.AccountQuery) ([]platform.Account, error)
	Account(ctx context.Context, who auth.Access, at platform.Path, address common.Address, q platform.AccountQuery) (platform.Account, error)
	RefreshAccounts(ctx context.Context, who auth.Access, at platform.Path) (platform.AccountsReport, error)
	CreateAccount(ctx context.Context, who auth.Access, at platform.Path, n platform.NewAccount) (platform.Account, error)
	ImportKey(ctx context.Context, who auth.Access, at platform.Path) (platform.ImportKey, error)
	ImportAccount(ctx context.Context, who auth.Access, at platform.Path, n platform.ImportedAccount) (platform.Account, error)
	LabelAccount(ctx context.Context, who auth.Access, at platform.Path, address common.Address, label string) (platform.Account, error)
}

type transactions interface {
	Transactions(ctx context.Context, who auth.Access, at platform.Path, q platform.TransactionQuery) ([]platform.Transaction, error)
	Transaction(ctx context.Context, who auth.Access, at platform.Path, id string) (platform.Transaction, error)
	CancelTransaction(ctx context.Context, who auth.Access, at platform.Path, id string) (platform.Transaction, error)
	SpeedUpTransaction(ctx context.Context, who auth.Access, at platform.Path, id string, maxFee, tip *big.Int) (platform.Transaction, error)
}
