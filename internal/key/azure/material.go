// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// material is what an application proves itself with.
type material struct{ secret, certificate, password string }

// print tells two secrets apart without keeping them.
func (m material) print() [sha256.Size]byte {
	h := sha256.New()
	for _, s := range []string{m.secret, m.certificate, m.password} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(s))) // a hash takes everything
		h.Write([]byte(s))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// material reads the secrets as they are now.
func (c *Config) material() (m material, err error) {
	for _, s := range []struct {
		read    func() (string, error)
		into    *string
		setting string
		empty   bool // allowed
	}{
		{c.Secret, &m.secret, "user_secret", false},
		{c.ClientCertificate, &m.certificate, "client_cert", false},
		{c.CertificatePassword, &m.password, "client_cert_password", true},
	} {
		if s.read == nil {
			continue
		}
		value, err := s.read()
		if err != nil {
			return material{}, &tokenError{kind: key.ErrUnavailable, why: s.setting + " cannot be read: check that its file is there and that this process may read it"}
		}
		if *s.into = strings.TrimRight(value, "\r\n"); *s.into == "" && !s.empty {
			return material{}, &tokenError{kind: key.ErrDenied, why: s.setting + " is empty"}
		}
	}
	return m, nil
}
