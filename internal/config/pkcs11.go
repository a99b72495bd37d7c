// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"regexp"
	"strings"
	"time"
)

// Protection says where keys live, as the operator declares it or wants it.
type Protection string

// The levels of protection.
const (
	ProtectionHSM      Protection = "hsm"
	ProtectionSoftware Protection = "software"
	ProtectionUnknown  Protection = "unknown"
)

// Module is a PKCS#11 library that the operator has installed. Wallets name it;
// a path in a wallet would load whatever code its author likes.
type Module struct {
	Path        string            // path: of the shared library, absolute
	Protection  Protection        // protection: of all keys behind it; default unknown, which aws_cloudhsm makes hsm
	Environment map[string]string // environment: of the process that loads it, like SOFTHSM2_CONF
}

// PKCS11 is a token of an HSM behind a PKCS#11 library, AWS CloudHSM's among
// them.
type PKCS11 struct {
	Module      string // module: name in pkcs11_modules
	Path        string // of the module
	Protection  Protection
	Env         map[string]string // of the module
	TokenLabel  string            // token_label; may be left out with TokenSerial, and for aws_cloudhsm, whose library shows one token
	TokenSerial string            // token_serial: in place of the label, or beside it where several tokens have it
	Sessions    int               // sessions: signatures under way at once; default 16
	WrappingKey string            // wrapping_key: label of an RSA key pair in the token under which imported keys are wrapped
	CallTimeout time.Duration     // call_timeout: of one request in the library, whose process is then killed; default 10s
	KeepAlive   time.Duration     // keep_alive: between uses of idle sessions; 0 for never; default 1m
	CloudHSM    bool              // the provider is aws_cloudhsm
	Credential  PKCS11Credential
	Admin       *PKCS11Credential // admin
}

// PKCS11Credential is what C_Login takes.
type PKCS11Credential struct {
	User string // user_id: the crypto user, with aws_cloudhsm only
	PIN  Secret // user_secret: the PIN, or the crypto user's password
}

var (
	moduleName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	tokenLabel  = regexp.MustCompile(`^[\x20-\x7e]{1,32}$`) // PKCS#11 v2.40 §3.1: 32 characters, blank padded
	tokenSerial = regexp.MustCompile(`^[\x20-\x7e]{1,16}$`)
	cryptoUser  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,31}$`)
	envVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

const labelWant = "1 to 32 printable characters"

func readModules(v value) (map[string]Module, error) {
	o := v.object()
	if o == nil {
		return nil, nil
	}
	modules := make(map[string]Module, len(o.values))
	for name, item := range o.values {
		var m Module
		field(o, name, &m, readModule)
		if !moduleName.MatchString(name) {
			item.fail("is not a name: want 1 to 63 of a-z, 0-9, _ and -, not - first")
			continue
		}
		modules[name] = m
	}
	return modules, nil
}

// readModule reads a path alone, or a mapping.
func readModule(v value) (Module, error) {
	m := Module{Protection: ProtectionUnknown}
	place := v
	if v.node.Kind != yamlMapping {
		var err error
		if m.Path, err = filePath(v); err != nil {
			return m, err
		}
	} else {
		o := v.object()
		need(o, "path", &m.Path, filePath)
		field(o, "protection", &m.Protection, oneOf(ProtectionHSM, ProtectionSoftware, ProtectionUnknown))
		field(o, "environment", &m.Environment, readEnvironment)
		o.done()
		place = o.at("path")
	}
	if m.Path == "" {
		return m, nil
	}
	if _, err := os.Stat(m.Path); err != nil {
		place.warn("no such file: %s", m.Path)
	}
	return m, nil
}

func readEnvironment(v value) (map[string]string, error) {
	o := v.object()
	if o == nil {
		return nil, nil
	}
	vars := make(map[string]string, len(o.values))
	for name, item := range o.values {
		var s string
		field(o, name, &s, text)
		switch {
		case !envVariable.MatchString(name):
			item.fail("is not the name of an environment variable")
		case strings.HasPrefix(name, "LD_"):
			item.fail("changes what code is loaded: set it where the daemon is started, if it must be")
		default:
			vars[name] = s
		}
	}
	return vars, nil
}

func readPKCS11(o *object, provider Provider) *PKCS11 {
	p := &PKCS11{
		Protection: ProtectionUnknown, CloudHSM: provider == ProviderCloudHSM,
		CallTimeout: 10 * time.Second, KeepAlive: time.Minute,
	}
	need(o, "module", &p.Module, text)
	if module, ok := o.given("module"); ok && p.Module != "" {
		p.load(module)
	}
	if p.CloudHSM && p.Protection == ProtectionUnknown && o.isCloudHSM(p.Module) {
		p.Protection = ProtectionHSM
	}
	if _, ok := o.given("token_serial"); ok || p.CloudHSM || o != nil && o.r.scope == tenant {
		field(o, "token_label", &p.TokenLabel, matching(tokenLabel, labelWant))
	} else {
		need(o, "token_label", &p.TokenLabel, matching(tokenLabel, labelWant))
	}
	field(o, "token_serial", &p.TokenSerial, matching(tokenSerial, "1 to 16 printable characters"))
	if o != nil && o.r.scope == tenant {
		p.bindToken(o)
	}
	field(o, "sessions", &p.Sessions, integer(1, 1024))
	field(o, "call_timeout", &p.CallTimeout, duration(100*time.Millisecond, 5*time.Minute))
	field(o, "keep_alive", &p.KeepAlive, orZero(duration(time.Second, time.Hour)))
	field(o, "wrapping_key", &p.WrappingKey, matching(tokenLabel, labelWant))
	p.Credential = p.readCredential(o)
	p.Admin = readAdminCredential(o, p.readCredential)
	return p
}

// load looks the module up. On the command line, where whoever types may run
// any code anyway, a path may stand in place of a name.
func (p *PKCS11) load(v value) {
	if v.r.scope == tenant {
		p.loadGranted(v)
		return
	}
	if v.r.scope == commandLine && strings.Contains(p.Module, "/") {
		p.Path = p.Module
		return
	}
	m, ok := v.r.modules[p.Module]
	switch {
	case ok:
		p.Path, p.Protection, p.Env = m.Path, m.Protection, m.Environment
	case strings.ContainsAny(p.Module, `/\`):
		v.fail("is a path: list the library in the top-level pkcs11_modules, and give its name here")
	case len(v.r.modules) == 0:
		v.fail("%q is not known: list the library in the top-level pkcs11_modules, like pkcs11_modules: {%s: /path/to/library.so}", p.Module, p.Module)
	default:
		v.fail("no library is called %q in pkcs11_modules", p.Module)
	}
}

func (p *PKCS11) readCredential(o *object) PKCS11Credential {
	var c PKCS11Credential
	if p.CloudHSM {
		need(o, "user_id", &c.User, matching(cryptoUser, "the name of a crypto user"))
		if o != nil && o.r.scope == tenant {
			p.bindUser(o, c.User)
		}
	}
	need(o, "user_secret", &c.PIN, secret)
	return c
}
