// SPDX-License-Identifier: Apache-2.0

package config

import "os"

// Keystore is a folder with Web3 Secret Storage v3 files.
type Keystore struct {
	Path     string // path: the folder
	Password Secret // user_secret: of all keys; without it, a .password file beside each key
}

func readKeystore(o *object) *Keystore {
	k := &Keystore{}
	if o != nil && o.r.scope == tenant {
		need(o, "path", &k.Path, grantedFolder)
	} else {
		need(o, "path", &k.Path, filePath)
	}
	if k.Path != "" {
		if info, err := os.Stat(k.Path); err != nil || !info.IsDir() {
			o.at("path").warn("no such folder: %s", k.Path)
		}
	}
	field(o, "user_secret", &k.Password, secret)
	return k
}
