// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// passwordSuffix makes the name of the file that holds a key file's own
// password.
const passwordSuffix = ".password"

const maxPassword = 4 << 10 // bytes

// noPassword is the reason for a key that has none.
func noPassword(name string) string {
	return fmt.Sprintf("no password: put it into %s%s beside the file, or configure a common one", name, passwordSuffix)
}

// password returns the password of a file; the caller wipes it. The error is
// fit to be shown as the reason of a disabled key.
func (ks *Keystore) password(name string) ([]byte, error) {
	own, err := readRegular(filepath.Join(ks.cfg.Path, name+passwordSuffix), maxPassword)
	switch {
	case err == nil && len(own) > maxPassword:
		wipe(own)
		return nil, fmt.Errorf("%s%s is longer than %d bytes", name, passwordSuffix, maxPassword)
	case err == nil:
		trimmed, _ := bytes.CutSuffix(own, []byte("\n"))
		trimmed, _ = bytes.CutSuffix(trimmed, []byte("\r"))
		return trimmed, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s%s cannot be read: %w", name, passwordSuffix, cause(err))
	case ks.cfg.Password == nil:
		return nil, errors.New(noPassword(name))
	}
	common, err := ks.cfg.Password()
	if err != nil {
		return nil, &commonPasswordError{err}
	}
	return slices.Clone(common), nil
}

// commonPasswordError hides an error of Config.Password: it may name files of
// the operator's, and reasons are shown to users.
type commonPasswordError struct{ err error }

func (e *commonPasswordError) Error() string {
	return "the common password cannot be had; the log says why"
}

func (e *commonPasswordError) Unwrap() error { return e.err }

// fingerprint tells passwords apart without keeping them.
func (ks *Keystore) fingerprint(password []byte) (sum [32]byte) {
	h := hmac.New(sha256.New, ks.macKey[:])
	h.Write(password)
	return [32]byte(h.Sum(nil))
}
