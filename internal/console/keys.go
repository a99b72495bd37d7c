// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// keyMaking says whether keys can be made and imported from here. Package platform
// decides; this is so that nobody fills a form in for nothing.
type keyMaking struct {
	Make, Take    bool
	Tags          bool // keys can have tags
	NameHelp      string
	Why           string // why not; empty if both can be done
	Configuration string // id of the one to change; empty: none that would help
}

// keyMaking finds it out from the wallet's configuration.
func (v *visit) keyMaking(ctx context.Context, p walletPage) keyMaking {
	id := textIn(p.Details, "cloudhsm_id")
	at := v.at
	at.ID = id
	c, err := get[platform.Configuration](ctx, v, platform.Configurations, at)
	if err != nil {
		return keyMaking{Make: true, Take: true, Tags: true, NameHelp: "As it will be called in the backend."} // the answer will say it
	}
	provider, _ := providerNamed(textIn(c.Details, "provider"))
	made := keyMaking{Make: true, Take: provider.TakesKeys, NameHelp: nameHelp(provider.Name)}
	switch provider.Name {
	case config.ProviderPKCS11, config.ProviderCloudHSM:
	case config.ProviderKeystore:
		made.Why = "A folder of key files takes no keys in by this way: the operator puts the file into it."
	default:
		made.Tags = true
	}
	switch {
	case textIn(c.Details, "engine") == string(config.EngineEthsign):
		made = keyMaking{Why: "Keys are neither made nor imported through Kaleido's ethsign plugin. Make them in Vault, then refresh the accounts here."}
	case provider.Name != config.ProviderKeystore && c.Details["admin"] == nil:
		made = keyMaking{Configuration: c.ID, Why: "The configuration " + c.Name + " has no admin credential, with which keys are made and imported. Add one, or make the key in the backend itself and refresh the accounts here."}
	}
	return made
}

// nameHelp is what a provider takes as the name of a key.
func nameHelp(p config.Provider) string {
	switch p {
	case config.ProviderAzure:
		return "As it will be called in the vault: 1 to 127 letters, digits and hyphens, and no key there has it yet."
	case config.ProviderAWSKMS:
		return "Its alias, without alias/: letters, digits and / _ -."
	case config.ProviderGCPKMS:
		return "As it will be called in the key ring: 1 to 63 letters, digits, _ and -."
	case config.ProviderHashicorp:
		return "As it will be called in Vault: letters, digits, _ - and a dot."
	case config.ProviderPKCS11, config.ProviderCloudHSM:
		return "It becomes the label of the key in the token."
	case config.ProviderKeystore:
		return "It becomes the name of the file: letters, digits, a dot, _ and -."
	}
	return "As it will be called in the backend."
}

// newKeyFields are those of a key that is made or imported.
func (v *visit) newKeyFields() (platform.NewAccount, error) {
	n := platform.NewAccount{Name: v.text("name"), Label: v.text("label")}
	for line := range strings.Lines(v.form.Get("tags")) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		_, twice := n.Tags[name]
		if !ok || name == "" || twice {
			return n, &platform.Error{Reason: platform.Invalid, Field: "tags", Msg: "want one tag a line, as name=value, and each name once"}
		}
		if n.Tags == nil {
			n.Tags = map[string]string{}
		}
		n.Tags[name] = strings.TrimSpace(value)
	}
	return n, nil
}

// added leads to what was made, in the list of accounts.
func (v *visit) added(what string, a platform.Account) view {
	return view{to: v.path("wallets", v.r.PathValue("id"), "accounts") + "?" + url.Values{"done": {what}, "search": {a.Address}}.Encode()}
}

func makeAccount(ctx context.Context, v *visit) (view, error) {
	var made platform.Account
	n, err := v.newKeyFields()
	if err == nil {
		made, err = v.c.cfg.Platform.CreateAccount(ctx, v.who, v.here(), n)
	}
	if f, ok := v.refused(err, "name", "label", "tags"); ok {
		p, err := v.wallet(ctx, "accounts")
		if err != nil {
			return view{}, err
		}
		p.form = f
		return v.accountsPage(ctx, p, nil)
	}
	if err != nil {
		return view{}, err
	}
	return v.added("account-made", made), nil
}

// importing is the wallet, if the person may import a key into it.
func (v *visit) importing(ctx context.Context) (walletPage, error) {
	p, err := v.wallet(ctx, "accounts")
	if err != nil {
		return p, err
	}
	if !v.can(auth.Admin, p.MembershipID) {
		return p, &platform.Error{Reason: platform.Forbidden, Msg: "this needs the role admin for the membership of the wallet"}
	}
	p.Content = v.keyMaking(ctx, p)
	return p, nil
}

func showImport(ctx context.Context, v *visit) (view, error) {
	p, err := v.importing(ctx)
	if err != nil {
		return view{}, err
	}
	return v.inside(p, "wallet-import", "import a key"), nil
}

// giveImportKey is the public key under which keys for this wallet are wrapped.
func giveImportKey(ctx context.Context, v *visit) (view, error) {
	k, err := v.c.cfg.Platform.ImportKey(ctx, v.who, v.here())
	if err != nil {
		return view{}, err
	}
	return view{file: &file{"import-key-" + v.r.PathValue("id") + ".pem", "application/x-pem-file", []byte(k.PublicKey)}}, nil
}

// importAccount hands a wrapped key over. Neither it nor a key in clear, which is
// refused, is kept, logged or sent back.
func importAccount(ctx context.Context, v *visit) (view, error) {
	p, err := v.importing(ctx)
	if err != nil {
		return view{}, err
	}
	var (
		taken   platform.Account
		wrapped []byte
	)
	n, err := v.newKeyFields()
	if err == nil {
		wrapped, err = wrappedKey(v.form.Get("wrapped_key"))
	}
	if err == nil {
		taken, err = v.c.cfg.Platform.ImportAccount(ctx, v.who, v.here(), platform.ImportedAccount{Name: n.Name, Label: n.Label, Tags: n.Tags, Wrapped: wrapped})
	}
	v.form.Del("wrapped_key")
	if f, ok := v.refused(err, "name", "label", "tags", "wrapped_key"); ok {
		p.form = f
		return v.inside(p, "wallet-import", "import a key"), nil
	}
	if err != nil {
		return view{}, err
	}
	return v.added("account-imported", taken), nil
}

// smallestWrapped is less than any wrapped key has, in bytes: the RSA ciphertext
// alone has 384.
const smallestWrapped = 385

// isClear reports whether something looks like a private key as people have it: in
// hex, as a v3 file or as PEM. What is wrapped is no text, even if it begins so.
func isClear(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	text = bytes.TrimSpace(text)
	_, err := hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	return err == nil && len(text) <= 66 || bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("-----BEGIN"))
}

// wrappedKey reads the field. Its errors show nothing of what stands there.
func wrappedKey(text string) ([]byte, error) {
	refuse := func(why string) ([]byte, error) {
		return nil, &platform.Error{Reason: platform.Invalid, Field: "wrapped_key", Msg: why}
	}
	const inClear = "this looks like a private key in clear, which is refused. It was not kept, but it has left your machine: do not put money on it, or move what is there. Wrap a key first, as described above"
	text = strings.Join(strings.Fields(text), "")
	switch {
	case text == "":
		return refuse("is missing: choose the file that the command above has written")
	case isClear([]byte(text)):
		return refuse(inClear)
	}
	wrapped, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return refuse("is not base64: choose the file that the command above has written, or paste it as base64")
	case isClear(wrapped):
		return refuse(inClear)
	case len(wrapped) < smallestWrapped:
		return refuse("is too short for a wrapped key. If it is a private key in clear: it was not kept, but it has left your machine, so do not put money on it")
	}
	return wrapped, nil
}
