// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

var (
	vaultName = regexp.MustCompile(`^[a-zA-Z0-9-]{3,24}$`)
	tenantID  = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z.-]{0,252}$`)
	keyName   = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	guid      = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// VaultAddress returns the address of a vault in Azure's public cloud by its
// name: 3 to 24 letters, digits and hyphens.
func VaultAddress(name string) (string, error) {
	if !vaultName.MatchString(name) {
		return "", fmt.Errorf("azure: vault_name %q: want 3 to 24 letters, digits and hyphens", name)
	}
	return "https://" + strings.ToLower(name) + ".vault.azure.net", nil
}

// vault is where the keys are.
type vault struct {
	base    string // https://host[:port], no slash
	host    string // host[:port], lower case
	relaxed bool   // the challenge may name another resource
	managed bool   // a Managed HSM
}

// origin takes apart an https address without anything after the host.
func origin(setting, address string) (base, host string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", "", fmt.Errorf("azure: %s: want https://host or https://host:port and nothing after it", setting)
	}
	host = strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	return "https://" + host, host, nil
}

func (c *Config) check() (vault, error) {
	var v vault
	if c.VaultURL == "" {
		return v, errors.New("azure: no vault: set vault_name or target_address")
	}
	var err error
	if v.base, v.host, err = origin("target_address", c.VaultURL); err != nil {
		return v, err
	}
	if c.AuthorityHost, _, err = origin("the token service's address", c.AuthorityHost); err != nil {
		return v, err
	}
	if !slices.Contains(azureAuthorities(), c.AuthorityHost) {
		c.DisableInstanceDiscovery = true
	}
	name, _, _ := strings.Cut(v.host, ":")
	v.managed = strings.Contains(name, ".managedhsm.")
	v.relaxed = slices.ContainsFunc(c.RelaxedHosts, func(h string) bool {
		h = strings.ToLower(h)
		return h == v.host || h == name
	})
	if c.KEK != "" && !keyName.MatchString(c.KEK) {
		return v, errors.New("azure: the key-exchange key's name: want 1 to 127 letters, digits and hyphens")
	}
	return v, c.checkIdentity()
}

// azureAuthorities are the token services that Azure itself runs
// (learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
func azureAuthorities() []string {
	return []string{PublicAuthority, "https://login.microsoftonline.us", "https://login.partner.microsoftonline.cn", "https://login.chinacloudapi.cn"}
}

func (c *Config) checkIdentity() error {
	ways := 0
	for _, chosen := range []bool{c.Secret != nil, c.ClientCertificate != nil, c.ManagedIdentity, c.WorkloadIdentity} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways == 0:
		return errors.New("azure: no credential: set user_secret or client_cert, or, for the operator, an identity")
	case ways > 1:
		return errors.New("azure: more than one credential: want exactly one of user_secret, client_cert and identity")
	}
	if c.ClientID != "" && !guid.MatchString(c.ClientID) {
		return errors.New("azure: user_id: want the application's client id, a GUID (neither its name nor its object id)")
	}
	if c.TenantID != "" && !tenantID.MatchString(c.TenantID) {
		return errors.New("azure: tenant_id: want the directory's GUID or domain")
	}
	switch {
	case c.ManagedIdentity:
		return nil
	case c.WorkloadIdentity:
		return c.checkWorkload()
	case c.TenantID == "":
		return errors.New("azure: no tenant_id: set the GUID of the directory that the application is in")
	case c.ClientID == "":
		return errors.New("azure: no user_id: set the application's client id")
	}
	return nil
}

// checkWorkload says what the token client would say, in terms of a pod.
func (c *Config) checkWorkload() error {
	for _, need := range []struct{ value, variable, setting string }{
		{c.ClientID, "AZURE_CLIENT_ID", "user_id"},
		{c.TenantID, "AZURE_TENANT_ID", "tenant_id"},
		{c.TokenFile, "AZURE_FEDERATED_TOKEN_FILE", "token_file"},
	} {
		if need.value == "" && os.Getenv(need.variable) == "" {
			return fmt.Errorf("azure: workload identity without %s, and %s is not in the environment: label the pod azure.workload.identity/use: \"true\" and annotate its service account", need.setting, need.variable)
		}
	}
	return nil
}
