// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hsmsigner/hsmsigner/internal/strictyaml"
)

// maxFile bounds the config file.
const maxFile = 1 << 20

// Load reads and checks the config file at path. The error is an [Errors] if
// the file could be read but is not valid, and then the Config is nil.
func Load(path string) (*Config, []Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("config: %s is larger than %d bytes", path, maxFile)
	}
	return Parse(path, data)
}

// Parse checks data as the content of the config file called path: messages
// name it, and relative paths start from its folder.
func Parse(path string, data []byte) (*Config, []Warning, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	r := &reader{file: path, dir: filepath.Dir(absolute), text: data}
	root, problem := strictyaml.Root(data, "at least one wallet, see hsmsigner serve --help")
	if problem != nil {
		problem.File = path
		return nil, nil, Errors{*problem}
	}
	c := r.config(value{r, root, ""})
	c.Path = absolute
	if r.inlineSecrets {
		value{r, &yaml.Node{}, ""}.warnIfWorldReadable(absolute, "this file, and secrets stand in it")
	}
	if len(r.problems) > 0 {
		return nil, r.warnings, r.problems.Sorted()
	}
	return c, r.warnings, nil
}

var walletName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

const walletNameWant = "1 to 63 of a-z, 0-9 and -, not - first"

func (r *reader) config(v value) *Config {
	c := &Config{
		Data:     filepath.Join(r.dir, "data"),
		Log:      Log{Level: "info", Format: "text"},
		RPC:      defaultRPC(),
		Admin:    Admin{Listen: DefaultAdminListen},
		Webhooks: defaultWebhooks(),

		Retention:  defaultRetention(),
		Management: defaultManagement(),
		Audit:      DefaultAudit(),
		Approvals:  DefaultApprovals(),
	}
	o := v.object()
	field(o, "data", &c.Data, filePath)
	field(o, "database", &c.Database, readDatabase)
	field(o, "replica", &c.Replica, readReplica)
	field(o, "retention", &c.Retention, readRetention)
	field(o, "tracing", &c.Tracing, readTracing)
	field(o, "log", &c.Log, readLog)
	field(o, "rpc", &c.RPC, readRPC)
	field(o, "admin", &c.Admin, readAdmin)
	field(o, "webhooks", &c.Webhooks, readWebhooks)     // before the wallets, which look at it
	field(o, "pkcs11_modules", &c.Modules, readModules) // and this
	r.modules = c.Modules
	field(o, "management", &c.Management, readManagement)
	field(o, "seal", &c.Seal, readSeal)
	field(o, "audit", &c.Audit, readAudit)
	field(o, "policy", &c.Policy, readPolicy)
	field(o, "approvals", &c.Approvals, readApprovals)
	field(o, "egress", &c.Egress, readEgress)
	field(o, "grants", &c.Grants, readGrants) // after the modules, which they name
	if _, platform := o.given("management"); platform {
		field(o, "wallets", &c.Wallets, list(readWallet))
	} else {
		need(o, "wallets", &c.Wallets, list(readWallet))
	}
	field(o, "default_wallet", &c.DefaultWallet, matching(walletName, walletNameWant))
	o.done()
	if o == nil {
		return c
	}

	if c.RPC.Listen == c.Admin.Listen && !strings.HasSuffix(c.RPC.Listen, ":0") {
		o.at("admin").fail("listens on %s, as rpc does: want another address", c.Admin.Listen)
	}
	r.shared(o, c)
	r.grantedAway(o, c)
	r.wallets(o, c)
	return c
}

// wallets checks what only the list as a whole can show.
func (r *reader) wallets(o *object, c *Config) {
	all, ok := o.given("wallets")
	if !ok || all.node.Kind != yamlList {
		return
	}
	if len(all.node.Content) == 0 {
		all.fail("is empty: want at least one wallet")
		return
	}
	seen := make(map[string]bool)
	for i, w := range c.Wallets {
		if seen[w.Name] && w.Name != "" {
			all.item(i).fail("another wallet is called %q too", w.Name)
		}
		seen[w.Name] = true
	}
	// A wallet whose name is wrong was reported already; then the default may
	// well mean it.
	if name, ok := o.given("default_wallet"); ok && c.DefaultWallet != "" && !seen[c.DefaultWallet] && !seen[""] {
		name.fail("no wallet is called %q", c.DefaultWallet)
	}
}

func readLog(v value) (Log, error) {
	l := Log{Level: "info", Format: "text"}
	o := v.object()
	field(o, "level", &l.Level, oneOf("debug", "info", "warn", "error"))
	field(o, "format", &l.Format, oneOf("text", "json"))
	o.done()
	return l, nil
}
