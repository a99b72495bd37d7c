// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// documentsPage is the data of the page on which documents are signed and checked.
// Neither goes through the console: the browser sends the file to the management
// API, which hashes it as it comes.
type documentsPage struct {
	Wallets  []*platform.Service // that the person may see
	Chosen   *platform.Service   // nil: there is none
	Accounts []platform.Account  // of the one that is chosen
	More     int                 // accounts that are not listed
	NoList   string              // why there are no accounts
	MaySign  bool
	Parts    []choice // of a bundle, in the order in which they are checked
}

func showDocuments(ctx context.Context, v *visit) (view, error) {
	data := documentsPage{Parts: bundleParts()}
	var err error
	if data.Wallets, err = list[platform.Service](ctx, v, platform.Services); err != nil {
		return view{}, err
	}
	for _, s := range data.Wallets {
		if data.Chosen == nil || s.ID == v.form.Get("wallet") {
			data.Chosen = s
		}
	}
	if s := data.Chosen; s != nil {
		at := v.at
		at.ID = s.ID
		data.MaySign = v.can(auth.Admin, s.MembershipID)
		all, err := v.c.cfg.Platform.Accounts(ctx, v.who, at, platform.AccountQuery{})
		if err != nil {
			data.NoList = sentence(err.Error())
		}
		for _, a := range all {
			if a.State == "enabled" && len(data.Accounts) < accountsToChoose {
				data.Accounts = append(data.Accounts, a)
			}
		}
		data.More = len(all) - len(data.Accounts)
	}
	return view{page: "documents", title: "Documents", section: "documents", data: data}, nil
}

// bundleParts are what is checked, for people.
func bundleParts() []choice {
	words := map[string]string{
		document.PartBundle:     "The bundle is written as bundles are",
		document.PartManifest:   "The manifest is written as manifests are",
		document.PartDocument:   "The document is the one that was signed",
		document.PartSigner:     "The signer is the one that you expect",
		document.PartPublicKey:  "The public key is the signer's",
		document.PartJWS:        "The JWS (ES256K) is the signer's, over the manifest",
		document.PartEIP191:     "The personal signature (EIP-191) is the signer's, over the manifest",
		document.PartCheckpoint: "The checkpoint is signed by the audit log",
		document.PartIntent:     "The request to sign is on record in the audit log",
		document.PartOutcomes:   "Both signatures are on record in the audit log",
	}
	var out []choice
	for _, part := range document.Parts() {
		out = append(out, choice{part, words[part]})
	}
	return out
}
