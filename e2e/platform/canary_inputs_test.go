// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// configurations gives every provider its secrets, has them be wrong in every
// way, and makes services of them, which fail.
func (a *aviary) configurations() {
	a.t.Helper()
	pair := a.keyPair()
	address := map[string]string{
		"gossip": a.gossip.URL, "not trusted": a.secure.URL, "nobody": "https://127.0.0.1:1", "not TLS": strings.Replace(a.gossip.URL, "http:", "https:", 1),
		"no name": "https://vault.invalid",
	}
	a.send("POST", place+"/nodes", fmt.Sprintf(`{"name":"guarded","chain_id":%d,"urls":{"rpc":%q}}`, a.node.ChainID, a.guarded))
	for where, at := range address {
		for provider, details := range map[string]string{
			"azure":            fmt.Sprintf(`"tenant_id":%q,"user_id":%q,"user_secret":SECRET,"target_address":ADDRESS`, a.azure.Entra.Tenant, a.azure.Entra.ClientID),
			"azure by cert":    fmt.Sprintf(`"tenant_id":%q,"user_id":%q,"client_cert":PAIR,"client_cert_password":SECRET,"target_address":ADDRESS`, a.azure.Entra.Tenant, a.azure.Entra.ClientID),
			"aws_kms":          `"user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":SECRET,"target_region":"eu-central-1","target_address":ADDRESS,"admin":{"user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":SECRET}`,
			"aws_kms by role":  `"user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":SECRET,"target_region":"eu-central-1","target_address":ADDRESS,"role_arn":"arn:aws:iam::111122223333:role/signer","external_id":"no-secret","sts_address":ADDRESS`,
			"hashicorp":        `"user_secret":SECRET,"target_address":ADDRESS,"admin":{"user_secret":SECRET}`,
			"hashicorp by id":  `"role_id":"5a3b8f0e-0000-0000-0000-000000000000","user_secret":SECRET,"target_address":ADDRESS`,
			"hashicorp by TLS": `"user_secret":SECRET,"client_cert":CERT,"client_key":KEY,"target_address":ADDRESS`,
		} {
			name := provider + " at " + where
			d := a.fill(name, strings.NewReplacer("ADDRESS", quote(at), "PAIR", quote(pair[0]+pair[1]), "CERT", quote(pair[0]), "KEY", quote(pair[1])).Replace(details))
			provider, _, _ = strings.Cut(provider, " ")
			made := a.send("POST", place+"/configurations", fmt.Sprintf(`{"name":%q,"type":"cloudhsm","details":{"provider":%q,%s,"note":"no-secret"}}`, name, provider, d))
			id, _ := made["_id"].(string)
			if id == "" && !strings.HasPrefix(at, "http:") {
				a.t.Fatalf("%s: %v", name, made["errorMessage"])
			}
			if id == "" { // a certificate without TLS
				continue
			}
			a.send("POST", place+"/services", fmt.Sprintf(`{"name":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q}}`, name, id))
			a.send("PATCH", place+"/configurations/"+id, `{"details":{"user_secret":`+quote(a.new(name+", patched"))+`}}`)
			a.send("PATCH", place+"/configurations/"+id, `{"details":{"admin":{"user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":`+quote(a.new(name+", patched admin"))+`}}}`)
			a.send("PATCH", place+"/configurations/"+id, `{"details":{"user_secret":{"file":`+quote("/"+a.plain(name+", file"))+`}}}`)
		}
	}
	for provider, details := range map[string]string{ // that nobody has granted, or that are wrong
		"keystore":     `"path":"keys","user_secret":SECRET`,
		"pkcs11":       `"module":"x","token_label":"y","user_secret":SECRET`,
		"aws_cloudhsm": `"module":"x","user_id":"cu","user_secret":SECRET`,
		"gcp_kms":      `"key_ring":"projects/treasury/locations/europe-west3/keyRings/signer","user_secret":SECRET`,
		"nonsense":     `"user_secret":SECRET`,
	} {
		a.send("POST", place+"/configurations", fmt.Sprintf(`{"name":"x","type":"cloudhsm","details":{"provider":%q,%s}}`, provider, a.fill(provider, details)))
	}
	account := `{"type":"service_account","project_id":"treasury","private_key_id":"1","client_email":"a@b.example","token_uri":"https://oauth2.googleapis.com/token","private_key":` + quote(pair[1]) + `}`
	a.send("POST", place+"/configurations", `{"name":"gcp","type":"cloudhsm","details":{"provider":"gcp_kms","key_ring":"projects/treasury/locations/europe-west3/keyRings/signer","user_secret":`+quote(account)+`}}`)
	a.send("POST", place+"/configurations", `{"name":"gcp","type":"cloudhsm","details":{"provider":"gcp_kms","key_ring":"projects/treasury/locations/europe-west3/keyRings/signer","user_secret":`+
		quote(strings.Replace(account, "oauth2.googleapis.com", "evil.example", 1))+`}}`)
}

// fill puts a canary in place of each SECRET.
func (a *aviary) fill(where, text string) string {
	for strings.Contains(text, "SECRET") {
		text = strings.Replace(text, "SECRET", quote(a.new(where)), 1)
	}
	return text
}

// keyPair is a certificate and its private key, as PEM. Three pieces of the key
// are canaries.
func (a *aviary) keyPair() [2]string {
	a.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		a.t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	for i, line := range strings.Split(text, "\n")[10:13] { // behind the public part
		a.add(fmt.Sprint("private key, line ", i), line)
	}
	a.add("private key, prime", string(key.Primes[0].Bytes()))
	return [2]string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), text}
}

// nodes gives nodes URLs that hold secrets.
func (a *aviary) nodes() {
	a.t.Helper()
	for where, host := range map[string]string{
		"gossip": strings.TrimPrefix(a.gossip.URL, "http://"), "nobody": "127.0.0.1:1", "no name": "node.invalid", "forbidden": "10.0.0.1:8545", "metadata": "169.254.169.254",
		"no port": "127.0.0.1:99999", "no host": "[::1", "twice": "x@127.0.0.1:1", "per cent": "127.0.0.1%25x",
	} {
		for _, scheme := range []string{"http", "https", "ftp", "ws"} {
			secret := func(part string) string { return a.plain(part + " of a node, " + scheme + " at " + where) }
			long := func() string {
				return scheme + "://" + secret("user") + ":" + secret("password") + "@" + host + "/v3/" + secret("path") + "?key=" + secret("query") + "#" + secret("fragment")
			}
			short := func() string {
				return scheme + "://" + secret("user") + ":" + secret("password") + "@" + host + "/v3/" + secret("path") + "?key=" + secret("query")
			}
			a.send("POST", place+"/nodes", fmt.Sprintf(`{"name":"x","chain_id":1337,"urls":{"rpc":%q}}`, long()))
			id, _ := a.send("POST", place+"/nodes", fmt.Sprintf(`{"name":"x","chain_id":1337,"urls":{"rpc":%q}}`, short()))["_id"].(string)
			a.send("POST", place+"/nodes", fmt.Sprintf(`{"name":"x","chain_id":1337,"urls":{"rpc":%q,"wss":%q}}`, a.guarded, strings.Replace(short(), "http", "ws", 1)))
			if id == "" {
				continue
			}
			a.send("PATCH", place+"/nodes/"+id, fmt.Sprintf(`{"urls":{"rpc":%q}}`, short()))
			a.send("PATCH", place+"/nodes/"+id, fmt.Sprintf(`{"urls":{"rpc":%q}}`, long()))
			conf := a.send("POST", place+"/configurations", a.fill("token beside a bad node", fmt.Sprintf(`{"name":"x","type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,"user_secret":SECRET}}`, a.vault.URL())))["_id"]
			a.send("POST", place+"/services", fmt.Sprintf(`{"name":"x","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, conf, id))
			a.send("PUT", place+"/nodes/"+id+"/reset", "{}")
		}
	}
}

// bodies sends secrets in requests that cannot be read, or to where they do not
// belong.
func (a *aviary) bodies() {
	a.t.Helper()
	conf := place + "/configurations"
	good := func(where string) string {
		return a.fill(where, fmt.Sprintf(`{"name":"x","type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,"user_secret":SECRET}}`, a.vault.URL()))
	}
	for what, change := range map[string]func(string) string{
		"cut off":        func(s string) string { return s[:len(s)-3] },
		"cut inside":     func(s string) string { return s[:strings.LastIndex(s, "Canary")+20] },
		"twice":          func(s string) string { return s[:len(s)-2] + s[strings.LastIndex(s, `,"user_secret"`):] },
		"something more": func(s string) string { return s + s },
		"control":        func(s string) string { return strings.Replace(s, "Canary", "\x01Canary", 1) },
		"not UTF-8":      func(s string) string { return strings.Replace(s, "Canary", "\xffCanary", 1) },
		"bad escape":     func(s string) string { return strings.Replace(s, "Canary", `\qCanary`, 1) },
		"a list":         func(s string) string { return "[" + s + "]" },
		"secret a list": func(s string) string {
			return strings.NewReplacer(`"user_secret":`, `"user_secret":[`, "}}", "]}}").Replace(s)
		},
		"secret deeper": func(s string) string {
			return strings.NewReplacer(`"user_secret":`, `"user_secret":{"x":`, "}}", "}}}").Replace(s)
		},
		"line break":    func(s string) string { return strings.Replace(s, "Canary", `\nCanary`, 1) },
		"as a provider": func(s string) string { return strings.NewReplacer("hashicorp", "nonsense").Replace(s) },
		"too large":     func(s string) string { return s[:len(s)-1] + `,"filler":"` + strings.Repeat("x", 2<<20) + `"}` },
		"large":         func(s string) string { return s[:len(s)-1] + `,"filler":"` + strings.Repeat("x", 600<<10) + `"}` },
	} {
		a.send("POST", conf, change(good(what)))
		a.send("PATCH", conf+"/u0missing0", change(good(what+", patch")))
	}
	for method, to := range map[string]string{"PUT": conf, "DELETE": conf + "/u0missing0", "POST": conf + "/u0missing0/nothing", "PATCH": "/nothing"} {
		a.send(method, to, good(method+" "+to))
	}
	api := a.AdminURL + "/api/v1"
	bearer := []string{"Bearer " + a.root}
	a.sendWith(http.Header{"Authorization": bearer, "Content-Type": {"text/plain"}}, "POST", api+conf, good("text/plain"))
	a.sendWith(http.Header{"Authorization": bearer, "Content-Type": {"application/x-www-form-urlencoded"}}, "POST", api+conf, "user_secret="+a.plain("a form"))
	a.sendWith(http.Header{"Authorization": bearer, "Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, "POST", api+conf, good("not gzip"))
	a.sendWith(http.Header{"Content-Type": {"application/json"}}, "POST", api+conf, good("nobody's"))
	for what, body := range map[string]string{
		"/appcreds": `{"name":"x","password":SECRET}`, "/appcreds ": `{"name":"x","auth_type":SECRET}`, "/services": `{"name":"x","service":"cloudhsm","details":{"cloudhsm_id":"u0missing0","user_secret":SECRET}}`,
		"/services ": `{"name":"x","service":"cloudhsm","user_secret":SECRET,"details":{"cloudhsm_id":"u0missing0"}}`,
		"/nodes":     `{"name":"x","chain_id":1337,"password":SECRET,"urls":{"rpc":"http://127.0.0.1:1"},"headers":{"Authorization":SECRET}}`,
		"/nodes ":    `{"name":"x","chain_id":1337,"urls":{"rpc":"http://127.0.0.1:1","key":SECRET}}`,
	} {
		a.send("POST", place+strings.TrimSpace(what), a.fill(what, body))
	}
	a.send("POST", "/apikeys", a.fill("/apikeys", `{"name":"x","key":SECRET,"grants":[{"role":SECRET}]}`))
}

// atWork has a service send with secrets that are right, and rotates them.
func (a *aviary) atWork() {
	a.t.Helper()
	n := a.serveQuietly(fmt.Sprintf(`"provider":"hashicorp","target_address":%q,"role_id":"5a3b8f0e-0000-0000-0000-000000000000","user_secret":%s`, a.vault.URL(), quote(a.secretID)))
	n.account = accounts(a.vault)[0]
	a.sent(n)
	next := a.new("vault secret id, the next")
	a.vault.SetSecretID(next)
	a.send("PATCH", place+"/configurations/"+n.configuration, `{"details":{"user_secret":`+quote(next)+`}}`)
	a.sent(n)
	harness.WaitNonce(a.t, a.node, n.account, 2, patience)
	a.send("POST", place+"/services/"+n.service+"/accounts", `{"name":"x"}`)
	a.send("POST", place+"/services/"+n.service+"/accounts/import", `{"name":"x","wrapped_key":"`+a.plain("a key that is not wrapped")+`"}`)
	a.send("GET", place+"/services/"+n.service+"/accounts/import", "")
	conn := a.socket(n.service, n.cred, n.password)
	tell(a.t, conn, newHeads)
	said(a.t, conn, "eth_subscription")
	a.send("PUT", place+"/services/"+n.service+"/reset", "{}")

	z := a.serveQuietly(fmt.Sprintf(`"provider":"azure","tenant_id":%q,"user_id":%q,"user_secret":%s,"target_address":%q,"ca_cert":%s`, a.azure.Entra.Tenant, a.azure.Entra.ClientID,
		quote(a.azure.Entra.Secret()), a.azure.Vault.URL(), quote(authority(a.t, a.azure))))
	wrong := a.new("azure user_secret that is wrong")
	a.send("PATCH", place+"/configurations/"+z.configuration, `{"details":{"user_secret":`+quote(wrong)+`}}`)
	a.azure.Entra.Revoke()
	a.send("PUT", place+"/services/"+z.service+"/accounts/refresh", "")
	a.send("DELETE", place+"/services/"+z.service, "")
}

// serveQuietly makes a service and a credential, with the answers kept.
func (a *aviary) serveQuietly(details string) *tenant {
	a.t.Helper()
	node := a.send("POST", place+"/nodes", fmt.Sprintf(`{"name":"no-secret","chain_id":%d,"urls":{"rpc":%q}}`, a.node.ChainID, a.guarded))["_id"]
	conf := a.send("POST", place+"/configurations", `{"name":"no-secret","type":"cloudhsm","details":{`+details+`}}`)
	service := a.send("POST", place+"/services", fmt.Sprintf(`{"name":"no-secret","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, conf["_id"], node))
	made := a.send("POST", place+"/appcreds", `{"name":"no-secret"}`, "password")
	n := &tenant{place: place, configuration: fmt.Sprint(conf["_id"]), service: fmt.Sprint(service["_id"]), cred: fmt.Sprint(made["_id"]), password: fmt.Sprint(made["password"])}
	a.reaches(place+"/services/"+n.service, "started")
	return n
}
